// Running sums, in double for f32 and bf16. Lines without gaps are scanned by a team of threads, tile by tile; a line
// with gaps has one thread, and its neighbours lie side by side.
#include "core/ops/cumsum.hpp"

#include "core/dispatch.hpp"
#include "cuda/rows.cuh"

namespace phasor::cuda {
namespace {

constexpr int threads = 256;
constexpr int run = 4;  // neighbours that a thread adds up

// The sums of all lanes up to this one.
__device__ double warp_running_sum(double value, int lane) {
#pragma unroll
  for (int distance = 1; distance < warp; distance *= 2) {
    const double before = __shfl_up_sync(all_lanes, value, distance);
    if (lane >= distance) value += before;
  }
  return value;
}

// `step` is 1, or -1 for sums from the end: x and y then begin at the last number.
template <int team, class T>
__global__ void __launch_bounds__(threads)
    scan_kernel(Places<2> lines, int64_t length, int step, T* __restrict__ y, const T* __restrict__ x) {
  constexpr int warps = team / warp;
  __shared__ double totals[warps];
  const int64_t number = static_cast<int64_t>(blockIdx.x) * (threads / team) + threadIdx.y;
  if (number >= lines.size) return;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp;
  int64_t at[2];
  lines.at(number, at);
  double carry = 0;  // of the tiles before
  for (int64_t tile = 0; tile < length; tile += team * run) {
    double sums[run];
#pragma unroll
    for (int k = 0; k < run; ++k) {
      const int64_t i = tile + thread * run + k;
      const double value = i < length ? static_cast<double>(x[at[1] + i * step]) : 0;
      sums[k] = k == 0 ? value : sums[k - 1] + value;
    }
    const double up_to_here = warp_running_sum(sums[run - 1], lane);
    double before = __shfl_up_sync(all_lanes, up_to_here, 1);
    if (lane == 0) before = 0;
    double total = __shfl_sync(all_lanes, up_to_here, warp - 1);
    if constexpr (warps > 1) {
      __syncthreads();  // all have read those of the last tile
      if (lane == 0) totals[thread / warp] = total;
      __syncthreads();
      double of_warps_before = 0;
      total = 0;
#pragma unroll
      for (int w = 0; w < warps; ++w) {
        if (w == thread / warp) of_warps_before = total;
        total += totals[w];
      }
      before += of_warps_before;
    }
#pragma unroll
    for (int k = 0; k < run; ++k) {
      const int64_t i = tile + thread * run + k;
      if (i < length) y[at[0] + i * step] = static_cast<T>(carry + (before + sums[k]));
    }
    carry += total;
  }
}

template <class T>
__global__ void __launch_bounds__(threads) lines_kernel(Places<2> lines, int64_t length, int64_t y_step, int64_t x_step,
                                                        T* __restrict__ y, const T* __restrict__ x) {
  const int64_t number = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (number >= lines.size) return;
  int64_t at[2];
  lines.at(number, at);
  double total = 0;
#pragma unroll 8
  for (int64_t i = 0; i < length; ++i) {
    total += static_cast<double>(x[at[1] + i * x_step]);
    y[at[0] + i * y_step] = static_cast<T>(total);
  }
}

Tensor add_up(const char* op, const Tensor& x, int axis, int direction) {
  const Tensor y = Tensor::empty_like(x);
  if (y.size() == 0) return y;
  const int64_t length = x.extent(axis), start = direction > 0 ? 0 : length - 1;
  const Tensor y_start = y.select(axis, start), x_start = x.select(axis, start);
  const Places<2> lines = places_of<2>(y_start.shape(), {y_start.strides(), x_start.strides()});
  with_any_float(op, x.dtype(), [&]<class T>() {
    T* const to = y_start.data<T>();
    const T* const from = x_start.data<T>();
    const auto scan = [&]<int team>() {
      launch(op, scan_kernel<team, T>, Grid{pieces(lines.size, threads / team)}, Block(team, threads / team), 0, lines,
             length, direction, to, from);
    };
    if (x.stride(axis) != 1 || y.stride(axis) != 1)
      launch(op, lines_kernel<T>, Grid{pieces(lines.size, threads)}, threads, 0, lines, length,
             direction * y.stride(axis), direction * x.stride(axis), to, from);
    else if (length <= 4 * warp * run)
      scan.template operator()<warp>();
    else
      scan.template operator()<threads>();
  });
  return y;
}

}  // namespace

Tensor cumsum(const Tensor& x, int axis) { return add_up("cumsum", x, axis, 1); }
Tensor cumsum_backward(const Tensor& dy, int axis) { return add_up("cumsum_backward", dy, axis, -1); }

}  // namespace phasor::cuda
