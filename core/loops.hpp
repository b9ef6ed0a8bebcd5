// StridedLoop: the one way to walk several tensors of one shape with different strides.
//
//   StridedLoop<2> loop(y.shape(), {y.strides(), x.strides()});
//   loop.run(grain, [&](const std::array<int64_t, 2>& at, int64_t count) { ... });
//   // at: where the run begins in each tensor; loop.step(i): how far apart its elements are in tensor i
//
// Axes are ordered by the first operand's strides and merged where every operand allows it, so that the innermost row
// is as long as it can be. A stride of 0 is a broadcast.
#pragma once

#include <array>

#include "core/parallel.hpp"
#include "core/shape.hpp"

namespace phasor {

template <int N>
class StridedLoop {
 public:
  StridedLoop(const Shape& shape, const std::array<Strides, N>& strides);

  int64_t step(int operand) const { return inner_step_[operand]; }
  int64_t row() const { return row_; }    // length of an innermost row
  int64_t rows() const { return rows_; }  // number of rows

  // The axes that are left, outermost first; the last is the row.
  int rank() const { return outer_rank_ + 1; }
  int64_t extent(int axis) const { return axis < outer_rank_ ? outer_extent_[axis] : row_; }
  int64_t step_along(int axis, int operand) const {
    return axis < outer_rank_ ? outer_step_[axis][operand] : inner_step_[operand];
  }

  // Offsets of a row.
  std::array<int64_t, N> offsets(int64_t row) const;

  // body(offsets, count) over all elements, in parallel, in pieces of at most `grain` elements of a row.
  template <class Body>
  void run(int64_t grain, Body&& body) const {
    if (rows_ * row_ == 0) return;
    if (row_ >= grain) {  // long rows: cut each one
      const int64_t pieces = (row_ + grain - 1) / grain;
      parallel_for(rows_ * pieces, 1, [&](int64_t begin, int64_t end) {
        for (int64_t piece = begin; piece < end; ++piece) {
          const int64_t start = piece % pieces * grain;
          std::array<int64_t, N> at = offsets(piece / pieces);
          for (int n = 0; n < N; ++n) at[n] += start * inner_step_[n];
          body(at, std::min(grain, row_ - start));
        }
      });
    } else {  // short rows: several to a tile
      parallel_for(rows_, grain / row_, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) body(offsets(r), row_);
      });
    }
  }

 private:
  int outer_rank_ = 0;
  std::array<int64_t, max_rank> outer_extent_{};
  std::array<std::array<int64_t, N>, max_rank> outer_step_{};
  std::array<int64_t, N> inner_step_{};
  int64_t row_ = 1, rows_ = 1;
};

template <int N>
StridedLoop<N>::StridedLoop(const Shape& shape, const std::array<Strides, N>& strides) {
  struct Axis {
    int64_t extent;
    std::array<int64_t, N> step;
  };
  std::array<Axis, max_rank> axes;
  int count = 0;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] == 1) continue;
    axes[count].extent = shape[axis];
    for (int n = 0; n < N; ++n) axes[count].step[n] = strides[n][axis];
    ++count;
  }
  std::stable_sort(axes.begin(), axes.begin() + count,
                   [](const Axis& a, const Axis& b) { return a.step[0] > b.step[0]; });
  // Merge an axis into the one before it where stepping over the whole axis is one step of the other, for every
  // operand.
  int kept = 0;
  for (int axis = 0; axis < count; ++axis) {
    bool merges = kept > 0;
    for (int n = 0; merges && n < N; ++n) merges = axes[kept - 1].step[n] == axes[axis].step[n] * axes[axis].extent;
    if (merges)
      axes[kept - 1] = {axes[kept - 1].extent * axes[axis].extent, axes[axis].step};
    else
      axes[kept++] = axes[axis];
  }
  if (kept > 0) {
    row_ = axes[kept - 1].extent;
    inner_step_ = axes[kept - 1].step;
    outer_rank_ = kept - 1;
  }
  for (int axis = 0; axis < outer_rank_; ++axis) {
    outer_extent_[axis] = axes[axis].extent;
    outer_step_[axis] = axes[axis].step;
    rows_ *= axes[axis].extent;
  }
}

template <int N>
std::array<int64_t, N> StridedLoop<N>::offsets(int64_t row) const {
  std::array<int64_t, N> at{};
  for (int axis = outer_rank_ - 1; axis >= 0; --axis) {
    const int64_t index = row % outer_extent_[axis];
    row /= outer_extent_[axis];
    for (int n = 0; n < N; ++n) at[n] += index * outer_step_[axis][n];
  }
  return at;
}

}  // namespace phasor
