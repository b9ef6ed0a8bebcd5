// How the last two axes of a tensor lie in memory: what products of matrices read where it is.
#pragma once

#include <algorithm>

#include "core/tensor.hpp"

namespace phasor {

// Whether a step of 1 goes along the last axis (or, transposed, the one before) and the other axis steps over it.
inline bool is_dense(int64_t outer, int64_t outer_step, int64_t inner, int64_t inner_step) {
  return (inner_step == 1 || inner <= 1) && (outer_step >= inner || outer <= 1);
}

inline bool is_row_major(const Tensor& x) { return is_dense(x.extent(-2), x.stride(-2), x.extent(-1), x.stride(-1)); }
inline bool is_column_major(const Tensor& x) {
  return is_dense(x.extent(-1), x.stride(-1), x.extent(-2), x.stride(-2));
}

inline Tensor readable(const Tensor& x) { return is_row_major(x) || is_column_major(x) ? x : x.clone(); }

// From row to row, or from column to column where it is not row-major. The step of an axis of one element says nothing
// and is set to what gemm can read.
inline int64_t leading_step(const Tensor& x) {
  return is_row_major(x) ? std::max({x.stride(-2), x.extent(-1), int64_t{1}})
                         : std::max({x.stride(-1), x.extent(-2), int64_t{1}});
}

}  // namespace phasor
