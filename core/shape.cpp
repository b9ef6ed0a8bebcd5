// Checks and arithmetic of shapes.
#include "core/shape.hpp"

#include <algorithm>
#include <ostream>

#include "core/error.hpp"

namespace phasor {

Shape::Shape(std::span<const int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  require(extents.size() <= static_cast<size_t>(max_rank), "shape", extents.size(), " axes; at most ", max_rank);
  std::copy(extents.begin(), extents.end(), extents_.begin());
  bool overflow = false;
  for (const int64_t extent : extents) {
    require(extent >= 0, "shape", "negative extent: ", *this);
    overflow = __builtin_mul_overflow(size_, std::max<int64_t>(extent, 1), &size_) || overflow;
  }
  // Extents of 0 count as 1 here: the strides of an empty shape must fit too.
  require(!overflow, "shape", "more elements than 63 bits can count: ", *this);
  if (std::find(extents.begin(), extents.end(), 0) != extents.end()) size_ = 0;
}

Shape Shape::with(int axis, int64_t extent) const {
  axis = normalized_axis("shape", axis, rank_);
  std::array<int64_t, max_rank> extents = extents_;
  extents[axis] = extent;
  return Shape(std::span<const int64_t>(extents.data(), rank_));
}

Shape Shape::without(int axis) const {
  axis = normalized_axis("shape", axis, rank_);
  std::array<int64_t, max_rank> extents{};
  std::copy(begin(), begin() + axis, extents.begin());
  std::copy(begin() + axis + 1, end(), extents.begin() + axis);
  return Shape(std::span<const int64_t>(extents.data(), rank_ - 1));
}

Shape Shape::insert(int axis, int64_t extent) const {
  require(rank_ < max_rank, "shape", "cannot add an axis to ", *this, "; at most ", max_rank, " axes");
  axis = normalized_axis("shape", axis, rank_ + 1);
  std::array<int64_t, max_rank> extents{};
  std::copy(begin(), begin() + axis, extents.begin());
  extents[axis] = extent;
  std::copy(begin() + axis, end(), extents.begin() + axis + 1);
  return Shape(std::span<const int64_t>(extents.data(), rank_ + 1));
}

bool operator==(const Shape& a, const Shape& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (int axis = 0; axis < shape.rank(); ++axis) out << (axis ? ", " : "") << shape[axis];
  return out << ']';
}

int normalized_axis(const char* op, int axis, int rank) {
  require(axis >= -rank && axis < rank, op, "axis ", axis, " is outside a tensor of rank ", rank, "; valid: ", -rank,
          " .. ", rank - 1);
  return axis < 0 ? axis + rank : axis;
}

Strides contiguous_strides(const Shape& shape) {
  Strides strides{};
  int64_t step = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[axis] = step;
    step *= std::max<int64_t>(shape[axis], 1);
  }
  return strides;
}

Shape broadcast_shape(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::array<int64_t, max_rank> extents{};
  for (int axis = 0; axis < rank; ++axis) {
    const int axis_a = axis - (rank - a.rank()), axis_b = axis - (rank - b.rank());
    const int64_t from_a = axis_a < 0 ? 1 : a[axis_a], from_b = axis_b < 0 ? 1 : b[axis_b];
    require(from_a == from_b || from_a == 1 || from_b == 1, op, "cannot broadcast ", a, " with ", b, ": axis ", axis,
            " is ", from_a, " and ", from_b, ", neither is 1");
    extents[axis] = from_a == 1 ? from_b : from_a;
  }
  return Shape(std::span<const int64_t>(extents.data(), rank));
}

}  // namespace phasor
