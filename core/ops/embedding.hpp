// Rows of a table: y[..., :] = table[ids[...], :].
//   table [rows, width] f32 or f64 (on the GPU bf16 too)   ids any shape (rank below 6), i32 or i64
// Errors: ShapeError, DtypeError, ValueError naming the first id outside 0 .. rows-1 and its index.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor embedding(const Tensor& table, const Tensor& ids);
// The gradient of the table, [rows, width]: rows of dy that share an id are added in the order of ids.
Tensor embedding_backward(int64_t rows, const Tensor& ids, const Tensor& dy);

namespace reference {
Tensor embedding(const Tensor& table, const Tensor& ids);
}

}  // namespace phasor
