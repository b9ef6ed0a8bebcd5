// The largest elements of each row (the last axis). Not differentiable: indices have no gradient, and values are
// gather(x, -1, indices) where a gradient is wanted.
//   x                f32 or f64 (on the GPU bf16 too)
//   values, indices  [..., k], indices i64; descending, among equals the lower index first; NaN counts as largest
// Errors: ShapeError (rank 0, k outside 1 .. extent, axis outside, an empty line), DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

struct TopK {
  Tensor values, indices;
};
TopK top_k(const Tensor& x, int64_t k);

// Index (i64) of the first largest element along an axis, which is removed. Negative axes count from the end.
Tensor argmax(const Tensor& x, int axis = -1);

namespace cuda {
// What the functions above call on the GPU, after their checks; the axis counts from the front.
TopK top_k(const Tensor& x, int64_t k);
Tensor argmax(const Tensor& x, int axis);
}  // namespace cuda

namespace reference {
TopK top_k(const Tensor& x, int64_t k);
Tensor argmax(const Tensor& x, int axis = -1);
}  // namespace reference

}  // namespace phasor
