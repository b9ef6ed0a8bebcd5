// The element-wise functions of one tensor.
#include "core/ops/unary.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

// f(x), element by element, in double.
Tensor mapped(const Tensor& x, double (*f)(double)) {
  std::vector<double> values = x.to(Dtype::f64).to_vector<double>();
  for (double& value : values) value = f(value);
  return Tensor::of<double>(x.shape(), values).to(x.dtype());
}

Tensors any_numbers(Extents e, Random& random) { return {random_tensor({e.rows, e.width}, random)}; }

// Away from 0, where log and sqrt have no derivative.
Tensors positive_numbers(Extents e, Random& random) {
  return {uniform({e.rows, e.width}, 0.25, 4, Dtype::f64, random)};
}

OpCase unary_case(const char* op, Tensor (*run)(const Tensor&), Var (*differentiable)(const Var&), double (*f)(double),
                  Tensors (*sample)(Extents, Random&) = any_numbers) {
  return {.op = op,
          .run = [run](const Tensors& x) { return run(x[0]); },
          .reference = [f](const Tensors& x) { return mapped(x[0], f); },
          .differentiable = [differentiable](const std::vector<Var>& x) { return differentiable(x[0]); },
          .samples = {{sample, {{0, any_axis}}}},
          .empty = {{0, 5}, {3, 0}}};
}

using Function = Tensor (*)(const Tensor&);

double value_at(Function f, double x, Dtype dtype) {
  return f(Tensor::full({19}, x, dtype)).select(0, 18).to(Dtype::f64).item<double>();
}

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("neg: op case") {
  check_op(unary_case("neg", neg, neg, [](double x) { return -x; }));
}
TEST_CASE("exp: op case") {
  check_op(unary_case("exp", exp, exp, [](double x) { return std::exp(x); }));
}
TEST_CASE("log: op case") {
  check_op(unary_case(
      "log", log, log, [](double x) { return std::log(x); }, positive_numbers));
}
TEST_CASE("sqrt: op case") {
  check_op(unary_case(
      "sqrt", sqrt, sqrt, [](double x) { return std::sqrt(x); }, positive_numbers));
}
TEST_CASE("sin: op case") {
  check_op(unary_case("sin", sin, sin, [](double x) { return std::sin(x); }));
}
TEST_CASE("cos: op case") {
  check_op(unary_case("cos", cos, cos, [](double x) { return std::cos(x); }));
}
TEST_CASE("tanh: op case") {
  check_op(unary_case("tanh", tanh, tanh, [](double x) { return std::tanh(x); }));
}
TEST_CASE("sigmoid: op case") {
  check_op(unary_case("sigmoid", sigmoid, sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }));
}
TEST_CASE("silu: op case") {
  check_op(unary_case("silu", silu, silu, [](double x) { return x / (1 + std::exp(-x)); }));
}

TEST_CASE("unary: the edges of the functions, in both dtypes") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    CAPTURE(static_cast<int>(dtype));
    CHECK(value_at(exp, 1000, dtype) == infinity);
    CHECK(value_at(exp, infinity, dtype) == infinity);
    CHECK(value_at(exp, -1000, dtype) == 0);
    CHECK(value_at(exp, -infinity, dtype) == 0);
    CHECK(value_at(exp, 0, dtype) == 1);
    CHECK(value_at(log, 0, dtype) == -infinity);
    CHECK(std::isnan(value_at(log, -1, dtype)));
    CHECK(std::isnan(value_at(sqrt, -1, dtype)));
    CHECK(value_at(sqrt, 0, dtype) == 0);
    // Large arguments neither overflow nor turn into NaN.
    CHECK(value_at(sigmoid, 1000, dtype) == 1);
    CHECK(value_at(sigmoid, -1000, dtype) == 0);
    CHECK(value_at(silu, 1000, dtype) == 1000);
    CHECK(value_at(silu, -1000, dtype) == 0);
    CHECK(value_at(tanh, 1000, dtype) == 1);
    for (const Function f : {Function(exp), Function(log), Function(sqrt), Function(sin), Function(cos), Function(tanh),
                             Function(sigmoid), Function(silu), Function(neg)})
      CHECK(std::isnan(value_at(f, not_a_number, dtype)));
  }
}

TEST_CASE("unary: the result keeps the order of axes in memory") {
  Random random;
  const Tensor x = random_tensor({4, 6}, random).transpose(0, 1);
  CHECK(exp(x).stride(0) == 1);
  CHECK(exp(x).stride(1) == 6);
}

TEST_CASE("unary: a backward refuses tensors that do not fit together") {
  const Tensor x = Tensor::zeros({4}, Dtype::f64);
  CHECK_THROWS_AS(exp_backward(Tensor(), x, Tensor::zeros({5}, Dtype::f64)), ShapeError);
  CHECK_THROWS_AS(log_backward(x, Tensor(), Tensor::zeros({4}, Dtype::f32)), DtypeError);
}
