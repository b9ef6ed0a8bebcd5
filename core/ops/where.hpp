// Choice by a condition: y = condition ? a : b, element by element; all three broadcast (numpy's rule).
//   condition   boolean      a, b   one dtype, any      a number (rank 0) of the CPU goes with tensors of the GPU
// What is not chosen leaves no trace: a NaN there reaches neither the value nor the gradient.
// Errors: ShapeError, DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);

namespace cuda {
// What the function above calls on the GPU, after its checks. Operands have the shape of y; one on the CPU is a number.
void where(const Tensor& y, const Tensor& condition, const Tensor& a, const Tensor& b);
}  // namespace cuda

namespace reference {
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
}

}  // namespace phasor
