// Gradients of biases from the gradients of scores that a warp holds: 32 queries by 8 columns keys, of which a lane has
// rows 8 half + group and columns 8 n + 2 pair + c (attention_tensor.cuh).
//
// By distance: a block sums in shared memory, a ring of the latest distances for each warp. As it walks to later keys,
// distances shrink; those that no later tile has go to a row of sums in global memory that is the block's own. So every
// number is added in an order that follows from the extents.
#pragma once

#include "core/tensor.hpp"
#include "cuda/ops/attention_problem.cuh"
#include "cuda/ops/attention_tensor.cuh"

namespace phasor::cuda::attention_tensor {

constexpr int ring_size = 256;     // at least the distances of two neighbouring tiles
constexpr int diagonals = 7;       // of 8 x 8 blocks, in 32 x 32 scores; these are the most
constexpr int diagonal_step = 72;  // 64 sums of a diagonal; the 8 let 4 diagonals lie in different banks
constexpr int distance_room = ring_size + diagonals * diagonal_step;  // floats of a warp

// Where the gradients of biases go; null data: not wanted.
struct BiasGradients {
  float* by_distance;  // [batch, heads, slots, k_length], zeros
  void* by_position;   // [batch, heads, q_length, k_length], zeros
  bool position_is_f32;

  // Where those of a line, batch heads + head, begin.
  __device__ void* position_rows(int64_t line, const Plan& plan) const {
    const int64_t start = line * plan.q_length * plan.k_length;
    if (!by_position) return nullptr;
    return position_is_f32 ? static_cast<void*>(static_cast<float*>(by_position) + start)
                           : static_cast<void*>(static_cast<bf16*>(by_position) + start);
  }
};

// Adds gradients of scores to the sums of their distances in the warp's ring; `corner` is the distance of the first row
// and column. Every lane first adds up what it holds of a diagonal of 8 x 8 blocks, then collects the parts of one or
// two distances.
template <int columns>
__device__ inline void add_by_distance(const float (&ds)[2][columns][4], int corner, float* ring) {
  constexpr int last_diagonal = columns + 2;  // the first, 0, is that of half 0 and the last column
  static_assert(last_diagonal < diagonals);
  float* const parts = ring + ring_size;
  const int lane = lane_of_warp(), slot = lane % 4 * 8 + lane / 4;
#pragma unroll
  for (int diagonal = 0; diagonal <= last_diagonal; ++diagonal)
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      float sum = 0;
#pragma unroll
      for (int half = 0; half < 4; ++half) {
        const int n = half + columns - 1 - diagonal;
        if (n >= 0 && n < columns) sum += ds[half / 2][n][half % 2 * 2 + c];
      }
      parts[diagonal * diagonal_step + 32 * c + slot] = sum;
    }
  __syncwarp();
#pragma unroll 1
  for (int turn = 0; turn < 2; ++turn) {
    const int distance = lane + 1 - 8 * columns + 32 * turn;  // of row and column, inside
    float sum = 0;
#pragma unroll
    for (int pair = 0; pair < 4; ++pair)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        // distance = 8 (diagonal - columns + 1) + group - 2 pair - c
        const int shifted = distance + 8 * (columns - 1) + 2 * pair + c, diagonal = shifted >> 3;
        if (diagonal >= 0 && diagonal <= last_diagonal)
          sum += parts[diagonal * diagonal_step + 32 * c + 8 * pair + (shifted & 7)];
      }
    if (distance < 32) ring[(corner + distance) & (ring_size - 1)] += sum;
  }
  __syncwarp();
}

// Moves what the rings of all warps have of a distance to the block's row of sums.
template <int warps>
__device__ inline void flush_distance(int distance, float* rings, float* to, int k_length) {
  float sum = 0;
#pragma unroll
  for (int w = 0; w < warps; ++w) {
    float& part = rings[w * distance_room + (distance & (ring_size - 1))];
    sum += part;
    part = 0;
  }
  if (distance >= 0 && distance < k_length) to[distance] += sum;
}

template <int columns, class T>
__device__ inline void store_by_position(const float (&ds)[2][columns][4], const Plan& plan, T* to, int first_query,
                                         int first_key) {
  const int lane = lane_of_warp();
#pragma unroll
  for (int half = 0; half < 4; ++half) {
    const int query = first_query + 8 * half + lane / 4, key = first_key + lane % 4 * 2;
    T* const row = to + static_cast<int64_t>(query) * plan.k_length + key;
#pragma unroll
    for (int n = 0; n < columns; ++n) {
      if (query >= plan.q_length || key + 8 * n >= plan.k_length) continue;
      const float low = ds[half / 2][n][half % 2 * 2], high = ds[half / 2][n][half % 2 * 2 + 1];
      if (sizeof(T) == 2 && plan.k_length % 2 == 0) {
        *reinterpret_cast<uint32_t*>(row + 8 * n) = pack_bf16(low, high);
      } else {
        row[8 * n] = static_cast<T>(low);
        if (key + 8 * n + 1 < plan.k_length) row[8 * n + 1] = static_cast<T>(high);
      }
    }
  }
}

namespace {

constexpr int distance_threads = 256;

// y [rows of sums, max_distance]: the sums of `lines` of x [rows of sums, lines, k_length] in order; in batches of
// `batch_lines` lines that lie batch_step apart.
template <class T>
__global__ void __launch_bounds__(distance_threads)
    distance_sum_kernel(int k_length, int batches, int64_t batch_step, int lines, const float* x, int64_t y_step,
                        T* y) {
  const int distance = static_cast<int>(blockIdx.x) * distance_threads + static_cast<int>(threadIdx.x);
  if (distance >= k_length) return;
  const int64_t row = blockIdx.y;
  float sum = 0;
  for (int batch = 0; batch < batches; ++batch) {
    const float* const own = x + batch * batch_step + row * lines * k_length + distance;
#pragma unroll 8
    for (int line = 0; line < lines; ++line) sum += own[static_cast<int64_t>(line) * k_length];
  }
  y[row * y_step + distance] = static_cast<T>(sum);
}

void sum_distances(const AttentionProblem& p, int64_t slots, const Tensor& sums) {
  // [batch, heads, slots, k_length]; a bias of one row takes all heads as slots.
  const bool is_shared = p.dby_distance_head_step == 0;
  const int64_t rows = is_shared ? 1 : p.heads, lines = is_shared ? p.heads * slots : slots;
  const auto sum = [&]<class T>() {
    launch("attention_backward", distance_sum_kernel<T>, Grid{pieces(p.k_length, distance_threads), rows},
           distance_threads, 0, p.k_length, p.batches, p.heads * slots * p.k_length, lines, sums.data<float>(),
           p.dby_distance_head_step, static_cast<T*>(p.dby_distance));
  };
  if (p.by_distance.dtype == Dtype::f32)
    sum.template operator()<float>();
  else
    sum.template operator()<bf16>();
}

}  // namespace

}  // namespace phasor::cuda::attention_tensor
