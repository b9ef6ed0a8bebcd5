// Properties of backward over random programs: differentiable ops chained at random, with values used several times.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "autograd/gradcheck.hpp"
#include "autograd/ops.hpp"
#include "core/ops/binary.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/property.hpp"
#include "tests/support/tolerance.hpp"

using namespace phasor;

namespace {

// Of a matrix y and a number s to a matrix; none grows without bound.
using Step = Var (*)(const Var& y, const Var& s);
constexpr Step steps[] = {
    [](const Var& y, const Var&) { return tanh(y); },
    [](const Var& y, const Var&) { return sigmoid(y); },
    [](const Var& y, const Var&) { return silu(y); },
    [](const Var& y, const Var&) { return sin(y); },
    [](const Var& y, const Var&) { return exp(cos(y)); },
    [](const Var& y, const Var& s) { return y * s; },
    [](const Var& y, const Var& s) { return s - y; },
    [](const Var& y, const Var& s) { return y / (s * s + y * y + 1.0); },
    [](const Var& y, const Var&) { return log(y * y + 1.0); },
    [](const Var& y, const Var&) { return sqrt(y * y + 1.0); },
    [](const Var& y, const Var&) { return softmax(y); },
    [](const Var& y, const Var&) { return transpose(y, 0, 1); },
    [](const Var& y, const Var&) {
      return reshape(y, {y.extent(1), y.extent(0)});
    },
    [](const Var& y, const Var&) { return tanh(matmul(y, transpose(y, 0, 1))); },
    [](const Var& y, const Var&) { return y - mean(y, {0}); },
    [](const Var& y, const Var&) { return y + sum(tanh(y), {1}); },
    [](const Var& y, const Var&) { return slice(y, 0, 0, 1) * tanh(y); },
    [](const Var& y, const Var& s) { return rms_norm(y, broadcast_to(s, {y.extent(1)}), 0.1); },
    [](const Var& y, const Var& s) { return swiglu(tanh(y), y * s); },
};

using Program = std::vector<int>;

rc::Gen<Program> any_program() {
  return rc::gen::mapcat(from_to(1, 6), [](int length) {
    return rc::gen::container<Program>(static_cast<size_t>(length), from_to(0, static_cast<int>(std::size(steps)) - 1));
  });
}

// The slope of 1 in x and s gives every gradient a size to measure errors against.
Var run(const Program& program, const Var& x, const Var& s) {
  Var y = x;
  for (const int step : program) y = steps[step](y, s);
  return y + sum(x) + s;
}

struct Leaves {
  Var x, s;
};

Leaves any_leaves() {
  const Shape shape{*from_to<int64_t>(1, 4), *from_to<int64_t>(1, 4)};
  return {Var::leaf(*any_tensor(shape, Dtype::f64)), Var::leaf(*any_tensor({}, Dtype::f64))};
}

Tensor scaled(double factor, const Tensor& x) { return mul(x, Tensor::scalar(factor, Dtype::f64)); }

double largest(const Tensor& x) {
  double result = 0;
  for (const double value : x.to_vector<double>()) result = std::max(result, std::abs(value));
  return result;
}

// Everywhere |got - (a + b)| <= limit * (max|a| + max|b|).
void must_be_sum(const Tensor& got, const Tensor& a, const Tensor& b) {
  const double error = largest(sub(got, add(a, b))), limit = 1e-13 * (largest(a) + largest(b));
  RC_ASSERT(error <= limit);
}

}  // namespace

TEST_CASE("properties of gradients: the gradient of a sum is the sum of the gradients") {
  check_property([] {
    const auto [x, s] = any_leaves();
    const Program f = *any_program(), g = *any_program();
    const Var of_f = run(f, x, s), of_g = run(g, x, s);
    const Var weight_f = *any_tensor(of_f.shape(), Dtype::f64), weight_g = *any_tensor(of_g.shape(), Dtype::f64);
    const Gradients together = backward(sum(run(f, x, s) * weight_f) + sum(run(g, x, s) * weight_g));
    const Gradients first = backward(sum(of_f * weight_f)), second = backward(sum(of_g * weight_g));
    for (const Var& leaf : {x, s}) must_be_sum(together[leaf], first[leaf], second[leaf]);
  });
}

TEST_CASE("properties of gradients: linear in the cotangent") {
  check_property([] {
    const auto [x, s] = any_leaves();
    const Program f = *any_program();
    const Var first_run = run(f, x, s);
    const Tensor u = *any_tensor(first_run.shape(), Dtype::f64), v = *any_tensor(first_run.shape(), Dtype::f64);
    const double a = *rc::gen::element(1.0, -2.0, 0.0, 1e3), b = *rc::gen::element(1.0, -0.5, 3.0);
    const Gradients together = backward(run(f, x, s), add(scaled(a, u), scaled(b, v)));
    const Gradients of_u = backward(first_run, u), of_v = backward(run(f, x, s), v);
    for (const Var& leaf : {x, s}) must_be_sum(together[leaf], scaled(a, of_u[leaf]), scaled(b, of_v[leaf]));
  });
}

TEST_CASE("properties of gradients: they agree with central differences") {
  check_property([] {
    const auto [x, s] = any_leaves();
    const Program f = *any_program();
    const GradcheckResult result =
        gradcheck([&](const std::vector<Var>& v) { return run(f, v[0], v[1]); }, {x.value(), s.value()});
    // Chains of steep functions have large third derivatives, which the difference leaves out.
    if (!(result.worst <= 1e-6)) RC_FAIL(result.message);
  });
}

TEST_CASE("properties of gradients: a used value counts each of its uses, and one that is not recorded none") {
  check_property([] {
    const auto [x, s] = any_leaves();
    const Program f = *any_program();
    const Var apart = Var::leaf(x.value());
    const Gradients together = backward(sum(run(f, x, s) * sum(sin(x))));
    const Gradients separate = backward(sum(run(f, x, s) * sum(sin(apart))));
    must_be_sum(together[x], separate[x], separate[apart]);
    const NoGradient nothing_recorded;
    RC_ASSERT(!run(f, x, s).needs_gradient());
  });
}
