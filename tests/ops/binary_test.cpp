// The element-wise ops of two tensors with broadcasting.
#include "core/ops/binary.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

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

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

using Values = Tensors (*)(const Shape& a, const Shape& b, Random& random);

// The second operand stays away from 0, for div.
Tensors normal_and_positive(const Shape& a, const Shape& b, Random& random) {
  return {random_tensor(a, random), uniform(b, 0.5, 2, Dtype::f64, random)};
}
// For pow: positive bases on both sides of 1, exponents of both signs. Near 1 and near 0 the power hardly moves with
// the other operand, and a difference of powers is mostly rounding.
Tensors bases_and_exponents(const Shape& a, const Shape& b, Random& random) {
  const Tensor base = uniform(a, 1.25, 3, Dtype::f64, random), exponent = uniform(b, 0.5, 2, Dtype::f64, random);
  for (int64_t i = 0; i < base.size(); i += 2) base.data<double>()[i] = 1 / base.data<double>()[i];
  for (int64_t i = 0; i < exponent.size(); i += 3) exponent.data<double>()[i] *= -1;
  return {base, exponent};
}
// For minimum and maximum: numbers of a are even multiples of 1/8, of b odd ones, so that no two are equal.
Tensors never_equal(const Shape& a, const Shape& b, Random& random) {
  const auto multiples = [&](const Shape& shape, int64_t offset) {
    std::vector<double> values(static_cast<size_t>(shape.size()));
    for (double& value : values) value = static_cast<double>(2 * random.below(16) + offset - 16) / 8;
    return Tensor::of<double>(shape, values);
  };
  return {multiples(a, 0), multiples(b, 1)};
}

Sample sample(Values values, std::function<Shape(Extents)> shape_a, std::function<Shape(Extents)> shape_b,
              std::vector<ArgumentAxis> free_axes) {
  return {[=](Extents e, Random& random) { return values(shape_a(e), shape_b(e), random); }, std::move(free_axes)};
}

OpCase binary_case(const char* op, Tensor (*run)(const Tensor&, const Tensor&),
                   Var (*differentiable)(const Var&, const Var&), double (*f)(double, double),
                   Values values = normal_and_positive) {
  const auto matrix = [](Extents e) { return Shape{e.rows, e.width}; };
  return {.op = op,
          .run = [run](const Tensors& x) { return run(x[0], x[1]); },
          .reference = [f](const Tensors& x) { return combined(x[0], x[1], f); },
          .differentiable = [differentiable](const std::vector<Var>& x) { return differentiable(x[0], x[1]); },
          .samples =
              {
                  sample(values, matrix, matrix, {}),
                  sample(values, matrix, [](Extents e) { return Shape{e.width}; }, {{0, 0}}),
                  sample(
                      values,
                      [](Extents e) {
                        return Shape{e.rows, 1};
                      },
                      [](Extents e) {
                        return Shape{2, 1, e.width};
                      },
                      {{0, 0}, {1, 0}, {1, 2}}),
                  sample(values, [](Extents) { return Shape{}; }, matrix, {{1, any_axis}}),
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

TEST_CASE("minimum: op case") {
  check_op(binary_case(
      "minimum", minimum, minimum, [](double a, double b) { return a < b ? a : b; }, never_equal));
}
TEST_CASE("maximum: op case") {
  check_op(binary_case(
      "maximum", maximum, maximum, [](double a, double b) { return a > b ? a : b; }, never_equal));
}
TEST_CASE("pow: op case") {
  check_op(binary_case(
      "pow", pow, pow, [](double a, double b) { return std::pow(a, b); }, bases_and_exponents));
}
TEST_CASE("pow: op case of exponents that are numbers, for negative bases too") {
  for (const double exponent : {2.0, 3.0, -1.0, 1.0, 0.0}) {
    CAPTURE(exponent);
    const OpCase op_case = {.op = "pow",
                            .run = [=](const Tensors& x) { return pow(x[0], Tensor::scalar(exponent, x[0].dtype())); },
                            .reference =
                                [=](const Tensors& x) {
                                  std::vector<double> values = x[0].to(Dtype::f64).to_vector<double>();
                                  for (double& value : values) value = std::pow(value, exponent);
                                  return Tensor::of<double>(x[0].shape(), values).to(x[0].dtype());
                                },
                            .differentiable = [=](const std::vector<Var>& x) { return pow(x[0], exponent); },
                            .samples = {{[](Extents e, Random& random) {
                                           const Tensor x = uniform({e.rows, e.width}, 0.5, 2, Dtype::f64, random);
                                           for (int64_t i = 0; i < x.size(); i += 3) x.data<double>()[i] *= -1;
                                           return Tensors{x};
                                         },
                                         {{0, any_axis}}}},
                            .empty = {{0, 5}, {3, 0}}};
    check_op(op_case);
  }
}
TEST_CASE("outer: op case") {
  const auto reference = [](const Tensors& x) {  // [batch, m] or [m], and [batch or 1, n]
    const int64_t m = x[0].extent(-1), n = x[1].extent(-1);
    const int64_t batch = x[0].rank() == 2 ? x[0].extent(0) : x[1].extent(0);
    const std::vector<double> a = x[0].to(Dtype::f64).to_vector<double>(), b = x[1].to(Dtype::f64).to_vector<double>();
    std::vector<double> y;
    for (int64_t row = 0; row < batch; ++row)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) y.push_back(a[(row * m + i) % a.size()] * b[(row * n + j) % b.size()]);
    return Tensor::of<double>({batch, m, n}, y).to(x[0].dtype());
  };
  check_op({.op = "outer",
            .run = [](const Tensors& x) { return outer(x[0], x[1]); },
            .reference = reference,
            .differentiable = [](const std::vector<Var>& x) { return outer(x[0], x[1]); },
            .samples = {{[](Extents e, Random& random) {
                           return Tensors{random_tensor({3, e.rows}, random), random_tensor({3, e.width}, random)};
                         },
                         {{0, 1}, {1, 1}}},
                        {[](Extents e, Random& random) {
                           return Tensors{random_tensor({e.rows, e.width}, random), random_tensor({1, 7}, random)};
                         },
                         {{0, any_axis}, {1, 1}}},
                        {[](Extents e, Random& random) {
                           return Tensors{random_tensor({e.width}, random), random_tensor({2, e.rows}, random)};
                         },
                         {{0, 0}, {1, any_axis}}}},
            .refuses = {{[] { outer(Tensor::scalar(1, Dtype::f32), Tensor::zeros({3}, Dtype::f32)); }, "a is []"},
                        {[] {
                           outer(Tensor::zeros({4, 3}, Dtype::f32), Tensor::zeros({2, 3}, Dtype::f32));
                         },
                         "a is [4, 3], b is [2, 3]; axis -2 is 4 and 2"},
                        {[] {
                           outer(Tensor::zeros({1, 1, 1, 1, 1, 2}, Dtype::f32), Tensor::zeros({3}, Dtype::f32));
                         },
                         "an axis more"}},
            .empty = {{0, 5}, {3, 0}},
            .large = {60, 900}});
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
  CHECK(minimum(a, b).to_vector<int32_t>() == std::vector<int32_t>{2, -7, 1, INT32_MIN});
  CHECK(maximum(a, b).to_vector<int32_t>() == std::vector<int32_t>{7, 2, INT32_MAX, -1});
  CHECK(maximum(wide, Tensor::of<int64_t>({2}, {1, 6})).to_vector<int64_t>() ==
        std::vector<int64_t>{int64_t{1} << 40, int64_t{1} << 40, 5, 6});
  CHECK(outer(a, Tensor::of<int32_t>({2}, {1, -1})).to_vector<int32_t>() ==
        std::vector<int32_t>{7, -7, -7, 7, INT32_MAX, -INT32_MAX, INT32_MIN, INT32_MIN});
  CHECK_THROWS_AS(pow(a, b), DtypeError);
}

TEST_CASE("minimum, maximum: NaN on either side, infinities, equal numbers") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    const Tensor a = Tensor::of<double>({6}, {not_a_number, 1, -infinity, 3, 2, 5}).to(dtype);
    const Tensor b = Tensor::of<double>({6}, {1, not_a_number, 0, infinity, 2, 4}).to(dtype);
    const auto values = [](const Tensor& t) { return t.to(Dtype::f64).to_vector<double>(); };
    const std::vector<double> low = values(minimum(a, b)), high = values(maximum(a, b));
    for (const std::vector<double>& y : {low, high}) CHECK((std::isnan(y[0]) && std::isnan(y[1])));
    CHECK(std::vector<double>(low.begin() + 2, low.end()) == std::vector<double>{-infinity, 3, 2, 4});
    CHECK(std::vector<double>(high.begin() + 2, high.end()) == std::vector<double>{0, infinity, 2, 5});
    const Tensor dy = Tensor::of<double>({6}, {1, 2, 3, 4, 5, 6}).to(dtype);
    const BinaryGradients of_low = minimum_backward(a, b, dy), of_high = maximum_backward(a, b, dy);
    CHECK(values(of_low.da) == std::vector<double>{1, 2, 3, 4, 2.5, 0});
    CHECK(values(of_low.db) == std::vector<double>{1, 2, 0, 0, 2.5, 6});
    CHECK(values(of_high.da) == std::vector<double>{1, 2, 0, 0, 2.5, 6});
    CHECK(values(of_high.db) == std::vector<double>{1, 2, 3, 4, 2.5, 0});
  }
}

TEST_CASE("pow: edges of the value, in both dtypes") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    // Alone and among others: a vector may take another way where all exponents are small.
    for (const int64_t count : {1, 40}) {
      const auto value = [&](double a, double b) {
        const Tensor x = Tensor::full({count}, a, dtype);
        return pow(x, Tensor::full({count}, b, dtype)).select(0, count - 1).to(Dtype::f64).item<double>();
      };
      CHECK(value(-2, 3) == -8);
      CHECK(value(-2, 2) == 4);
      CHECK(value(-2, -1) == -0.5);
      CHECK(value(-2, 1) == -2);
      CHECK(std::isnan(value(-2, 0.5)));
      CHECK(value(0, 0) == 1);
      CHECK(value(not_a_number, 0) == 1);
      CHECK(value(1, not_a_number) == 1);
      CHECK(std::isnan(value(not_a_number, 2)));
      CHECK(std::isnan(value(not_a_number, 1)));
      CHECK(std::isnan(value(2, not_a_number)));
      CHECK(value(0, -1) == infinity);
      CHECK(value(-infinity, 2) == infinity);
    }
  }
  // One vector of all kinds of exponents.
  const Tensor a = Tensor::full({16}, -3, Dtype::f32);
  const Tensor b = Tensor::of<float>({16}, {0, 1, 2, 3, -1, 2, 0, 1, -2, 4, 2, 1, 0, 3, 2, 1});
  const std::vector<float> y = pow(a, b).to_vector<float>(), exponents = b.to_vector<float>();
  for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == doctest::Approx(std::pow(-3.0, exponents[i])).epsilon(1e-7));
}

TEST_CASE("pow: gradients where a formula would give NaN") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    const auto values = [](const Tensor& t) { return t.to(Dtype::f64).to_vector<double>(); };
    const Tensor a = Tensor::of<double>({7}, {-2, 0, 0, 0, 3, 0, -2}).to(dtype);
    const Tensor b = Tensor::of<double>({7}, {2, 0, 2, 1, 0, -1, 0}).to(dtype);
    const Tensor ones = Tensor::full({7}, 1, dtype);
    CHECK(values(pow_base_backward(a, b, ones)) == std::vector<double>{-4, 0, 0, 1, 0, -infinity, 0});
    const std::vector<double> db = values(pow_exponent_backward(a, b, pow(a, b), ones));
    CHECK(std::isnan(db[0]));  // log of a negative base
    CHECK(std::vector<double>(db.begin() + 1, db.begin() + 4) == std::vector<double>{0, 0, 0});
    CHECK(db[4] == doctest::Approx(std::log(3)));
    CHECK(db[5] == -infinity);
    // A constant exponent: no logarithm is taken, da is right for negative bases.
    const Var x = Var::leaf(Tensor::of<double>({3}, {-2, 0, 3}).to(dtype));
    CHECK(values(backward(sum(pow(x, 2.0)))[x]) == std::vector<double>{-4, 0, 6});
    CHECK(values(backward(sum(pow(x, 3.0)))[x]) == std::vector<double>{12, 0, 27});
    CHECK(values(backward(sum(pow(x, 0.0)))[x]) == std::vector<double>{0, 0, 0});
    // A constant base.
    const Var exponent = Var::leaf(Tensor::of<double>({2}, {0, 3}).to(dtype));
    const std::vector<double> of_exponent = values(backward(sum(pow(Tensor::scalar(2, dtype), exponent)))[exponent]);
    CHECK(of_exponent[0] == doctest::Approx(std::log(2)));
    CHECK(of_exponent[1] == doctest::Approx(8 * std::log(2)));
  }
}

TEST_CASE("binary: a backward refuses tensors that do not fit together") {
  const Tensor a = Tensor::zeros({2, 3}, Dtype::f64), b = Tensor::zeros({3}, Dtype::f64);
  const Tensor narrow = Tensor::zeros({2, 3}, Dtype::f32);
  CHECK_THROWS_AS(minimum_backward(a, b, b), ShapeError);
  CHECK_THROWS_AS(minimum_backward(a, b, Tensor::zeros({4, 2, 3}, Dtype::f64)), ShapeError);
  CHECK_THROWS_AS(pow_base_backward(b, b, a), ShapeError);
  CHECK_THROWS_AS(pow_exponent_backward(b, b, a, a), ShapeError);
  CHECK_THROWS_AS(maximum_backward(a, b, narrow), DtypeError);
  CHECK_THROWS_AS(pow_base_backward(a, b, b), ShapeError);
  CHECK_THROWS_AS(pow_base_backward(a, narrow, a), DtypeError);
  CHECK_THROWS_AS(pow_exponent_backward(a, b, b, a), ShapeError);
  CHECK_THROWS_AS(pow_exponent_backward(a, b, narrow, a), DtypeError);
  const Tensor ids = Tensor::zeros({3}, Dtype::i64);
  CHECK_THROWS_AS(minimum_backward(ids, ids, ids), DtypeError);
  CHECK_THROWS_AS(pow(Var(ids), 2.0), DtypeError);
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
  CHECK((3.0 - x).value().to_vector<float>() == std::vector<float>{2, 1});
  CHECK((3.0 / x).value().to_vector<float>() == std::vector<float>{3, 1.5f});
  CHECK(backward(sum(3.0 - x) + sum(4.0 / x))[x].to_vector<float>() == std::vector<float>{-5, -2});
}
