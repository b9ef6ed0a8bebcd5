// The element-wise ops of two tensors with broadcasting.
#include "core/ops/binary.hpp"

#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

// Element by element in double, over numpy's broadcast shape, with plain index arithmetic.
Tensor combined(const Tensor& a, const Tensor& b, double (*f)(double, double)) {
  const Shape shape = broadcast_shape("reference", a.shape(), b.shape());
  const std::vector<double> va = a.to(Dtype::f64).to_vector<double>(), vb = b.to(Dtype::f64).to_vector<double>();
  std::vector<double> y(static_cast<size_t>(shape.size()));
  const auto place_in = [&](const Tensor& x, int64_t flat) {
    int64_t place = 0, step = 1;
    for (int axis = 1; axis <= x.rank(); ++axis) {
      const int64_t index = flat % shape[-axis];
      flat /= shape[-axis];
      place += x.extent(-axis) == 1 ? 0 : index * step;
      step *= x.extent(-axis);
    }
    return static_cast<size_t>(place);
  };
  for (int64_t i = 0; i < shape.size(); ++i) y[i] = f(va[place_in(a, i)], vb[place_in(b, i)]);
  return Tensor::of<double>(shape, y).to(a.dtype());
}

// The second operand stays away from 0, for div.
Sample sample(std::function<Shape(Extents)> shape_a, std::function<Shape(Extents)> shape_b,
              std::vector<ArgumentAxis> free_axes) {
  return {[=](Extents e, Random& random) {
            return Tensors{random_tensor(shape_a(e), random), uniform(shape_b(e), 0.5, 2, Dtype::f64, random)};
          },
          std::move(free_axes)};
}

OpCase binary_case(const char* op, Tensor (*run)(const Tensor&, const Tensor&),
                   Var (*differentiable)(const Var&, const Var&), double (*f)(double, double)) {
  const auto matrix = [](Extents e) { return Shape{e.rows, e.width}; };
  return {.op = op,
          .run = [run](const Tensors& x) { return run(x[0], x[1]); },
          .reference = [f](const Tensors& x) { return combined(x[0], x[1], f); },
          .differentiable = [differentiable](const std::vector<Var>& x) { return differentiable(x[0], x[1]); },
          .samples =
              {
                  sample(matrix, matrix, {}),
                  sample(matrix, [](Extents e) { return Shape{e.width}; }, {{0, 0}}),
                  sample(
                      [](Extents e) {
                        return Shape{e.rows, 1};
                      },
                      [](Extents e) {
                        return Shape{2, 1, e.width};
                      },
                      {{0, 0}, {1, 0}, {1, 2}}),
                  sample([](Extents) { return Shape{}; }, matrix, {{1, any_axis}}),
              },
          .refuses = {{[run] {
                         run(Tensor::zeros({4, 3}, Dtype::f32), Tensor::zeros({2, 3}, Dtype::f32));
                       },
                       "cannot broadcast"}},
          .empty = {{0, 5}, {3, 0}}};
}

}  // namespace

TEST_CASE("add: op case") {
  check_op(binary_case("add", add, add, [](double a, double b) { return a + b; }));
}
TEST_CASE("sub: op case") {
  check_op(binary_case("sub", sub, sub, [](double a, double b) { return a - b; }));
}
TEST_CASE("mul: op case") {
  check_op(binary_case("mul", mul, mul, [](double a, double b) { return a * b; }));
}
TEST_CASE("div: op case") {
  check_op(binary_case("div", div, div, [](double a, double b) { return a / b; }));
}

TEST_CASE("binary: integers") {
  const Tensor a = Tensor::of<int32_t>({4}, {7, -7, INT32_MAX, INT32_MIN}), b = Tensor::of<int32_t>({4}, {2, 2, 1, -1});
  CHECK(div(a, b).to_vector<int32_t>() == std::vector<int32_t>{3, -3, INT32_MAX, INT32_MIN});
  CHECK(add(a, b).to_vector<int32_t>() == std::vector<int32_t>{9, -5, INT32_MIN, INT32_MAX});
  CHECK(mul(a, b).to_vector<int32_t>() == std::vector<int32_t>{14, -14, INT32_MAX, INT32_MIN});
  const Tensor wide = Tensor::of<int64_t>({2, 1}, {int64_t{1} << 40, 5});
  CHECK(sub(wide, Tensor::of<int64_t>({2}, {1, 2})).to_vector<int64_t>() ==
        std::vector<int64_t>{(int64_t{1} << 40) - 1, (int64_t{1} << 40) - 2, 4, 3});
  CHECK_THROWS_AS(div(a, Tensor::of<int32_t>({4}, {1, 1, 0, 1})), ValueError);
}

TEST_CASE("add_into: adds to every element once, through views and broadcasting") {
  const Tensor y = Tensor::of<double>({2, 3}, {1, 2, 3, 4, 5, 6});
  add_into(y.transpose(0, 1), Tensor::of<double>({3, 1}, {10, 20, 30}));
  CHECK(y.to_vector<double>() == std::vector<double>{11, 22, 33, 14, 25, 36});
  add_into(y, y);
  CHECK(y.to_vector<double>() == std::vector<double>{22, 44, 66, 28, 50, 72});
  CHECK_THROWS_AS(add_into(y, Tensor::zeros({2, 2, 3}, Dtype::f64)), ShapeError);
  CHECK_THROWS_AS(add_into(y, Tensor::zeros({2, 3}, Dtype::f32)), DtypeError);
}

TEST_CASE("binary: the same variable on both sides") {
  const Var x = Var::leaf(Tensor::of<double>({3}, {1, 2, 3}));
  CHECK(backward(sum(x * x))[x].to_vector<double>() == std::vector<double>{2, 4, 6});
  CHECK(backward(sum(x - x))[x].to_vector<double>() == std::vector<double>{0, 0, 0});
}

TEST_CASE("binary: operators with a number") {
  const Var x = Var::leaf(Tensor::of<float>({2}, {1, 2}));
  const Var y = 2.0 * x + 1.0 - 0.5;
  CHECK(y.dtype() == Dtype::f32);
  CHECK(y.value().to_vector<float>() == std::vector<float>{2.5f, 4.5f});
  CHECK(backward(sum(y / 4.0))[x].to_vector<float>() == std::vector<float>{0.5f, 0.5f});
}
