// Layer norm.
#include "core/ops/layer_norm.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/ops.hpp"
#include "core/ops/reduce.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

Tensor ones(int64_t width) { return Tensor::full({width}, 1, Dtype::f32); }

Tensors with_rows(const Tensor& x, Random& random) {
  const Shape vector = {x.extent(-1)};
  return {x, random_tensor(vector, random), random_tensor(vector, random)};
}

}  // namespace

TEST_CASE("layer_norm: op case") {
  // Large enough that a row of few numbers is smooth over the step of the gradient check, and that it matters.
  constexpr double epsilon = 0.1;
  check_op({.op = "layer_norm",
            .run = [](const Tensors& x) { return layer_norm(x[0], x[1], x[2], epsilon); },
            .reference = [](const Tensors& x) { return reference::layer_norm(x[0], x[1], x[2], epsilon); },
            .differentiable = [](const std::vector<Var>& x) { return layer_norm(x[0], x[1], x[2], epsilon); },
            .samples = {{[](Extents e, Random& random) {
                           return with_rows(random_tensor({e.rows, e.width}, random), random);
                         },
                         {{0, 0}}},
                        {[](Extents e, Random& random) {
                           return with_rows(random_tensor({2, e.rows, e.width}, random), random);
                         },
                         {{0, 0}, {0, 1}}}},
            .refuses = {{[] { layer_norm(Tensor::scalar(1, Dtype::f32), ones(1), ones(1), 0); }, "scalar"},
                        {[] {
                           layer_norm(ones(4), Tensor::full({1, 4}, 1, Dtype::f32), ones(4), 0);
                         },
                         "weight is [1, 4], x is [4]"},
                        {[] { layer_norm(ones(4), ones(4), ones(3), 0); }, "bias is [3], x is [4]"},
                        {[] { layer_norm(ones(4), ones(4), ones(4), -1e-5); }, "epsilon"},
                        {[] { layer_norm(ones(4), ones(4), ones(4), std::nan("")); }, "epsilon"}},
            .empty = {{0, 5}, {3, 0}, {0, 0}}});
}

TEST_CASE("layer_norm: with epsilon 0 a row has mean 0 and variance 1") {
  Random random{.seed = 2};
  const Tensor y =
      layer_norm(random_tensor({3, 77}, random), Tensor::full({77}, 1, Dtype::f64), Tensor::zeros({77}, Dtype::f64), 0);
  CHECK(mismatch(variance(y, {1}), Dtype::f64, Tensor::full({3, 1}, 1, Dtype::f64), tolerance::f64(77)) == "");
  for (const double m : mean(y, {1}).to_vector<double>()) CHECK(std::abs(m) < tolerance::f64(77));
}

TEST_CASE("layer_norm: a row of equal numbers is the bias, bit by bit, and its gradients are finite") {
  for (const double value : {0.1, 0.0, -12345.678, 3e4}) {
    const Var x = Var::leaf(Tensor::full({2, 37}, value, Dtype::f32)), weight = Var::leaf(ones(37));
    Random random{.seed = 3};
    const Var bias = Var::leaf(random_tensor({37}, random).to(Dtype::f32));
    const Var y = layer_norm(x, weight, bias, 1e-12);
    CHECK(bit_mismatch(y.value(), bias.value().broadcast_to({2, 37}).contiguous()) == "");
    const Tensor dy = random_tensor({2, 37}, random).to(Dtype::f32);
    const Gradients grads = backward(y, dy);
    CHECK(bit_mismatch(grads[weight], Tensor::zeros({37}, Dtype::f32)) == "");
    for (const float g : grads[x].to_vector<float>()) CHECK(std::isfinite(g));
    // dx = r (dy - mean(dy)) with r = 1e6
    CHECK(grads[x].to_vector<float>()[0] ==
          doctest::Approx(1e6f * (dy.to_vector<float>()[0] - mean(dy, {1}).to_vector<float>()[0])).epsilon(1e-5));
  }
}

TEST_CASE("layer_norm: a small spread around a large mean keeps its digits, forward and backward") {
  Random random{.seed = 4};
  std::vector<double> values;
  for (int i = 0; i < 5 * 300; ++i) values.push_back(1e4 + 1e-2 * random.normal());
  const Tensor x = Tensor::of<double>({5, 300}, values).to(Dtype::f32), exact = x.to(Dtype::f64);
  const Tensor w = random_tensor({300}, random).to(Dtype::f32), b = random_tensor({300}, random).to(Dtype::f32);
  const Tensor dy = random_tensor({5, 300}, random).to(Dtype::f32);
  CHECK(mismatch(layer_norm(x, w, b, 1e-8), Dtype::f32,
                 reference::layer_norm(exact, w.to(Dtype::f64), b.to(Dtype::f64), 1e-8), tolerance::f32(300, 0)) == "");
  const LayerNormGradients got = layer_norm_backward(x, w, 1e-8, dy);
  const LayerNormGradients expected = layer_norm_backward(exact, w.to(Dtype::f64), 1e-8, dy.to(Dtype::f64));
  CHECK(mismatch(got.dx, Dtype::f32, expected.dx, tolerance::f32_gradient(300)) == "");
  CHECK(mismatch(got.dweight, Dtype::f32, expected.dweight, tolerance::f32_gradient(300)) == "");
}

TEST_CASE("layer_norm: an outlier in the first place costs the others no digits") {
  const Tensor x = Tensor::zeros({1, 768}, Dtype::f32);
  Random random{.seed = 5};
  for (int64_t i = 0; i < 768; ++i) x.view<float>()(0, i) = static_cast<float>(random.normal());
  x.view<float>()(0, 0) = 1e5f;
  const Tensor w = ones(768), b = Tensor::zeros({768}, Dtype::f32);
  const Tensor y = layer_norm(x, w, b, 1e-5);
  const Tensor expected = reference::layer_norm(x.to(Dtype::f64), w.to(Dtype::f64), b.to(Dtype::f64), 1e-5);
  CHECK(mismatch(y.slice(1, 1, 768), Dtype::f32, expected.slice(1, 1, 768), tolerance::f32(768, 0)) == "");
}

TEST_CASE("layer_norm: gradients of weight and bias over many tiles of rows") {
  Random random{.seed = 6};
  const int64_t rows = 50000, width = 5;
  const Tensor x = random_tensor({rows, width}, random), dy = random_tensor({rows, width}, random);
  const Tensor w = random_tensor({width}, random), none = Tensor::zeros({width}, Dtype::f64);
  const Tensor normalised = reference::layer_norm(x, Tensor::full({width}, 1, Dtype::f64), none, 1e-5);
  const LayerNormGradients got = layer_norm_backward(x, w, 1e-5, dy);
  CHECK(mismatch(got.dbias, Dtype::f64, reference::sum(dy, {0}).reshape({width}), tolerance::f64(rows)) == "");
  const Tensor product = (Var(normalised) * Var(dy)).value();
  CHECK(mismatch(got.dweight, Dtype::f64, reference::sum(product, {0}).reshape({width}), tolerance::f64(rows)) == "");
}

TEST_CASE("layer_norm: gradients refuse what does not belong together") {
  const Tensor x = Tensor::zeros({2, 3}, Dtype::f32);
  CHECK_THROWS_WITH_AS(layer_norm_backward(x, ones(2), 0, x), doctest::Contains("weight is [2], x is [2, 3]"),
                       ShapeError);
  CHECK_THROWS_AS(layer_norm_backward(x, ones(3), 0, ones(3)), ShapeError);
  CHECK_THROWS_AS(layer_norm_backward(x, ones(3), 0, Tensor::zeros({2, 3}, Dtype::f64)), DtypeError);
}
