// The turn of one component, as rotary and attention do it: the same bits in both.
#pragma once

#include <cmath>

#include "cuda/launch.cuh"

namespace phasor::cuda {

// y0 = x0 c - x1 s,   y1 = x1 c + x0 s. Fused multiply-adds are asked for, not left to each kernel's compiling.
template <class A>
__device__ inline void turn_component(A& x0, A& x1, A c, A s) {
  const A first = x0;
  x0 = std::fma(first, c, -(x1 * s));
  x1 = std::fma(x1, c, first * s);
}

}  // namespace phasor::cuda
