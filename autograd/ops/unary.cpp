// Derivatives of the element-wise functions of one tensor: y = f(x) gives dx = dy f'(x), with f' in
// core/scalar_math.hpp.
//   exp' = y            sqrt' = 1 / (2 y)      tanh' = 1 - y^2     sigmoid' = y (1 - y)      keep y
//   log' = 1 / x        sin' = cos x           cos' = -sin x       silu' = s + x s (1 - s)   keep x, s = sigmoid(x)
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
Var exp(const Var& x) { return from_output("exp", x, exp(x.value()), exp_backward); }
Var log(const Var& x) { return from_input("log", x, log(x.value()), log_backward); }
Var sqrt(const Var& x) { return from_output("sqrt", x, sqrt(x.value()), sqrt_backward); }
Var sin(const Var& x) { return from_input("sin", x, sin(x.value()), sin_backward); }
Var cos(const Var& x) { return from_input("cos", x, cos(x.value()), cos_backward); }
Var tanh(const Var& x) { return from_output("tanh", x, tanh(x.value()), tanh_backward); }
Var sigmoid(const Var& x) { return from_output("sigmoid", x, sigmoid(x.value()), sigmoid_backward); }
Var silu(const Var& x) { return from_input("silu", x, silu(x.value()), silu_backward); }

}  // namespace phasor
