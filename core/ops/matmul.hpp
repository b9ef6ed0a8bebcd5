// Matrix products.
//   a [..., m, k]   b [..., k, n]   result [..., m, n]; the leading axes broadcast
// f32 or f64. A transposed operand is read where it lies: any operand one of whose last two strides is 1 costs no copy.
// Errors: ShapeError (rank below 2, inner extents, leading axes), DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor matmul(const Tensor& a, const Tensor& b);

// a b + row: each row of the product starts from `row` [n], which costs no pass over the result. For linear(), which
// checks its arguments: a and b as above, row of their dtype.
Tensor matmul_onto_row(const Tensor& a, const Tensor& b, const Tensor& row);

namespace reference {
Tensor matmul(const Tensor& a, const Tensor& b);
}

}  // namespace phasor
