// Elements of tensors with any strides, by a flat index: the device side of core/loops.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <bit>

#include "core/loops.hpp"
#include "cuda/launch.cuh"

namespace phasor::cuda {

// n / extent for n < 2^31 as a product and a shift (Granlund and Montgomery, PLDI 1994): a GPU has no instruction that
// divides integers.
struct Divisor {
  uint32_t multiplier = 1, shift = 0;

  Divisor() = default;
  explicit Divisor(uint32_t extent) : shift(static_cast<uint32_t>(std::bit_width(extent - 1))) {
    const uint64_t rest = (uint64_t{1} << shift) - extent;
    multiplier = static_cast<uint32_t>((rest << 32) / extent + 1);
  }
  __host__ __device__ uint32_t quotient(uint32_t n) const {
    const uint32_t high = static_cast<uint32_t>(uint64_t{n} * multiplier >> 32);
    return (high + n) >> shift;
  }
};

// Where element number i lies in each of N tensors of one shape. Made on the host from a StridedLoop, which has ordered
// the axes by the first tensor's strides and merged those that it could; passed to kernels by value.
template <int N>
struct Places {
  int rank = 0;  // axes that are left, outermost first
  int64_t extents[max_rank] = {};
  int64_t steps[max_rank][N] = {};
  int64_t size = 1;
  // Below 2^31 elements, within 2^31 of the first, as nearly always: numbers of 32 bits do, and no division.
  bool is_small = false;
  Divisor divisors[max_rank];

  // To be called after changes of extents or steps.
  void prepare() {
    size = 1;
    int64_t reach[N] = {};
    for (int axis = 0; axis < rank; ++axis) {
      size *= extents[axis];
      for (int n = 0; n < N; ++n) reach[n] += std::max<int64_t>(extents[axis] - 1, 0) * std::abs(steps[axis][n]);
    }
    constexpr int64_t bound = int64_t{1} << 31;
    is_small = size < bound;
    for (int n = 0; n < N; ++n) is_small = is_small && reach[n] < bound;
    if (!is_small || size == 0) return;
    for (int axis = 0; axis < rank; ++axis) divisors[axis] = Divisor(static_cast<uint32_t>(extents[axis]));
  }

  // Only where is_small.
  __host__ __device__ void at(uint32_t i, int32_t (&place)[N]) const {
    for (int n = 0; n < N; ++n) place[n] = 0;
    for (int axis = rank - 1; axis > 0; --axis) {
      const uint32_t rest = divisors[axis].quotient(i);
      const int32_t index = static_cast<int32_t>(i - rest * static_cast<uint32_t>(extents[axis]));
      i = rest;
      for (int n = 0; n < N; ++n) place[n] += index * static_cast<int32_t>(steps[axis][n]);
    }
    for (int n = 0; n < N; ++n) place[n] += static_cast<int32_t>(i) * static_cast<int32_t>(steps[0][n]);
  }

  __host__ __device__ void at(int64_t i, int64_t (&place)[N]) const {
    if (is_small) {
      int32_t near[N];
      at(static_cast<uint32_t>(i), near);
      for (int n = 0; n < N; ++n) place[n] = near[n];
      return;
    }
    for (int n = 0; n < N; ++n) place[n] = 0;
    for (int axis = rank - 1; axis >= 0; --axis) {
      const int64_t rest = i / extents[axis], index = i - rest * extents[axis];
      i = rest;
      for (int n = 0; n < N; ++n) place[n] += index * steps[axis][n];
    }
  }

  // Two halves, of which the second begins `from` elements further in each tensor: until the places are small.
  struct Halves;
  Halves halves() const;
};

template <int N>
struct Places<N>::Halves {
  Places<N> first, second;
  int64_t from[N];
};

template <int N>
typename Places<N>::Halves Places<N>::halves() const {
  // The axis that reaches furthest.
  int axis = 0;
  int64_t furthest = 0;
  for (int candidate = 0; candidate < rank; ++candidate) {
    int64_t step = 1;
    for (int n = 0; n < N; ++n) step = std::max<int64_t>(step, std::abs(steps[candidate][n]));
    if (extents[candidate] < 2 || (extents[candidate] - 1) * step < furthest) continue;
    furthest = (extents[candidate] - 1) * step;
    axis = candidate;
  }
  Halves h{*this, *this, {}};
  h.first.extents[axis] = extents[axis] / 2;
  h.second.extents[axis] -= h.first.extents[axis];
  for (int n = 0; n < N; ++n) h.from[n] = h.first.extents[axis] * steps[axis][n];
  h.first.prepare();
  h.second.prepare();
  return h;
}

template <int N>
Places<N> places_of(const Shape& shape, const std::array<Strides, N>& strides) {
  const StridedLoop<N> loop(shape, strides);
  Places<N> p;
  p.rank = loop.rank();
  for (int axis = 0; axis < p.rank; ++axis) {
    p.extents[axis] = loop.extent(axis);
    for (int n = 0; n < N; ++n) p.steps[axis][n] = loop.step_along(axis, n);
  }
  p.prepare();
  return p;
}

}  // namespace phasor::cuda
