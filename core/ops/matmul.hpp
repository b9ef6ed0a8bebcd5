// Matrix products.
//   a [..., m, k]   b [..., k, n]   result [..., m, n]; the leading axes broadcast
// f32 or f64, on the GPU bf16 too (sums in f32). A transposed operand is read where it lies: any operand one of whose
// last two strides is 1 is not copied beforehand. What tiles read of it is packed on the way; from 1536 rows of a on,
// all of b is, once. Errors: ShapeError (rank below 2, inner extents, leading axes), DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor matmul(const Tensor& a, const Tensor& b);

// a b + addend, on the CPU to the bit as the product and then the sum, but without a pass over the result. For callers
// that have checked their arguments: a and b as above, addend of their dtype (or f32 beside bf16) and [n] or the shape
// of the result.
Tensor matmul_plus(const Tensor& a, const Tensor& b, const Tensor& addend);

namespace cuda {
// What the functions above call on the GPU, after their checks: y = a b + addend. y is row-major, nothing is empty.
void matmul(const Tensor& y, const Tensor& a, const Tensor& b, const Tensor& addend);
}  // namespace cuda

namespace reference {
Tensor matmul(const Tensor& a, const Tensor& b);
}

}  // namespace phasor
