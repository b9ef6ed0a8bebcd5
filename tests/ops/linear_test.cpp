// The affine map of a layer.
#include "core/ops/linear.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/matmul.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

Tensor zeros(const Shape& shape, Dtype dtype = Dtype::f32) { return Tensor::zeros(shape, dtype); }

Sample sample(const std::function<Shape(Extents)>& shape, int64_t outputs, std::vector<ArgumentAxis> free_axes) {
  return {[=](Extents e, Random& random) {
            const Tensor x = random_tensor(shape(e), random);
            return Tensors{x, random_tensor({x.extent(-1), outputs}, random), random_tensor({outputs}, random)};
          },
          std::move(free_axes)};
}

}  // namespace

TEST_CASE("linear: op case") {
  check_op({.op = "linear",
            .run = [](const Tensors& x) { return linear(x[0], x[1], x[2]); },
            .reference = [](const Tensors& x) { return reference::linear(x[0], x[1], x[2]); },
            .differentiable = [](const std::vector<Var>& x) { return linear(x[0], x[1], x[2]); },
            .samples = {sample(
                            [](Extents e) {
                              return Shape{e.rows, e.width};
                            },
                            19, {{0, 0}}),
                        sample(
                            [](Extents e) {
                              return Shape{2, e.rows, e.width};
                            },
                            33, {{0, 0}, {0, 1}}),
                        // The bias is a residual stream.
                        {[](Extents e, Random& random) {
                           const Shape rows = {2, e.rows, e.width};
                           return Tensors{random_tensor(rows, random), random_tensor({e.width, 19}, random),
                                          random_tensor(rows.with(-1, 19), random)};
                         },
                         {}}},
            .refuses = {{[] {
                           linear(Tensor::scalar(1, Dtype::f32), zeros({1, 2}), zeros({2}));
                         },
                         "x is a scalar"},
                        {[] {
                           linear(zeros({2, 3}), zeros({3}), zeros({3}));
                         },
                         "weight is [3]"},
                        {[] {
                           linear(zeros({2, 3}), zeros({2, 5}), zeros({5}));
                         },
                         "x is [2, 3], weight is [2, 5]"},
                        {[] {
                           linear(zeros({2, 3}), zeros({3, 5}), zeros({1, 5}));
                         },
                         "bias is [1, 5]"},
                        {[] {
                           linear(zeros({2, 3}), zeros({3, 5}), zeros({1}));
                         },
                         "bias is [1], x is [2, 3], weight is [3, 5]; bias must be [5], axis 1 of weight, or [2, 5]"}},
            .empty = {{0, 5}, {3, 0}, {0, 0}}});
}

TEST_CASE("linear: one row as a vector, and its gradients") {
  const Var x = Var::leaf(Tensor::of<double>({2}, {1, 2}));
  const Var weight = Var::leaf(Tensor::of<double>({2, 3}, {1, 2, 3, 4, 5, 6}));
  const Var bias = Var::leaf(Tensor::of<double>({3}, {100, 200, 300}));
  const Var y = linear(x, weight, bias);
  CHECK(y.shape() == Shape{3});
  CHECK(y.value().to_vector<double>() == std::vector<double>{109, 212, 315});
  const Gradients gradients = backward(y, Tensor::of<double>({3}, {1, 10, 100}));
  CHECK(gradients[x].to_vector<double>() == std::vector<double>{321, 654});
  CHECK(gradients[weight].to_vector<double>() == std::vector<double>{1, 10, 100, 2, 20, 200});
  CHECK(gradients[bias].to_vector<double>() == std::vector<double>{1, 10, 100});
}

TEST_CASE("linear: every way the product is cut into tiles gives matmul and add") {
  // One tile; tiles of rows; of columns; a cut sum, whose first part alone starts from the bias; a batch that does not
  // fold into rows.
  Random random{.seed = 6};
  const auto check = [&](const Tensor& x, int64_t outputs) {
    const int64_t inputs = x.extent(-1);
    const Tensor weight = random_tensor({inputs, outputs}, random), bias = random_tensor({outputs}, random);
    const Tensor expected = add(matmul(x, weight), bias);
    CHECK(mismatch(linear(x, weight, bias), Dtype::f64, expected, tolerance::f64(inputs)) == "");
    CHECK(mismatch(linear(x, weight, Tensor::scalar(0.5, Dtype::f64).broadcast_to({outputs})), Dtype::f64,
                   add(matmul(x, weight), Tensor::scalar(0.5, Dtype::f64)), tolerance::f64(inputs)) == "");
  };
  check(random_tensor({5, 7}, random), 3);
  check(random_tensor({900, 40}, random), 50);
  check(random_tensor({20, 60}, random), 1300);
  check(random_tensor({30, 3000}, random), 40);
  check(random_tensor({6, 70, 90}, random), 80);
  check(random_tensor({70, 6, 90}, random).transpose(0, 1), 80);
}

TEST_CASE("linear: NaN of the bias stays in its column, and an infinite bias is not lost") {
  const double infinity = std::numeric_limits<double>::infinity();
  const Tensor x = Tensor::of<double>({2, 1}, {1, 2}), weight = Tensor::of<double>({1, 3}, {1, 1, 1});
  const std::vector<double> y =
      linear(x, weight, Tensor::of<double>({3}, {std::nan(""), infinity, 0})).to_vector<double>();
  CHECK((std::isnan(y[0]) && std::isnan(y[3])));
  CHECK((y[1] == infinity && y[4] == infinity));
  CHECK((y[2] == 1 && y[5] == 2));
}

TEST_CASE("linear: gradients only of what needs them") {
  const Var bias = Var::leaf(zeros({2}, Dtype::f64));
  const Tensor x = Tensor::full({3, 4}, 1, Dtype::f64), weight = Tensor::full({4, 2}, 1, Dtype::f64);
  CHECK(backward(sum(linear(x, weight, bias)))[bias].to_vector<double>() == std::vector<double>{3, 3});
  const Var leaf = Var::leaf(x);
  CHECK(backward(sum(linear(leaf, weight, zeros({2}, Dtype::f64))))[leaf].to_vector<double>() ==
        std::vector<double>(12, 2));
}

TEST_CASE("linear: to the bit as the product and then the sum") {
  Random random{.seed = 5};
  // Few rows, tiles that pack, panels that many rows share; one and several blocks of the inner axis, a sum that
  // is cut.
  for (const auto& [rows, inputs, outputs] : std::vector<std::array<int64_t, 3>>{
           {3, 70, 40}, {40, 70, 3}, {40, 70, 90}, {60, 800, 130}, {1600, 50, 70}, {1600, 400, 70}, {90, 4100, 70}}) {
    CAPTURE(rows);
    CAPTURE(inputs);
    const Tensor x = random_tensor({rows, inputs}, random).to(Dtype::f32);
    const Tensor w = random_tensor({inputs, outputs}, random).to(Dtype::f32);
    for (const Shape& shape : {Shape{outputs}, Shape{rows, outputs}}) {
      const Tensor bias = random_tensor(shape, random).to(Dtype::f32);
      const std::vector<float> expected = add(matmul(x, w), bias).to_vector<float>();
      CHECK(linear(x, w, bias).to_vector<float>() == expected);
      // The same rows in batches.
      for (const int64_t batch : {1, 2}) {
        if (rows % batch != 0) continue;
        const Shape split = {batch, rows / batch, outputs};
        const Tensor added = bias.rank() == 1 ? bias : bias.reshape(split);
        CHECK(linear(x.reshape(split.with(-1, inputs)), w, added).to_vector<float>() == expected);
      }
    }
  }
}

TEST_CASE("linear: two products of one x, whose gradients sum over a cut axis") {
  Random random{.seed = 6};
  const Var x = Var::leaf(random_tensor({2, 45, 70}, random)), w = Var::leaf(random_tensor({70, 4100}, random));
  const Tensor dy = random_tensor({2, 45, 4100}, random);
  const Tensor once = backward(matmul(x, w), dy)[x];
  CHECK(backward(matmul(x, w) + matmul(x, w), dy)[x].to_vector<double>() == add(once, once).to_vector<double>());
}
