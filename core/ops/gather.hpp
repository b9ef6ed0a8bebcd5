// Elements chosen by ids (i32 or i64) along one axis (negative axes count from the end), and their gradients.
//
//   gather         y[.., i, ..] = x[.., ids[.., i, ..], ..]
//                  ids and y have x's rank, and its extents but for the axis
//
//   scatter_add    y = x, then y[.., ids[.., i, ..], ..] += source[.., i, ..] in the order of i
//                  ids has source's shape
//
//   index_select   y[.., i, ..] = x[.., ids[i], ..]
//                  ids [n]; y has extent n at the axis
//
//   one_hot        y[..., j] = 1 where ids[...] = j, else 0
//                  y [..., classes], of any dtype
//
// x and source f32 or f64 (on the GPU bf16 too, whose sums are f32 before they are rounded). Errors: ShapeError (axis
// outside, extents named), DtypeError, ValueError naming the first id outside 0 .. extent-1 and its index.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor gather(const Tensor& x, int axis, const Tensor& ids);
Tensor scatter_add(const Tensor& x, int axis, const Tensor& ids, const Tensor& source);
Tensor index_select(const Tensor& x, int axis, const Tensor& ids);
Tensor one_hot(const Tensor& ids, int64_t classes, Dtype dtype);  // not differentiable: ids have no gradient

// The gradients of x, whose extent at the axis is `extent`: elements of dy that share an id are added in the order of
// ids. That of gather is scatter_add onto zeros.
Tensor gather_backward(int64_t extent, int axis, const Tensor& ids, const Tensor& dy);
Tensor index_select_backward(int64_t extent, int axis, const Tensor& ids, const Tensor& dy);

namespace cuda {
// What the functions above call on the GPU, after their checks. ids may be broadcast; `op` names the caller.
void gather(const char* op, const Tensor& y, const Tensor& x, int axis, const Tensor& ids);
void scatter_add(const char* op, const Tensor& y, int axis, const Tensor& ids, const Tensor& source);  // onto y
Tensor index_select_backward(int64_t extent, int axis, const Tensor& ids, const Tensor& dy);
void one_hot(const Tensor& y, const Tensor& ids);  // into zeros
}  // namespace cuda

namespace reference {
Tensor gather(const Tensor& x, int axis, const Tensor& ids);
Tensor scatter_add(const Tensor& x, int axis, const Tensor& ids, const Tensor& source);
Tensor index_select(const Tensor& x, int axis, const Tensor& ids);
}  // namespace reference

}  // namespace phasor
