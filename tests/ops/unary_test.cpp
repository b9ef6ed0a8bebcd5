// The element-wise functions of one tensor.
#include "core/ops/unary.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numbers>

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

// No closer than 0.001 to where abs, relu and clamp(-0.5, 1) have no derivative: those are moved, not left out.
Tensors away_from_kinks(Extents e, Random& random) {
  const Tensor x = random_tensor({e.rows, e.width}, random);
  for (int64_t i = 0; i < x.size(); ++i)
    for (const double kink : {-0.5, 0.0, 1.0})
      if (double& value = x.data<double>()[i]; std::abs(value - kink) < 0.001) value = kink + 0.001;
  return {x};
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

using BackwardFunction = Tensor (*)(const Tensor&, const Tensor&, const Tensor&);

// Of a function whose derivative reads x.
double gradient_at(BackwardFunction f, double x, Dtype dtype, double dy = 1) {
  return f(Tensor::full({19}, x, dtype), Tensor(), Tensor::full({19}, dy, dtype))
      .select(0, 18)
      .to(Dtype::f64)
      .item<double>();
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

TEST_CASE("abs: op case") {
  check_op(unary_case(
      "abs", abs, abs, [](double x) { return std::abs(x); }, away_from_kinks));
}
TEST_CASE("log1p: op case") {
  check_op(unary_case(
      "log1p", log1p, log1p, [](double x) { return std::log1p(x); }, positive_numbers));
}
TEST_CASE("rsqrt: op case") {
  check_op(unary_case(
      "rsqrt", rsqrt, rsqrt, [](double x) { return 1 / std::sqrt(x); }, positive_numbers));
}
TEST_CASE("gelu: op case") {
  check_op(unary_case("gelu", gelu, gelu, [](double x) { return x * (1 + std::erf(x / std::sqrt(2))) / 2; }));
}
TEST_CASE("gelu_tanh: op case") {
  check_op(unary_case("gelu_tanh", gelu_tanh, gelu_tanh, [](double x) {
    const double u = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * std::pow(x, 3));
    return x / 2 * (1 + std::tanh(u));
  }));
}
TEST_CASE("relu: op case") {
  check_op(unary_case(
      "relu", relu, relu, [](double x) { return x > 0 ? x : 0; }, away_from_kinks));
}
TEST_CASE("softplus: op case") {
  check_op(unary_case("softplus", softplus, softplus, [](double x) { return std::log(1 + std::exp(x)); }));
}
TEST_CASE("clamp: op case") {
  OpCase op_case = unary_case(
      "clamp", [](const Tensor& x) { return clamp(x, -0.5, 1); }, [](const Var& x) { return clamp(x, -0.5, 1); },
      [](double x) { return std::clamp(x, -0.5, 1.0); }, away_from_kinks);
  const Tensor x = Tensor::zeros({3}, Dtype::f32);
  op_case.refuses = {{[=] { clamp(x, 1, -1); }, "low is 1, high is -1"},
                     {[=] { clamp(x, not_a_number, 1); }, "low <= high"},
                     {[=] { clamp(x, 0, not_a_number); }, "low <= high"}};
  check_op(op_case);
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
    for (const double x : {1000.0, infinity}) {
      CHECK(value_at(tanh, x, dtype) == 1);
      CHECK(value_at(tanh, -x, dtype) == -1);
    }
    CHECK(value_at(tanh, 0x1p-100, dtype) == 0x1p-100);
    CHECK(value_at(tanh, 0x1p-140, dtype) == 0x1p-140);  // subnormal in f32
    CHECK(std::signbit(value_at(tanh, -0.0, dtype)));
    CHECK(value_at(abs, -infinity, dtype) == infinity);
    CHECK(!std::signbit(value_at(abs, -0.0, dtype)));
    CHECK(value_at(log1p, -1, dtype) == -infinity);
    CHECK(std::isnan(value_at(log1p, -2, dtype)));
    CHECK(value_at(log1p, 0x1p-40, dtype) / 0x1p-40 == doctest::Approx(1).epsilon(1e-7));
    CHECK(value_at(rsqrt, 0, dtype) == infinity);
    CHECK(value_at(rsqrt, infinity, dtype) == 0);
    CHECK(std::isnan(value_at(rsqrt, -1, dtype)));
    for (const Function f : {Function(gelu), Function(gelu_tanh), Function(relu), Function(softplus)}) {
      CHECK(value_at(f, infinity, dtype) == infinity);
      CHECK(value_at(f, 0x1p100, dtype) == 0x1p100);
      CHECK(value_at(f, -1000, dtype) == 0);
      CHECK(value_at(f, -0x1p100, dtype) == 0);
      CHECK(value_at(f, -infinity, dtype) == 0);
    }
    CHECK(value_at(softplus, -80, dtype) / std::exp(-80) == doctest::Approx(1).epsilon(1e-6));
    CHECK(value_at(softplus, 0, dtype) == doctest::Approx(std::log(2)).epsilon(1e-7));
    for (const Function f : {Function(exp), Function(log), Function(sqrt), Function(sin), Function(cos), Function(tanh),
                             Function(sigmoid), Function(silu), Function(neg), Function(abs), Function(log1p),
                             Function(rsqrt), Function(gelu), Function(gelu_tanh), Function(relu), Function(softplus)})
      CHECK(std::isnan(value_at(f, not_a_number, dtype)));
  }
}

TEST_CASE("unary: the edges of the derivatives, in both dtypes") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    CAPTURE(static_cast<int>(dtype));
    for (const BackwardFunction f : {BackwardFunction(gelu_backward), BackwardFunction(gelu_tanh_backward),
                                     BackwardFunction(relu_backward), BackwardFunction(softplus_backward)}) {
      for (const double x : {1000.0, 0x1p100, infinity}) {
        CHECK(gradient_at(f, x, dtype) == 1);
        CHECK(gradient_at(f, -x, dtype) == 0);
      }
      CHECK(std::isnan(gradient_at(f, 1, dtype, not_a_number)));
    }
    for (const BackwardFunction f : {BackwardFunction(gelu_backward), BackwardFunction(gelu_tanh_backward),
                                     BackwardFunction(softplus_backward), BackwardFunction(log1p_backward)})
      CHECK(std::isnan(gradient_at(f, not_a_number, dtype)));
    CHECK(gradient_at(gelu_backward, 0, dtype) == 0.5);
    CHECK(gradient_at(gelu_tanh_backward, 0, dtype) == 0.5);
    CHECK(gradient_at(relu_backward, 0, dtype) == 0);
    CHECK(gradient_at(abs_backward, 0, dtype) == 0);
    CHECK(gradient_at(abs_backward, -infinity, dtype) == -1);
    // Where the slope is 0, an infinite dy does not become NaN.
    CHECK(gradient_at(relu_backward, -1, dtype, infinity) == 0);
    const auto clamp_gradient = [&](double x, double dy) {
      return clamp_backward(Tensor::full({1}, x, dtype), -1, 2, Tensor::full({1}, dy, dtype))
          .to(Dtype::f64)
          .item<double>();
    };
    CHECK(clamp_gradient(-1, 3) == 3);
    CHECK(clamp_gradient(2, 3) == 3);
    CHECK(clamp_gradient(-1.01, infinity) == 0);
    CHECK(clamp_gradient(2.01, infinity) == 0);
    const Tensor zero = Tensor::zeros({1}, dtype), one = Tensor::full({1}, 1, dtype);
    CHECK(rsqrt_backward(Tensor(), rsqrt(zero), one).to(Dtype::f64).item<double>() == -infinity);
  }
}

TEST_CASE("gelu, gelu_tanh, softplus: values and gradients of PyTorch 1.13 in float64") {
  struct Golden {
    Var (*f)(const Var&);
    std::vector<double> y, dx;  // at -3, -1, 2
  };
  const Golden goldens[] = {
      {gelu,
       {-0.00404969409489031, -0.15865525393145702, 1.9544997361036416},
       {-0.01194564720418392, -0.08331547058768635, 1.085231801078197}},
      {gelu_tanh,
       {-0.0036373920817729943, -0.1588080093917233, 1.954597694087775},
       {-0.011584166630969651, -0.08296408384578258, 1.0860992566236183}},
      {softplus,
       {0.04858735157374206, 0.31326168751822286, 2.1269280110429727},
       {0.04742587317756679, 0.2689414213699951, 0.8807970779778824}},
  };
  for (const Golden& golden : goldens) {
    const Var x = Var::leaf(Tensor::of<double>({3}, {-3, -1, 2}));
    const Var y = golden.f(x);
    CHECK(mismatch(y.value(), Dtype::f64, Tensor::of<double>({3}, golden.y), tolerance::f64(8)) == "");
    CHECK(mismatch(backward(sum(y))[x], Dtype::f64, Tensor::of<double>({3}, golden.dx), tolerance::f64(8)) == "");
  }
}

TEST_CASE("clamp: NaN and the bounds") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    const Tensor x = Tensor::of<double>({6}, {-infinity, -1, 0.5, 2, infinity, not_a_number}).to(dtype);
    const std::vector<double> y = clamp(x, -1, 2).to(Dtype::f64).to_vector<double>();
    CHECK(std::vector<double>(y.begin(), y.end() - 1) == std::vector<double>{-1, -1, 0.5, 2, 2});
    CHECK(std::isnan(y.back()));
    CHECK(clamp(x, -infinity, infinity).to(Dtype::f64).to_vector<double>()[4] == infinity);
    CHECK(clamp(x, 1, 1).to(Dtype::f64).to_vector<double>()[0] == 1);
  }
  CHECK_THROWS_AS(clamp(Tensor::zeros({2}, Dtype::f32), 1, 0), ValueError);
  CHECK_THROWS_AS(clamp_backward(Tensor::zeros({2}, Dtype::f32), 1, 0, Tensor::zeros({2}, Dtype::f32)), ValueError);
}

TEST_CASE("exp, tanh, gelu, gelu_tanh, softplus: relative errors, also where the value is nearly 0") {
  // The limits are those of the worst point of the range, rounded up, in units of half the last place. gelu_tanh pays
  // for the rounding of 2 u, which e^(2 u) multiplies by |2 u|; so does gelu in f64 with erfc.
  using Long = long double;
  const auto worst = [](Function f, Long (*expected)(Long), Dtype dtype, double from) {
    std::vector<double> values(4001);
    for (size_t i = 0; i < values.size(); ++i) values[i] = from + (8 - from) * static_cast<double>(i) / 4000;
    const Tensor x = Tensor::of<double>({4001}, values).to(dtype);
    const std::vector<double> in = x.to(Dtype::f64).to_vector<double>(), out = f(x).to(Dtype::f64).to_vector<double>();
    Long error = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      const Long y = expected(in[i]);
      if (y != 0) error = std::max(error, std::abs((out[i] - y) / y));
    }
    return static_cast<double>(error / (dtype == Dtype::f32 ? 0x1p-24 : 0x1p-53));
  };
  const auto exact = [](Long x) { return x / 2 * std::erfc(-x / std::sqrt(Long(2))); };
  const auto by_tanh = [](Long x) {  // 1 + tanh u = 2 / (1 + e^(-2 u))
    return x / (1 + std::exp(-2 * std::sqrt(2 / std::numbers::pi_v<Long>) * (x + Long(0.044715) * x * x * x)));
  };
  const auto softplus_of = [](Long x) { return std::log1p(std::exp(x)); };
  const auto exponential = [](Long x) { return std::exp(x); };
  CHECK(worst(exp, exponential, Dtype::f32, -80) < 2.2);
  CHECK(worst(exp, exponential, Dtype::f64, -700) < 2.2);
  const auto hyperbolic = [](Long x) { return std::tanh(x); };
  CHECK(worst(tanh, hyperbolic, Dtype::f32, -12) < 5);
  CHECK(worst(tanh, hyperbolic, Dtype::f32, 7.99) < 5);
  CHECK(worst(tanh, hyperbolic, Dtype::f64, -12) < 5);
  CHECK(worst(gelu, exact, Dtype::f32, -12) < 16);
  CHECK(worst(gelu, exact, Dtype::f64, -12) < 300);
  CHECK(worst(gelu_tanh, by_tanh, Dtype::f32, -5) < 45);
  CHECK(worst(gelu_tanh, by_tanh, Dtype::f64, -5) < 45);
  CHECK(worst(softplus, softplus_of, Dtype::f32, -80) < 4);
  CHECK(worst(softplus, softplus_of, Dtype::f64, -80) < 4);
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
