// What ops along one axis share: the check of the axis, and the tiles of lines that lie side by side.
#pragma once

#include <algorithm>

#include "core/arguments.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/shape.hpp"

namespace phasor {

// ShapeError naming the axis, the argument and its whole shape where the axis is outside. The error keeps the caller's
// line.
inline int checked_axis(At op, const char* argument, const Tensor& x, int axis) {
  require_defined(op, argument, x);
  const Shape& shape = x.shape();
  const int rank = shape.rank();
  require(rank >= 1, op, argument, " is a scalar, shape ", shape, ", and has no axis ", axis, "; needs rank 1 or more");
  require(axis >= -rank && axis < rank, op, "axis ", axis, " is outside ", argument, ", which is ", shape,
          "; valid: ", -rank, " .. ", rank - 1);
  return axis < 0 ? axis + rank : axis;
}

// How many lines of T along an axis make a tile where they lie side by side. Memory is read fastest in runs of 4 KB;
// but several tiles must be left for the threads, down to 512 bytes each, and a tile must be worth a task.
constexpr int64_t widest_bundle = 1024;  // lines that a kernel takes at once
template <class T>
int64_t lines_per_tile(int64_t lines, int64_t length, int64_t work) {
  const int64_t bytes = sizeof(T), wide = std::clamp<int64_t>(lines / 8, 512 / bytes, 4096 / bytes);
  return std::max(wide, grain_for(work) / std::max<int64_t>(length, 1));
}

}  // namespace phasor
