// Choice by a condition: y = condition ? a : b, element by element; all three broadcast (numpy's rule).
//   condition   boolean      a, b   one dtype, any
// What is not chosen leaves no trace: a NaN there reaches neither the value nor the gradient.
// Errors: ShapeError, DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);

namespace reference {
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
}

}  // namespace phasor
