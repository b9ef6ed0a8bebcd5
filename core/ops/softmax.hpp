// Softmax along one axis (negative axes count from the end), of f32 or f64 (on the GPU bf16 too, computed in f32):
//   softmax      y = e^(x - max) / sum e^(x - max)
//   log_softmax  y = x - max - log(sum e^(x - max)), finite where softmax would round to 0
// A line that is -inf throughout, or holds a +inf, has no distribution: NaN. The result keeps x's order of axes in
// memory. Errors: ShapeError (rank 0, axis outside, an empty line), DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor softmax(const Tensor& x, int axis = -1);
Tensor softmax_backward(const Tensor& y, const Tensor& dy, int axis = -1);  // dx = y (dy - sum(dy y))
Tensor log_softmax(const Tensor& x, int axis = -1);
Tensor log_softmax_backward(const Tensor& y, const Tensor& dy, int axis = -1);  // dx = dy - e^y sum(dy)

namespace cuda {
// What the functions above call on the GPU, after their checks; the axis counts from the front.
Tensor softmax(const Tensor& x, int axis);
Tensor softmax_backward(const Tensor& y, const Tensor& dy, int axis);
Tensor log_softmax(const Tensor& x, int axis);
Tensor log_softmax_backward(const Tensor& y, const Tensor& dy, int axis);
}  // namespace cuda

namespace reference {
Tensor softmax(const Tensor& x, int axis = -1);
Tensor log_softmax(const Tensor& x, int axis = -1);
}  // namespace reference

}  // namespace phasor
