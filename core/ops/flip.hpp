// The elements along one axis in reverse order, as a copy. Any dtype. Negative axes count from the end.
// Errors: ShapeError (axis outside).
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor flip(const Tensor& x, int axis);

}  // namespace phasor
