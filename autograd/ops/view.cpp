// Derivatives of the views and of the cast. A view only moves numbers, so its gradient moves them back:
//   reshape, transpose   the inverse view of dy
//   slice                dy in its place, zeros around it
//   broadcast_to         dy summed over the stretched axes, which record() does
//   cast                 dy cast back
#include "autograd/ops.hpp"

namespace phasor {

Var reshape(const Var& x, const Shape& shape) {
  return record("reshape", x.value().reshape(shape), {x},
                [shape = x.shape()](const Tensor& dy, Wanted) { return std::vector{dy.reshape(shape)}; });
}

Var transpose(const Var& x, int axis_a, int axis_b) {
  return record("transpose", x.value().transpose(axis_a, axis_b), {x},
                [axis_a, axis_b](const Tensor& dy, Wanted) { return std::vector{dy.transpose(axis_a, axis_b)}; });
}

Var slice(const Var& x, int axis, int64_t start, int64_t stop) {
  return record("slice", x.value().slice(axis, start, stop), {x},
                [shape = x.shape(), axis, start, stop](const Tensor& dy, Wanted) {
                  const Tensor dx = Tensor::zeros(shape, dy.dtype(), dy.device());
                  copy_into(dx.slice(axis, start, stop), dy);
                  return std::vector{dx};
                });
}

Var broadcast_to(const Var& x, const Shape& shape) {
  return record("broadcast_to", x.value().broadcast_to(shape), {x},
                [](const Tensor& dy, Wanted) { return std::vector{dy}; });
}

Var cast(const Var& x, Dtype dtype) {
  require<DtypeError>(is_float(x.dtype()) && is_float(dtype), "cast", "x is ", x.dtype(), ", the dtype asked for is ",
                      dtype, "; needs f32 or f64 for both");
  return record("cast", x.value().to(dtype), {x},
                [from = x.dtype()](const Tensor& dy, Wanted) { return std::vector{dy.to(from)}; });
}

}  // namespace phasor
