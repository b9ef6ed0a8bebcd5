// What the planted kernels share.
#pragma once

#include "cuda/launch.cuh"
#include "tests/cuda/faults.hpp"

namespace phasor::planted {
namespace {

using cuda::all_lanes;
using cuda::Grid;

__device__ inline int thread() { return static_cast<int>(threadIdx.x); }
__device__ inline int lane() { return thread() % 32; }
__device__ inline int at() { return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }

template <auto right, auto wrong>
void run(Version version, int* y, const int* x) {
  cuda::launch("planted", version == Version::right ? right : wrong, Grid{blocks}, threads, 3 * threads * sizeof(int),
               y, x);
}

inline int same(const int* x, int i) { return x[i]; }
inline int of_neighbour(const int* x, int i) { return x[i ^ 1]; }

}  // namespace
}  // namespace phasor::planted
