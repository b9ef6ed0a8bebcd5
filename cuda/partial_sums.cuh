// Sums over many rows that several blocks share: each writes a partial result of its own, and these are added in their
// order.
#pragma once

#include "core/tensor.hpp"
#include "cuda/launch.cuh"

namespace phasor::cuda {
namespace {

constexpr int add_parts_threads = 256;

template <class Y, class A>
__global__ void __launch_bounds__(add_parts_threads)
    add_parts_kernel(Y* y, const A* from, int64_t parts, int64_t size) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * add_parts_threads + threadIdx.x;
  if (i >= size) return;
  A sum = 0;
#pragma unroll 8
  for (int64_t part = 0; part < parts; ++part) sum += from[part * size + i];
  y[i] = static_cast<Y>(sum);
}

// y = the sum of parts [n, y.size()], one after the other. Y and A are the types of y and of the parts.
template <class Y, class A>
void add_parts(const char* op, const Tensor& y, const Tensor& parts) {
  launch(op, add_parts_kernel<Y, A>, Grid{pieces(y.size(), add_parts_threads)}, add_parts_threads, 0, y.data<Y>(),
         static_cast<const A*>(parts.data<A>()), parts.extent(0), y.size());
}

}  // namespace
}  // namespace phasor::cuda
