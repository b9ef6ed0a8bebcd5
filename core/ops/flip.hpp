// The elements along one axis in reverse order, as a copy. Any dtype. Negative axes count from the end.
// Errors: ShapeError (axis outside).
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor flip(const Tensor& x, int axis);

namespace cuda {
Tensor flip(const Tensor& x, int axis);  // what the function above calls on the GPU, after its checks
}

}  // namespace phasor
