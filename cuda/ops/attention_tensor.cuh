// The pieces of attention on the tensor cores: tiles of bf16 rows in shared memory, products of them with sums in
// registers, and what biases and hiding do to a tile of scores.
//
// A warp multiplies 16 x 16 by 16 x 8 (PTX: mma.m16n8k16). With group = lane / 4 and pair = lane % 4, a lane holds of a
// product's 16 x 8 sums those of rows group and group + 8, columns 2 pair and 2 pair + 1. Two such products side by
// side, rounded to bf16, are the left operand of the next one as they lie in registers: a pattern or a gradient of
// scores never goes through memory.
#pragma once

#include "core/bf16.hpp"
#include "cuda/instructions.cuh"
#include "cuda/launch.cuh"

namespace phasor::cuda::attention_tensor {

constexpr float log2_e = 1.44269504088896340736f, ln_2 = 0.69314718055994530942f;

__device__ inline float minus_infinity() { return __int_as_float(static_cast<int>(0xff800000u)); }

// [batch, heads, length, width] with its steps in elements; the last one is 1.
template <class T>
struct Rows {
  T* data;
  int64_t batch_step, head_step;
  int row_step;

  __host__ __device__ T* at(int batch, int head, int row) const {
    return data + batch * batch_step + head * head_step + static_cast<int64_t>(row) * row_step;
  }
};

// Cosines and sines [batch, heads, length, components], f32, with steps in elements, 0 where they are broadcast.
struct Tables {
  const float *cos, *sin;
  int64_t batch_step, head_step;
  int row_step;

  // As seen from one head's rows.
  __device__ Tables at(int batch, int head) const {
    const int64_t step = batch * batch_step + head * head_step;
    return {cos + step, sin + step, batch_step, head_step, row_step};
  }
};

// By which turned kernels turn q and k. A parameter of its own: behind the others it costs those without it no
// registers.
struct Rotation {
  Tables q, k;
  int packs;  // of components, as attention_tensor_turn.cuh turns them
  bool is_interleaved;
};

// What the kernels of both directions know. All steps are in elements.
struct Plan {
  int heads, group;  // query heads, and those that share a kv head
  int q_length, k_length;
  int ahead;              // query i stands at key index i + ahead
  int qk_width, v_width;  // multiples of 8; a tile is filled up with zeros
  bool is_causal;
  float scale, scale_2;  // scale_2 = scale log2(e): scores are powers of 2
  const int* segments;   // [batch or 1, k_length], or null
  int64_t segments_batch_step;
  const int2* segment_ranges;  // [batch or 1, ranges]: smallest and largest segment of 64 keys
  // Prepared: f32, times log2(e), with `margin` numbers more on both sides. Null: none.
  const float* by_distance;
  int64_t distance_head_step;
  const void* by_position;                   // f32 or bf16; null: none
  bool position_is_f32, position_has_pairs;  // pairs: two keys at a time, bf16
  int64_t position_batch_step, position_head_step;
  int position_query_step, position_key_step;

  __device__ const int* segments_of(int batch) const {
    return segments ? segments + batch * segments_batch_step : nullptr;
  }
  // Keys that queries before `query` may see, those of its segment or not.
  __device__ int key_limit(int query) const { return is_causal ? min(query + ahead, k_length) : k_length; }
};

constexpr int segment_range_keys = 64;
// How far behind the first and the last distance the scores of hidden keys and of queries that are not there reach.
constexpr int margin = 128;

// Lane numbers that fragments are addressed by.
__device__ inline int lane_of_warp() { return static_cast<int>(threadIdx.x) % warp; }
__device__ inline int warp_of_block() { return static_cast<int>(threadIdx.x) / warp; }

// A tile in shared memory: rows of `width` channels without gaps. The 16 bytes that one row of an 8 x 8 matrix takes
// move to another place in every row, so that the 8 rows of a matrix lie in different banks.
template <int width>
__device__ inline int place(int row, int chunk) {
  constexpr int chunks = width / 8;
  return row * width + 8 * (chunk ^ (chunks >= 8 ? row & 7 : row >> 1 & 3));
}

// Starts the copy of `rows` rows from the `first` of a matrix with `length` rows of `used` channels; the rest becomes
// 0.
template <int width, int rows, int threads>
__device__ inline void copy_tile(bf16* tile, const bf16* from, int row_step, int first, int length, int used) {
  constexpr int chunks = width / 8, rows_at_once = threads / chunks;
  static_assert(rows % rows_at_once == 0 && rows_at_once % 8 == 0);
  const int chunk = static_cast<int>(threadIdx.x) % chunks, row = static_cast<int>(threadIdx.x) / chunks;
  const int left = chunk * 8 < used ? length - first - row : 0;
  bf16* const to = tile + place<width>(row, chunk);
  const bf16* at = from + static_cast<int64_t>(first + row) * row_step + chunk * 8;
#pragma unroll
  for (int i = 0; i < rows; i += rows_at_once) {
    copy_async_16(to + i * width, i < left ? at : from, i < left);
    at += static_cast<int64_t>(rows_at_once) * row_step;
  }
}

// Four 8 x 8 matrices: 16 rows from `tile` (a multiple of 8 rows into a tile) by channels 16 step .. 16 step + 15.
// Every operand is read by the same addresses, which saves registers: rows 0 .. 7, 8 .. 15, then again with the later
// channels.
template <int width>
__device__ inline const bf16* matrices(const bf16* tile, int step) {
  constexpr int chunks = width >= 64 ? 8 : 4;  // that change places with each other
  const int lane = lane_of_warp();
  // = place(lane & 15, 2 step + (lane >> 4)), so that steps 8 chunks apart share an address but for a constant.
  const int own = place<8 * chunks>(lane & 15, lane >> 4) % (8 * chunks) ^ 16 * step % (8 * chunks);
  return tile + (lane & 15) * width + own + 16 * step / (8 * chunks) * (8 * chunks);
}

template <int tiles, int width>
__device__ inline void load_all_left(uint32_t (&a)[tiles][width / 16][4], const bf16* tile) {
#pragma unroll
  for (int m = 0; m < tiles; ++m)
#pragma unroll
    for (int step = 0; step < width / 16; ++step)
      load_matrix_x4(a[m][step], matrices<width>(tile + 16 * m * width, step));
}

template <int tiles, int columns>
__device__ inline void clear(float (&x)[tiles][columns][4]) {
#pragma unroll
  for (int m = 0; m < tiles; ++m)
#pragma unroll
    for (int n = 0; n < columns; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) x[m][n][i] = 0;
}

// y [16 tiles, 8 columns] = the rows of `left` times those of `right`: sums over channels.
template <int tiles, int columns, int width>
__device__ inline void multiply_rows_step(float (&y)[tiles][columns][4], const uint32_t (&a)[tiles][4],
                                          const bf16* right, int step) {
#pragma unroll
  for (int n = 0; n < columns; n += 2) {
    uint32_t b[4];
    load_matrix_x4(b, matrices<width>(right + 8 * n * width, step));
    const uint32_t low[2] = {b[0], b[2]}, high[2] = {b[1], b[3]};
#pragma unroll
    for (int m = 0; m < tiles; ++m) {
      multiply_bf16(y[m][n], a[m], low);
      multiply_bf16(y[m][n + 1], a[m], high);
    }
  }
}

template <int tiles, int columns, int width>
__device__ inline void multiply_rows(float (&y)[tiles][columns][4], const bf16* left, const bf16* right) {
  clear(y);
#pragma unroll
  for (int step = 0; step < width / 16; ++step) {
    uint32_t a[tiles][4];
#pragma unroll
    for (int m = 0; m < tiles; ++m) load_matrix_x4(a[m], matrices<width>(left + 16 * m * width, step));
    multiply_rows_step<tiles, columns, width>(y, a, right, step);
  }
}

// The same with the left operand in registers.
template <int tiles, int columns, int width>
__device__ inline void multiply_rows(float (&y)[tiles][columns][4], const uint32_t (&left)[tiles][width / 16][4],
                                     const bf16* right) {
  clear(y);
#pragma unroll
  for (int step = 0; step < width / 16; ++step) {
    uint32_t a[tiles][4];
#pragma unroll
    for (int m = 0; m < tiles; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) a[m][i] = left[m][step][i];
    multiply_rows_step<tiles, columns, width>(y, a, right, step);
  }
}

// y [16 tiles, width] += w [16 tiles, 8 columns] times 8 columns rows of `right`: sums over rows.
template <int tiles, int columns, int width>
__device__ inline void add_weighted_rows(float (&y)[tiles][width / 8][4], const uint32_t (&w)[tiles][columns / 2][4],
                                         const bf16* right) {
#pragma unroll
  for (int step = 0; step < columns / 2; ++step)
#pragma unroll
    for (int n = 0; n < width / 8; n += 2) {
      uint32_t b[4];
      load_matrix_x4_transposed(b, matrices<width>(right + 16 * step * width, n / 2));
      const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
      for (int m = 0; m < tiles; ++m) {
        multiply_bf16(y[m][n], w[m][step], low);
        multiply_bf16(y[m][n + 1], w[m][step], high);
      }
    }
}

// Sums as the left operand of the next product.
template <int tiles, int columns>
__device__ inline void pack(uint32_t (&w)[tiles][columns / 2][4], const float (&x)[tiles][columns][4]) {
#pragma unroll
  for (int m = 0; m < tiles; ++m)
#pragma unroll
    for (int step = 0; step < columns / 2; ++step)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        w[m][step][i] = pack_bf16(x[m][2 * step + i / 2][i % 2 * 2], x[m][2 * step + i / 2][i % 2 * 2 + 1]);
}

// Writes a warp's sums to global rows as bf16. They pass through `room`, [16 tiles, width] of the warp's own, so that
// every thread writes 16 bytes, and where in_room() changes them.
template <int tiles, int width, class F>
__device__ inline void store_rows(const float (&y)[tiles][width / 8][4], const float (&factors)[2 * tiles], bf16* room,
                                  bf16* to, int row_step, int rows, int used, F in_room) {
  const int lane = lane_of_warp(), group = lane / 4, pair = lane % 4;
  __syncwarp();
#pragma unroll
  for (int m = 0; m < tiles; ++m)
#pragma unroll
    for (int n = 0; n < width / 8; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float factor = factors[2 * m + half];
        const uint32_t both = pack_bf16(y[m][n][2 * half] * factor, y[m][n][2 * half + 1] * factor);
        *reinterpret_cast<uint32_t*>(room + place<width>(16 * m + 8 * half + group, n) + 2 * pair) = both;
      }
  __syncwarp();
  in_room();
  constexpr int chunks = width / 8, rows_at_once = warp / chunks;
  const int chunk = lane % chunks;
  if (chunk * 8 >= used) return;
  to += static_cast<int64_t>(lane / chunks) * row_step + chunk * 8;
#pragma unroll 4
  for (int row = lane / chunks; row < min(rows, 16 * tiles); row += rows_at_once) {
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(room + place<width>(row, chunk));
    to += static_cast<int64_t>(rows_at_once) * row_step;
  }
}
template <int tiles, int width>
__device__ inline void store_rows(const float (&y)[tiles][width / 8][4], const float (&factors)[2 * tiles], bf16* room,
                                  bf16* to, int row_step, int rows, int used) {
  store_rows<tiles, width>(y, factors, room, to, row_step, rows, used, [] {});
}

}  // namespace phasor::cuda::attention_tensor
