// What biases and hiding do to a warp's scores, of which a lane holds rows 8 half + group and columns 8 n + 2 pair + c
// (attention_tensor.cuh). Rows are queries and columns keys, or the other way round.
#pragma once

#include "cuda/ops/attention_tensor.cuh"

namespace phasor::cuda::attention_tensor {

enum class RowsAre { queries, keys };

// The scores [16 tiles, 8 columns] of queries from `query` on and keys from `key` on, as one lane sees them.
template <RowsAre rows_are, int tiles, int columns>
struct ScoreTile {
  const Plan& plan;
  int batch, head;
  int first_row, first_column;  // the lane's own first row and column

  __device__ ScoreTile(const Plan& plan_, int batch_, int head_, int query, int key)
      : plan(plan_), batch(batch_), head(head_) {
    const int lane = lane_of_warp();
    first_row = (rows_are == RowsAre::queries ? query : key) + lane / 4;
    first_column = (rows_are == RowsAre::queries ? key : query) + lane % 4 * 2;
  }

  __device__ int query_of(int half, int column) const {
    return rows_are == RowsAre::queries ? first_row + 8 * half : first_column + column;
  }
  __device__ int key_of(int half, int column) const {
    return rows_are == RowsAre::queries ? first_column + column : first_row + 8 * half;
  }

  // s = scale s + biases, times log2(e)
  __device__ void add_biases(float (&s)[tiles][columns][4]) const {
#pragma unroll
    for (int m = 0; m < tiles; ++m)
#pragma unroll
      for (int n = 0; n < columns; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) s[m][n][i] *= plan.scale_2;
    if (plan.by_distance) add_by_distance(s);
    if (plan.by_position) {
      if (plan.position_is_f32)
        add_by_position(s, static_cast<const float*>(plan.by_position));
      else
        add_by_position(s, static_cast<const bf16*>(plan.by_position));
    }
  }

  // -inf where the query may not see the key; for queries behind the last one too.
  __device__ void hide(float (&s)[tiles][columns][4]) const {
    const int* const segments = plan.segments_of(batch);
    int limits[2 * tiles], own[2 * tiles];  // of the rows: the first key that is hidden if they are queries; segments
#pragma unroll
    for (int half = 0; half < 2 * tiles; ++half) {
      limits[half] = rows_are == RowsAre::queries ? limit_of(query_of(half, 0)) : 0;
      own[half] = !segments                   ? 0
                  : rows_are == RowsAre::keys ? segment_of_key(segments, key_of(half, 0))
                                              : segment_of_query(segments, query_of(half, 0));
    }
    // Column by column: little is in registers beside the scores.
#pragma unroll
    for (int n = 0; n < columns; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int limit = rows_are == RowsAre::keys ? limit_of(query_of(0, 8 * n + c)) : 0;
        const int other = !segments                   ? 0
                          : rows_are == RowsAre::keys ? segment_of_query(segments, query_of(0, 8 * n + c))
                                                      : segment_of_key(segments, key_of(0, 8 * n + c));
#pragma unroll
        for (int half = 0; half < 2 * tiles; ++half) {
          const bool is_seen = key_of(half, 8 * n + c) < (rows_are == RowsAre::queries ? limits[half] : limit);
          if (!is_seen || own[half] != other) s[half / 2][n][half % 2 * 2 + c] = minus_infinity();
        }
      }
  }

 private:
  __device__ int limit_of(int query) const { return query < plan.q_length ? plan.key_limit(query + 1) : 0; }

  // 0 where there is none: that is hidden already.
  __device__ int segment_of_key(const int* segments, int key) const { return key < plan.k_length ? segments[key] : 0; }
  __device__ int segment_of_query(const int* segments, int query) const {
    return query < plan.q_length ? segments[query + plan.ahead] : 0;
  }

  // Scores of one diagonal of 8 x 8 blocks stand at the same distances: one number for all of them.
  __device__ void add_by_distance(float (&s)[tiles][columns][4]) const {
    const float* const corner =
        plan.by_distance + plan.distance_head_step * head + (query_of(0, 0) + plan.ahead - key_of(0, 0));
#pragma unroll
    for (int diagonal = 1 - columns; diagonal < 2 * tiles; ++diagonal)
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int step = 8 * diagonal - c;
        const float bias = corner[rows_are == RowsAre::queries ? step : -step];
#pragma unroll
        for (int half = 0; half < 2 * tiles; ++half) {
          const int n = half - diagonal;
          if (n >= 0 && n < columns) s[half / 2][n][half % 2 * 2 + c] += bias;
        }
      }
  }

  template <class T>
  __device__ void add_by_position(float (&s)[tiles][columns][4], const T* bias) const {
    bias += plan.position_batch_step * batch + plan.position_head_step * head;
#pragma unroll
    for (int half = 0; half < 2 * tiles; ++half) {
#pragma unroll
      for (int n = 0; n < columns; ++n) {
        float* const at = &s[half / 2][n][half % 2 * 2];
        const int query = query_of(half, 8 * n), key = key_of(half, 8 * n);
        if (query >= plan.q_length || key >= plan.k_length) continue;
        const T* const from = bias + (query * plan.position_query_step + key * plan.position_key_step);
        if (rows_are == RowsAre::queries && sizeof(T) == 2 && plan.position_has_pairs) {
          const uint32_t both = *reinterpret_cast<const uint32_t*>(from);
          at[0] += low_bf16(both) * log2_e;
          at[1] += high_bf16(both) * log2_e;
          continue;
        }
        at[0] += static_cast<float>(*from) * log2_e;
        if (rows_are == RowsAre::queries) {
          if (key + 1 < plan.k_length) at[1] += static_cast<float>(from[plan.position_key_step]) * log2_e;
        } else if (query + 1 < plan.q_length) {
          at[1] += static_cast<float>(from[plan.position_query_step]) * log2_e;
        }
      }
      __syncwarp();  // keeps the loads of later rows behind: their addresses would take registers
    }
  }
};

// Which tiles of keys queries [first, end) have to look at, or which tiles of queries keys: segments rule some out.
__device__ inline int2 segment_range(const Plan& plan, int batch, int first_key, int end_key) {
  const int ranges = (plan.k_length + segment_range_keys - 1) / segment_range_keys;
  const int2* const own = plan.segment_ranges + (plan.segments_batch_step ? static_cast<int64_t>(batch) * ranges : 0);
  int2 range = own[first_key / segment_range_keys];
  for (int i = first_key / segment_range_keys + 1; i * segment_range_keys < min(end_key, plan.k_length); ++i) {
    range.x = min(range.x, own[i].x);
    range.y = max(range.y, own[i].y);
  }
  return range;
}

// The first of the tiles [tile, end) of `count` keys from `offset` on that may hold a segment of `range`.
__device__ inline int next_shared_tile(const Plan& plan, int batch, int2 range, int tile, int end, int count,
                                       int offset) {
  if (!plan.segments) return tile;
  for (; tile < end; ++tile) {
    const int2 other = segment_range(plan, batch, offset + tile * count, offset + (tile + 1) * count);
    if (range.x <= other.y && other.x <= range.y) break;
  }
  return tile;
}

}  // namespace phasor::cuda::attention_tensor
