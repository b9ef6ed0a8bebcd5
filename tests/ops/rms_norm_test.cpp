// Root-mean-square norm.
#include "core/ops/rms_norm.hpp"

#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "core/ops/binary.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

Tensor vector_of(int64_t width) { return Tensor::full({width}, 1, Dtype::f32); }

}  // namespace

TEST_CASE("rms_norm: op case") {
  // Large enough that a row of one small number is smooth over the step of the gradient check, and that it matters.
  constexpr double epsilon = 0.1;
  check_op(
      {.op = "rms_norm",
       .run = [](const Tensors& x) { return rms_norm(x[0], x[1], epsilon); },
       .reference = [](const Tensors& x) { return reference::rms_norm(x[0], x[1], epsilon); },
       .differentiable = [](const std::vector<Var>& x) { return rms_norm(x[0], x[1], epsilon); },
       .samples = {{[](Extents e, Random& random) {
                      return Tensors{random_tensor({e.rows, e.width}, random), random_tensor({e.width}, random)};
                    },
                    {{0, 0}}},
                   {[](Extents e, Random& random) {
                      return Tensors{random_tensor({2, e.rows, e.width}, random), random_tensor({e.width}, random)};
                    },
                    {{0, 0}, {0, 1}}}},
       .refuses = {{[] { rms_norm(Tensor::scalar(1, Dtype::f32), vector_of(1), 0); }, "scalar"},
                   {[] {
                      rms_norm(vector_of(4), Tensor::full({1, 4}, 1, Dtype::f32), 0);
                    },
                    "weight is [1, 4]"},
                   {[] { rms_norm(vector_of(4), vector_of(4), -1e-5); }, "epsilon"}},
       .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("rms_norm: with weight 1 and epsilon 0 the mean square of a row is 1") {
  Random random{.seed = 2};
  const Tensor y = rms_norm(random_tensor({3, 77}, random), Tensor::full({77}, 1, Dtype::f64), 0);
  const Tensor mean_square = mean(Var(y) * Var(y), {1}).value();
  CHECK(mismatch(mean_square, Dtype::f64, Tensor::full({3, 1}, 1, Dtype::f64), tolerance::f64(77)) == "");
}

TEST_CASE("rms_norm: a row of zeros stays zero, and its gradient is finite") {
  const Var x = Var::leaf(Tensor::zeros({2, 5}, Dtype::f32)), weight = Var::leaf(vector_of(5));
  const Var y = rms_norm(x, weight, 1e-6);
  CHECK(y.value().to_vector<float>() == std::vector<float>(10, 0));
  for (const float g : backward(sum(y))[x].to_vector<float>()) CHECK(g == doctest::Approx(1000).epsilon(1e-5));
}

TEST_CASE("rms_norm: the gradient onto what others sent has the bits of the gradient and then the sum") {
  Random random{.seed = 9};
  const Tensor x = random_tensor({6, 37}, random), weight = random_tensor({37}, random);
  const Tensor dy = random_tensor({6, 37}, random), others = random_tensor({37, 6}, random).transpose(0, 1);
  const RmsNormGradients plain = rms_norm_backward(x, weight, 1e-5, dy);
  const RmsNormGradients onto = rms_norm_backward(x, weight, 1e-5, dy, others);
  CHECK(onto.dx.to_vector<double>() == add(plain.dx, others).to_vector<double>());
  CHECK(onto.dweight.to_vector<double>() == plain.dweight.to_vector<double>());
  CHECK_THROWS_WITH_AS(rms_norm_backward(x, weight, 1e-5, dy, weight), doctest::Contains("addend"), ShapeError);
  // A residual stream: x reaches the sum directly and through the norm.
  const Var stream = Var::leaf(x), scale = Var::leaf(weight);
  const Gradients gradients = backward(stream + rms_norm(stream, scale, 1e-5), dy);
  CHECK(gradients[stream].to_vector<double>() == add(plain.dx, dy).to_vector<double>());
}
