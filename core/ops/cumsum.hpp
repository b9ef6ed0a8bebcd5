// Running sums along one axis of f32 or f64 (on the GPU bf16 too): y[i] = x[0] + ... + x[i]. Negative axes count from
// the end. Added in order, f32 in double; on the GPU part by part, for the same bits of f32 but for a last digit here
// and there. Errors: ShapeError (rank 0, axis outside), DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor cumsum(const Tensor& x, int axis);
Tensor cumsum_backward(const Tensor& dy, int axis);  // dx[i] = dy[i] + ... + dy[last]

namespace cuda {
// What the functions above call on the GPU, after their checks; the axis counts from the front.
Tensor cumsum(const Tensor& x, int axis);
Tensor cumsum_backward(const Tensor& dy, int axis);
}  // namespace cuda

namespace reference {
Tensor cumsum(const Tensor& x, int axis);
}

}  // namespace phasor
