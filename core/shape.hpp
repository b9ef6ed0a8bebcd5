// Shape: the extents of an array, inline and without allocation. Strides: elements to step along each axis.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <span>

namespace phasor {

constexpr int max_rank = 6;

using Strides = std::array<int64_t, max_rank>;  // entries beyond the rank are 0

// Extents of up to max_rank axes. The empty shape is a scalar: rank 0, size 1. Throws ShapeError on a negative extent,
// on more than max_rank axes and when the product of the extents overflows 63 bits.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const int64_t> extents);

  int rank() const { return rank_; }
  int64_t size() const { return size_; }                                                   // product of the extents
  int64_t operator[](int axis) const { return extents_[axis < 0 ? axis + rank_ : axis]; }  // -1 is the last axis
  const int64_t* begin() const { return extents_.data(); }
  const int64_t* end() const { return extents_.data() + rank_; }

  Shape with(int axis, int64_t extent) const;    // the same shape with one extent replaced
  Shape without(int axis) const;                 // the same shape with one axis removed
  Shape insert(int axis, int64_t extent) const;  // a new axis in front of `axis`; -1 puts it last

  friend bool operator==(const Shape& a, const Shape& b);

 private:
  std::array<int64_t, max_rank> extents_{};
  int rank_ = 0;
  int64_t size_ = 1;
};

std::ostream& operator<<(std::ostream& out, const Shape& shape);  // [2, 3]

// Axis counted from the front. Throws ShapeError naming `op` when it is outside -rank .. rank-1.
int normalized_axis(const char* op, int axis, int rank);

// Row-major strides of a block without gaps.
Strides contiguous_strides(const Shape& shape);

// The shape both operands broadcast to (numpy's rule: aligned at the last axis, extent 1 stretches).
// Throws ShapeError naming `op` and the axis that does not fit.
Shape broadcast_shape(const char* op, const Shape& a, const Shape& b);

}  // namespace phasor
