// Reductions over the threads of a warp and of a block. The order of merging depends on the number of threads alone,
// and every thread gets the same bits.
#pragma once

#include <bit>

#include "cuda/launch.cuh"

namespace phasor::cuda {
namespace {

// The value of lane (own lane XOR lanes); of structs word by word.
template <class S>
__device__ S from_lane_xor(const S& value, int lanes) {
  if constexpr (std::is_arithmetic_v<S>) {
    return __shfl_xor_sync(all_lanes, value, lanes);
  } else {
    struct Words {
      uint32_t words[sizeof(S) / sizeof(uint32_t)];
    };
    Words all = std::bit_cast<Words>(value);
#pragma unroll
    for (uint32_t& word : all.words) word = __shfl_xor_sync(all_lanes, word, lanes);
    return std::bit_cast<S>(all);
  }
}

// Of each group of `lanes` neighbours, a power of 2; the whole warp comes. merge(a, b): a stands to the left of b.
template <class S, class Merge>
__device__ S warp_reduced(S value, int lane, const Merge& merge, int lanes = warp) {
#pragma unroll
  for (int distance = 1; distance < lanes; distance *= 2) {
    const S other = from_lane_xor(value, distance);
    value = lane & distance ? merge(other, value) : merge(value, other);
  }
  return value;
}

// Of all threads of a block of `threads`, a multiple of a warp of which there are 2^n; each of them comes.
template <int threads, class S, class Merge>
__device__ S block_reduced(const S& value, int thread, const Merge& merge) {
  constexpr int warps = threads / warp;
  static_assert(threads % warp == 0 && (warps & (warps - 1)) == 0 && warps <= warp);
  const int lane = thread % warp;
  const S of_warp = warp_reduced(value, lane, merge);
  if constexpr (warps == 1) {
    return of_warp;
  } else {
    __shared__ S of_warps[warps];
    __syncthreads();  // all have read what an earlier reduction left there
    if (lane == 0) of_warps[thread / warp] = of_warp;
    __syncthreads();
    return warp_reduced(of_warps[lane % warps], lane, merge, warps);
  }
}

struct Add {
  template <class A>
  __device__ A operator()(A a, A b) const {
    return a + b;
  }
};

// Some numbers that are added up together.
template <class A, int count>
struct Sums {
  A values[count];
};
struct AddEach {
  template <class A, int count>
  __device__ Sums<A, count> operator()(Sums<A, count> a, const Sums<A, count>& b) const {
#pragma unroll
    for (int k = 0; k < count; ++k) a.values[k] += b.values[k];
    return a;
  }
};

// The largest of some numbers, and the sum of e^(x - largest). A NaN shows in the sum alone, and so does a +inf,
// since inf - inf is NaN. Of numbers that all are -inf the sum is 0.
template <class A>
struct ScaledSum {
  A largest, sum;

  static __device__ ScaledSum nothing() { return {-static_cast<A>(INFINITY), 0}; }

  // e^(x - largest) for what is not above it.
  static __device__ A scaled(A x, A largest) {
    return std::exp(x - (largest == -static_cast<A>(INFINITY) ? 0 : largest));
  }

  template <int count>
  __device__ void add(const A (&x)[count]) {
    A all = largest;
#pragma unroll
    for (int k = 0; k < count; ++k) all = std::fmax(all, x[k]);
    if (all != largest) {
      sum *= scaled(largest, all);
      largest = all;
    }
#pragma unroll
    for (int k = 0; k < count; ++k) sum += scaled(x[k], all);
  }
};
struct MergeScaledSums {
  template <class A>
  __device__ ScaledSum<A> operator()(const ScaledSum<A>& a, const ScaledSum<A>& b) const {
    const A all = std::fmax(a.largest, b.largest);
    // Two equal infinities have no difference, so that the factor of equal ones is written, not computed.
    const A of_a = a.largest == all ? 1 : ScaledSum<A>::scaled(a.largest, all);
    const A of_b = b.largest == all ? 1 : ScaledSum<A>::scaled(b.largest, all);
    return {all, a.sum * of_a + b.sum * of_b};
  }
};

}  // namespace
}  // namespace phasor::cuda
