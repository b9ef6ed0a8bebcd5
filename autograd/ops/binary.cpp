// Derivatives of the element-wise ops of two tensors. The rules return gradients of the broadcast shape; record() sums
// them back to each operand's shape.
//   y = a + b    da = dy         db = dy
//   y = a - b    da = dy         db = -dy
//   y = a b      da = dy b       db = dy a
//   y = a / b    da = dy / b     db = -dy a / b^2 = -(dy / b) y
#include "core/ops/binary.hpp"

#include "autograd/ops.hpp"
#include "core/ops/unary.hpp"

namespace phasor {
namespace {

// A rule keeps an operand only for a gradient that will be asked for.
Tensor kept_if(bool needed, const Tensor& x) { return needed ? x : Tensor(); }

}  // namespace

Var add(const Var& a, const Var& b) {
  return record("add", add(a.value(), b.value()), {a, b}, [](const Tensor& dy, Wanted) { return std::vector{dy, dy}; });
}

Var sub(const Var& a, const Var& b) {
  return record("sub", sub(a.value(), b.value()), {a, b}, [](const Tensor& dy, Wanted wanted) {
    return std::vector{dy, wanted[1] ? neg(dy) : Tensor()};
  });
}

Var mul(const Var& a, const Var& b) {
  return record("mul", mul(a.value(), b.value()), {a, b},
                [a = kept_if(b.needs_gradient(), a.value()), b = kept_if(a.needs_gradient(), b.value())](
                    const Tensor& dy, Wanted wanted) {
                  return std::vector{wanted[0] ? mul(dy, b) : Tensor(), wanted[1] ? mul(dy, a) : Tensor()};
                });
}

Var div(const Var& a, const Var& b) {
  const Tensor y = div(a.value(), b.value());
  return record("div", y, {a, b}, [b = b.value(), y = kept_if(b.needs_gradient(), y)](const Tensor& dy, Wanted wanted) {
    const Tensor da = div(dy, b);
    return std::vector{da, wanted[1] ? neg(mul(da, y)) : Tensor()};
  });
}

static Tensor number_like(const Var& a, double number) {
  require<DtypeError>(is_float(a.dtype()), "binary", "a number with a fraction meets ", a.dtype(),
                      "; cast to f32 or f64");
  return Tensor::scalar(number, a.dtype());
}

Var operator+(const Var& a, double b) { return add(a, number_like(a, b)); }
Var operator*(const Var& a, double b) { return mul(a, number_like(a, b)); }
Var operator/(const Var& a, double b) { return div(a, number_like(a, b)); }

}  // namespace phasor
