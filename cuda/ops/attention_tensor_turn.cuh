// Turning tiles of queries and keys in shared memory by the tables of a rotation, and gradients back.
#pragma once

#include "cuda/ops/attention_tensor.cuh"
#include "cuda/ops/rotary.cuh"

namespace phasor::cuda::attention_tensor {

constexpr int pack_components = 4;  // that a thread turns at once: 16 bytes of their channels, and of each table

// Of two registers with two bf16 each the first ones, and the second ones.
__device__ inline uint32_t low_halves(uint32_t a, uint32_t b) { return (a & 0xffffu) | b << 16; }
__device__ inline uint32_t high_halves(uint32_t a, uint32_t b) { return a >> 16 | (b & 0xffff0000u); }

// Four pairs of channels in a row to their first and their second channels, and back.
__device__ inline void separate(uint2& a, uint2& b) {
  const uint2 first = {low_halves(a.x, a.y), low_halves(b.x, b.y)};
  b = {high_halves(a.x, a.y), high_halves(b.x, b.y)};
  a = first;
}
__device__ inline void interleave(uint2& first, uint2& second) {
  const uint2 a = {low_halves(first.x, second.x), high_halves(first.x, second.x)};
  second = {low_halves(first.y, second.y), high_halves(first.y, second.y)};
  first = a;
}

// Two components, whose first channels are in one register and whose second ones in another.
__device__ inline void turn_two(uint32_t& first, uint32_t& second, float c0, float s0, float c1, float s1) {
  float a0 = low_bf16(first), a1 = low_bf16(second), b0 = high_bf16(first), b1 = high_bf16(second);
  turn_component(a0, a1, c0, s0);
  turn_component(b0, b1, c1, s1);
  first = pack_bf16(a0, b0);
  second = pack_bf16(a1, b1);
}

enum class Turn { forward, back };

// Turns `rows` rows of a tile, of which `there` exist, by the rows of a head's tables from the `first` on: as rotary
// and rotary_transposed, bit by bit. `threads` threads do it, of which this one is `thread`.
template <Turn direction, int width, int rows, int threads>
__device__ inline void turn_rows(bf16* tile, const Rotation& rotation, const Tables& tables, int first, int there,
                                 int thread) {
  constexpr int packs = width / (2 * pack_components);
#pragma unroll 1
  for (int i = thread; i < rows * packs; i += threads) {
    const int row = i / packs, pack = i % packs;
    if (row >= there || pack >= rotation.packs) continue;
    // 8 bytes of first and 8 of second channels, or of the first and the last two pairs if they are interleaved.
    bf16 *low, *high;
    if (rotation.is_interleaved) {
      low = tile + place<width>(row, pack);
      high = low + pack_components;
    } else {
      low = tile + place<width>(row, pack / 2) + pack % 2 * pack_components;
      high = tile + place<width>(row, (pack + rotation.packs) / 2) + pack % 2 * pack_components;
    }
    const int64_t at = static_cast<int64_t>(first + row) * tables.row_step + pack * pack_components;
    const float4 c = *reinterpret_cast<const float4*>(tables.cos + at);
    float4 s = *reinterpret_cast<const float4*>(tables.sin + at);
    if (direction == Turn::back) s = {-s.x, -s.y, -s.z, -s.w};
    uint2 x0 = *reinterpret_cast<const uint2*>(low), x1 = *reinterpret_cast<const uint2*>(high);
    if (rotation.is_interleaved) separate(x0, x1);
    turn_two(x0.x, x1.x, c.x, s.x, c.y, s.y);
    turn_two(x0.y, x1.y, c.z, s.z, c.w, s.w);
    if (rotation.is_interleaved) interleave(x0, x1);
    *reinterpret_cast<uint2*>(low) = x0;
    *reinterpret_cast<uint2*>(high) = x1;
  }
}

// Rows of a tile that all threads of the block have loaded, and read afterwards.
template <int width, int rows, int threads>
__device__ inline void turn_tile(bf16* tile, const Rotation& rotation, const Tables& tables, int first, int length) {
  turn_rows<Turn::forward, width, rows, threads>(tile, rotation, tables, first, length - first,
                                                 static_cast<int>(threadIdx.x));
  __syncthreads();
}
// Rows that one warp alone goes on with.
template <Turn direction, int width, int rows>
__device__ inline void turn_own_rows(bf16* tile, const Rotation& rotation, const Tables& tables, int first,
                                     int length) {
  turn_rows<direction, width, rows, warp>(tile, rotation, tables, first, length - first, lane_of_warp());
  __syncwarp();
}

}  // namespace phasor::cuda::attention_tensor
