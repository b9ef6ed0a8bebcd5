// Derivatives of the element-wise ops of two tensors. The rules return gradients of the broadcast shape; record() sums
// them back to each operand's shape.
//   y = a + b    da = dy         db = dy
//   y = a - b    da = dy         db = -dy
//   y = a b      da = dy b       db = dy a
//   y = a / b    da = dy / b     db = -dy a / b^2 = -(dy / b) y
//   y = a^b      da = dy b a^(b-1)            db = dy y log a;  0 where y does not depend on the operand: on a if b is
//                0, on b if a is 0 and b >= 0
//   y = min(a, b), max(a, b): dy to the side that y comes from, half to each if they are equal
//   y_ij = a_i b_j   da_i = sum_j dy_ij b_j   db_j = sum_i a_i dy_ij: two matrix products
#include "core/ops/binary.hpp"

#include "autograd/device.hpp"
#include "autograd/kept.hpp"
#include "autograd/ops.hpp"
#include "core/ops/matmul.hpp"
#include "core/ops/unary.hpp"

namespace phasor {

static std::pair<Var, Var> together(const Var& a, const Var& b) {
  const Device device = common_device({a.device(), b.device()});
  return {on(device, a), on(device, b)};
}

Var add(const Var& of_a, const Var& of_b) {
  const auto [a, b] = together(of_a, of_b);
  return record("add", add(a.value(), b.value()), {a, b}, [](const Tensor& dy, Wanted) { return std::vector{dy, dy}; });
}

Var sub(const Var& of_a, const Var& of_b) {
  const auto [a, b] = together(of_a, of_b);
  return record("sub", sub(a.value(), b.value()), {a, b}, [](const Tensor& dy, Wanted wanted) {
    return std::vector{dy, wanted[1] ? neg(dy) : Tensor()};
  });
}

Var mul(const Var& of_a, const Var& of_b) {
  const auto [a, b] = together(of_a, of_b);
  return record("mul", mul(a.value(), b.value()), {a, b},
                [a = kept_if(b.needs_gradient(), a.value()), b = kept_if(a.needs_gradient(), b.value())](
                    const Tensor& dy, Wanted wanted) {
                  return std::vector{wanted[0] ? mul(dy, b) : Tensor(), wanted[1] ? mul(dy, a) : Tensor()};
                });
}

Var div(const Var& of_a, const Var& of_b) {
  const auto [a, b] = together(of_a, of_b);
  const Tensor y = div(a.value(), b.value());
  return record("div", y, {a, b}, [b = b.value(), y = kept_if(b.needs_gradient(), y)](const Tensor& dy, Wanted wanted) {
    const Tensor da = div(dy, b);
    return std::vector{da, wanted[1] ? neg(mul(da, y)) : Tensor()};
  });
}

namespace {

using Choice = Tensor(const Tensor& a, const Tensor& b);
using ChoiceBackward = BinaryGradients(const Tensor& a, const Tensor& b, const Tensor& dy);

Var choice(const char* op, const Var& of_a, const Var& of_b, Choice* choose, ChoiceBackward* backward) {
  const auto [a, b] = together(of_a, of_b);
  return record(op, choose(a.value(), b.value()), {a, b},
                [a = a.value(), b = b.value(), backward](const Tensor& dy, Wanted) {
                  const BinaryGradients gradients = backward(a, b, dy);
                  return std::vector{gradients.da, gradients.db};
                });
}

}  // namespace

Var minimum(const Var& a, const Var& b) { return choice("minimum", a, b, minimum, minimum_backward); }
Var maximum(const Var& a, const Var& b) { return choice("maximum", a, b, maximum, maximum_backward); }

Var pow(const Var& of_a, const Var& of_b) {
  const auto [a, b] = together(of_a, of_b);
  const Tensor y = pow(a.value(), b.value());
  return record("pow", y, {a, b},
                [a = a.value(), b = b.value(), y = kept_if(b.needs_gradient(), y)](const Tensor& dy, Wanted wanted) {
                  return std::vector{wanted[0] ? pow_base_backward(a, b, dy) : Tensor(),
                                     wanted[1] ? pow_exponent_backward(a, b, y, dy) : Tensor()};
                });
}

Var outer(const Var& of_a, const Var& of_b) {
  const auto [a, b] = together(of_a, of_b);
  return record("outer", outer(a.value(), b.value()), {a, b},
                [a = kept_if(b.needs_gradient(), a.value()), b = kept_if(a.needs_gradient(), b.value())](
                    const Tensor& dy, Wanted wanted) {
                  return std::vector{wanted[0] ? matmul(dy, b.unsqueeze(-1)).squeeze(-1) : Tensor(),
                                     wanted[1] ? matmul(a.unsqueeze(-2), dy).squeeze(-2) : Tensor()};
                });
}

static Tensor number_like(const char* op, const Var& a, double number) {
  require<DtypeError>(is_float(a.dtype()), op, "beside a number with a fraction: needs f32 or f64, got ", a.dtype());
  return Tensor::scalar(number, a.dtype());
}

Var operator+(const Var& a, double b) { return add(a, number_like("add", a, b)); }
Var operator*(const Var& a, double b) { return mul(a, number_like("mul", a, b)); }
Var operator/(const Var& a, double b) { return div(a, number_like("div", a, b)); }
Var operator-(double a, const Var& b) { return sub(number_like("sub", b, a), b); }
Var operator/(double a, const Var& b) { return div(number_like("div", b, a), b); }
Var pow(const Var& a, double b) { return pow(a, number_like("pow", a, b)); }

}  // namespace phasor
