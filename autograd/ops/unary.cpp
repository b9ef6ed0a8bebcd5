// Derivatives of the element-wise functions of one tensor: y = f(x) gives dx = dy f'(x), with f' in
// core/scalar_math.hpp.
// These keep y:
//   exp' = y        sqrt' = 1 / (2 y)      rsqrt' = -y^3 / 2     tanh' = 1 - y^2     sigmoid' = y (1 - y)
// These keep x; s = sigmoid(x):
//   log' = 1 / x    log1p' = 1 / (1 + x)   sin' = cos x          cos' = -sin x
//   abs' = sign x   relu' = [x > 0]        clamp' = [low <= x <= high]
//   silu' = s + x s (1 - s)                softplus' = s
//   gelu' = (x Phi)' = Phi + x phi         phi(x) = Phi'(x) = e^(-x^2 / 2) / sqrt(2 pi)
//   gelu_tanh' = (x t)' = t + x t (1 - t) 2 u'     t = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
#include "core/ops/unary.hpp"

#include "autograd/ops.hpp"

namespace phasor {
namespace {

using Backward = Tensor(const Tensor& x, const Tensor& y, const Tensor& dy);

Var from_input(const char* op, const Var& x, Tensor y, Backward* backward) {
  return record(op, std::move(y), {x},
                [x = x.value(), backward](const Tensor& dy, Wanted) { return std::vector{backward(x, Tensor(), dy)}; });
}

Var from_output(const char* op, const Var& x, const Tensor& y, Backward* backward) {
  return record(op, y, {x}, [y, backward](const Tensor& dy, Wanted) { return std::vector{backward(Tensor(), y, dy)}; });
}

}  // namespace

Var neg(const Var& x) {
  return record("neg", neg(x.value()), {x}, [](const Tensor& dy, Wanted) { return std::vector{neg(dy)}; });
}
Var abs(const Var& x) { return from_input("abs", x, abs(x.value()), abs_backward); }
Var exp(const Var& x) { return from_output("exp", x, exp(x.value()), exp_backward); }
Var log(const Var& x) { return from_input("log", x, log(x.value()), log_backward); }
Var log1p(const Var& x) { return from_input("log1p", x, log1p(x.value()), log1p_backward); }
Var sqrt(const Var& x) { return from_output("sqrt", x, sqrt(x.value()), sqrt_backward); }
Var rsqrt(const Var& x) { return from_output("rsqrt", x, rsqrt(x.value()), rsqrt_backward); }
Var sin(const Var& x) { return from_input("sin", x, sin(x.value()), sin_backward); }
Var cos(const Var& x) { return from_input("cos", x, cos(x.value()), cos_backward); }
Var tanh(const Var& x) { return from_output("tanh", x, tanh(x.value()), tanh_backward); }
Var sigmoid(const Var& x) { return from_output("sigmoid", x, sigmoid(x.value()), sigmoid_backward); }
Var silu(const Var& x) { return from_input("silu", x, silu(x.value()), silu_backward); }
Var gelu(const Var& x) { return from_input("gelu", x, gelu(x.value()), gelu_backward); }
Var gelu_tanh(const Var& x) { return from_input("gelu_tanh", x, gelu_tanh(x.value()), gelu_tanh_backward); }
Var relu(const Var& x) { return from_input("relu", x, relu(x.value()), relu_backward); }
Var softplus(const Var& x) { return from_input("softplus", x, softplus(x.value()), softplus_backward); }
Var clamp(const Var& x, double low, double high) {
  return record("clamp", clamp(x.value(), low, high), {x}, [x = x.value(), low, high](const Tensor& dy, Wanted) {
    return std::vector{clamp_backward(x, low, high, dy)};
  });
}

}  // namespace phasor
