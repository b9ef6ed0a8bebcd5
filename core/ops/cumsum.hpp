// Running sums along one axis of f32 or f64: y[i] = x[0] + ... + x[i]. Negative axes count from the end.
// Added in order, f32 in double. Errors: ShapeError (rank 0, axis outside), DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor cumsum(const Tensor& x, int axis);
Tensor cumsum_backward(const Tensor& dy, int axis);  // dx[i] = dy[i] + ... + dy[last]

namespace reference {
Tensor cumsum(const Tensor& x, int axis);
}

}  // namespace phasor
