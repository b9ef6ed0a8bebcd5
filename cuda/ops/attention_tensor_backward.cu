// Attention on the tensor cores, backward, in two passes that need neither atomics nor each other.
//
// With p = 2^(s - log_sum_exp) recomputed (Dao, arXiv:2307.08691):
//   dv = p^T dout     dp = dout v^T     ds = p (dp - delta)     dq = scale ds k     dk = scale ds^T q     dbias = ds
// delta = rowsum(dout out) - dlog_sum_exp. A block of the first pass owns 128 keys and walks over the queries, one of
// the second owns 128 queries and walks over the keys: s and dp are computed twice, 7 products in place of 5. In return
// every sum stays in the registers of one warp, p and ds are operands as they lie in registers (the first pass computes
// them transposed), and neither partial sums of dq nor scores go through memory.
#include <algorithm>

#include "cuda/ops/attention_tensor_bias_gradients.cuh"
#include "cuda/ops/attention_tensor_plan.cuh"
#include "cuda/ops/attention_tensor_turn.cuh"

namespace phasor::cuda {
namespace {

using namespace attention_tensor;

constexpr int block_rows = 128;  // keys or queries that a block owns
constexpr int chunk = 32;        // of what it walks over: so many scores at a time are in registers

struct Statistic {
  float log_sum_exp,
      delta;  // the former in powers of 2; +inf, so that p is 0, for rows that see nothing or are not there
};

// A row by 16 lanes.
constexpr int statistic_threads = 256, statistic_lanes = 16;

__global__ void __launch_bounds__(statistic_threads)
    statistics_kernel(Plan plan, int padded, Rows<const bf16> out, Rows<const bf16> dout, const float* log_sum_exp,
                      const float* dlog_sum_exp, Statistic* statistics) {
  const int lane = static_cast<int>(threadIdx.x) % statistic_lanes;
  const int row = static_cast<int>(blockIdx.x) * (statistic_threads / statistic_lanes) +
                  static_cast<int>(threadIdx.x) / statistic_lanes;
  const int head = static_cast<int>(blockIdx.y), batch = static_cast<int>(blockIdx.z);
  const bool is_there = row < plan.q_length;
  float sum = 0;
  if (is_there && dout.data && lane * 8 < plan.v_width) {
    const uint4 y = *reinterpret_cast<const uint4*>(out.at(batch, head, row) + lane * 8);
    const uint4 dy = *reinterpret_cast<const uint4*>(dout.at(batch, head, row) + lane * 8);
    const uint32_t ys[4] = {y.x, y.y, y.z, y.w}, dys[4] = {dy.x, dy.y, dy.z, dy.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sum += __uint_as_float(ys[i] << 16) * __uint_as_float(dys[i] << 16);
      sum += __uint_as_float(ys[i] & 0xffff0000u) * __uint_as_float(dys[i] & 0xffff0000u);
    }
  }
#pragma unroll
  for (int step = statistic_lanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(all_lanes, sum, step);
  if (lane != 0 || row >= padded) return;
  const int64_t line = static_cast<int64_t>(batch) * plan.heads + head, at = line * plan.q_length + row;
  Statistic result = {-minus_infinity(), 0};
  if (is_there) {
    const float own = log_sum_exp[at];
    if (own != minus_infinity()) result.log_sum_exp = own * log2_e;
    result.delta = dlog_sum_exp ? sum - dlog_sum_exp[at] : sum;
  }
  statistics[line * padded + row] = result;
}

template <int qk_width, int v_width>
struct KeyPass {
  static constexpr bool is_wide = qk_width > 64 || v_width > 64;
  static constexpr int tiles = is_wide ? 1 : 2, warp_keys = 16 * tiles, warps = block_rows / warp_keys;
  static constexpr int queries = is_wide ? 32 : 64;  // of a tile
  static constexpr size_t bytes =
      sizeof(bf16) * (block_rows + 2 * queries) * (qk_width + v_width) + sizeof(Statistic) * 2 * queries;
};

// dk and dv of 128 keys of a kv head.
template <Kind kind, int qk_width, int v_width>
__global__ void __launch_bounds__(KeyPass<qk_width, v_width>::warps* warp)
    key_kernel(Plan plan, int padded, Rows<const bf16> q, Rows<const bf16> k, Rows<const bf16> v, Rows<const bf16> dout,
               const Statistic* statistics, Rows<bf16> dk, Rows<bf16> dv, Rotation rotation) {
  using Pass = KeyPass<qk_width, v_width>;
  constexpr bool has_bias = kind == Kind::biased, turns = kind == Kind::turned;
  constexpr int tiles = Pass::tiles, queries = Pass::queries, threads = Pass::warps * warp;
  // Biases take registers too: beside sums of 32 keys half as many scores at a time are there.
  constexpr int chunk_queries = has_bias && tiles == 2 ? chunk / 2 : chunk;
  const int own = warp_of_block() * Pass::warp_keys;
  PHASOR_SHARED(bf16, shared);
  bf16* const k_tile = shared;
  bf16* const v_tile = k_tile + block_rows * qk_width;
  bf16* const q_tiles = v_tile + block_rows * v_width;
  bf16* const dout_tiles = q_tiles + 2 * queries * qk_width;
  Statistic* const statistic_tiles = reinterpret_cast<Statistic*>(dout_tiles + 2 * queries * v_width);
  const int kv_head = static_cast<int>(blockIdx.y), batch = static_cast<int>(blockIdx.z);
  // Kept in shared memory, since the products need all registers: the block's place, and where rows begin.
  __shared__ int first, first_tile, end, last_head;
  __shared__ const bf16 *q_begin, *dout_begin;
  __shared__ const Statistic* statistics_begin;
  if (threadIdx.x == 0) {
    first = static_cast<int>(blockIdx.x) * block_rows;
    end = (plan.q_length + queries - 1) / queries;
    last_head = (kv_head + 1) * plan.group;
    q_begin = q.at(batch, 0, 0);
    dout_begin = dout.at(batch, 0, 0);
    statistics_begin = statistics + static_cast<int64_t>(batch) * plan.heads * padded;
  }
  __syncthreads();
  const auto start_copy = [&](int head, int tile, int buffer) {
    copy_tile<qk_width, queries, threads>(q_tiles + buffer * queries * qk_width, q_begin + head * q.head_step,
                                          q.row_step, tile * queries, plan.q_length, plan.qk_width);
    copy_tile<v_width, queries, threads>(dout_tiles + buffer * queries * v_width, dout_begin + head * dout.head_step,
                                         dout.row_step, tile * queries, plan.q_length, plan.v_width);
    const int i = static_cast<int>(threadIdx.x) * 2;
    if (i < queries)
      copy_async_16(statistic_tiles + buffer * queries + i,
                    statistics_begin + static_cast<int64_t>(head) * padded + tile * queries + i, true);
  };
  const auto next = [&](int tile) {
    return plan.segments ? next_shared_tile(plan, batch, segment_range(plan, batch, first, first + block_rows), tile,
                                            end, queries, plan.ahead)
                         : tile;
  };

  copy_tile<qk_width, block_rows, threads>(k_tile, k.at(batch, kv_head, 0), k.row_step, first, plan.k_length,
                                           plan.qk_width);
  copy_tile<v_width, block_rows, threads>(v_tile, v.at(batch, kv_head, 0), v.row_step, first, plan.k_length,
                                          plan.v_width);
  float dk_sums[tiles][qk_width / 8][4], dv_sums[tiles][v_width / 8][4];
  clear(dk_sums);
  clear(dv_sums);
  if (threadIdx.x == 0) first_tile = next(plan.is_causal ? max(0, first - plan.ahead) / queries : 0);
  __syncthreads();
  int head = first_tile < end ? kv_head * plan.group : last_head, tile = first_tile, buffer = 0;
  if (head < last_head) start_copy(head, tile, 0);
  commit_copies();
  if constexpr (turns) {
    wait_copies<0>();
    __syncthreads();
    turn_own_rows<Turn::forward, qk_width, Pass::warp_keys>(k_tile + own * qk_width, rotation,
                                                            rotation.k.at(batch, kv_head), first + own, plan.k_length);
  }
  while (head < last_head) {
    wait_copies<0>();
    __syncthreads();  // the tile is there, and nobody reads the other buffer any more
    const int now_head = head, query = tile * queries;
    tile = next(tile + 1);
    if (tile >= end) tile = first_tile, ++head;
    if (head < last_head) start_copy(head, tile, buffer ^ 1);
    commit_copies();
    bf16* const q_tile = q_tiles + buffer * queries * qk_width;
    const bf16* const dout_tile = dout_tiles + buffer * queries * v_width;
    const Statistic* const statistic_tile = statistic_tiles + buffer * queries;
    if constexpr (turns)
      turn_tile<qk_width, queries, threads>(q_tile, rotation, rotation.q.at(batch, now_head), query, plan.q_length);
    buffer ^= 1;
#pragma unroll 1
    for (int at = 0; at < queries; at += chunk_queries) {
      const int first_query = query + at, own_first = first + own;
      // Hidden from every query, or no queries are left.
      if (first_query >= plan.q_length || own_first >= plan.key_limit(min(first_query + chunk_queries, plan.q_length)))
        continue;
      float p[tiles][chunk_queries / 8][4], ds[tiles][chunk_queries / 8][4];
      multiply_rows<tiles, chunk_queries / 8, qk_width>(p, k_tile + own * qk_width, q_tile + at * qk_width);
      const ScoreTile<RowsAre::keys, tiles, chunk_queries / 8> scores(plan, batch, now_head, first_query, own_first);
      if constexpr (has_bias) scores.add_biases(p);
      if (own_first + Pass::warp_keys > plan.key_limit(first_query + 1) ||
          first_query + chunk_queries > plan.q_length || plan.segments)
        scores.hide(p);
      multiply_rows<tiles, chunk_queries / 8, v_width>(ds, v_tile + own * v_width, dout_tile + at * v_width);
#pragma unroll
      for (int n = 0; n < chunk_queries / 8; ++n) {
        const float4 both = *reinterpret_cast<const float4*>(statistic_tile + at + 8 * n + lane_of_warp() % 4 * 2);
        const float log_sum_exp[2] = {both.x, both.z}, delta[2] = {both.y, both.w};
#pragma unroll
        for (int m = 0; m < tiles; ++m)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            p[m][n][i] = exp2_approximate(p[m][n][i] * (has_bias ? 1.f : plan.scale_2) - log_sum_exp[i % 2]);
            ds[m][n][i] = p[m][n][i] * (ds[m][n][i] - delta[i % 2]);
          }
      }
      uint32_t weights[tiles][chunk_queries / 16][4];
      pack(weights, p);
      add_weighted_rows<tiles, chunk_queries / 8, v_width>(dv_sums, weights, dout_tile + at * v_width);
      pack(weights, ds);
      add_weighted_rows<tiles, chunk_queries / 8, qk_width>(dk_sums, weights, q_tile + at * qk_width);
    }
  }
  wait_copies<0>();
  __syncthreads();  // copies of all threads into the room below are over

  const int own_first = first + own;
  if (own_first >= plan.k_length) return;
  float factors[2 * tiles];
#pragma unroll
  for (float& factor : factors) factor = plan.scale;
  bf16* const own_k = k_tile + own * qk_width;
  const auto turn_back = [&] {
    if constexpr (turns)
      turn_own_rows<Turn::back, qk_width, Pass::warp_keys>(own_k, rotation, rotation.k.at(batch, kv_head), own_first,
                                                           plan.k_length);
  };
  store_rows<tiles, qk_width>(dk_sums, factors, own_k, dk.at(batch, kv_head, own_first), dk.row_step,
                              plan.k_length - own_first, plan.qk_width, turn_back);
#pragma unroll
  for (float& factor : factors) factor = 1;
  store_rows<tiles, v_width>(dv_sums, factors, v_tile + own * v_width, dv.at(batch, kv_head, own_first), dv.row_step,
                             plan.k_length - own_first, plan.v_width);
}

template <int qk_width, int v_width>
struct QueryPass {
  static constexpr int tiles = 2, warp_queries = 16 * tiles, warps = block_rows / warp_queries;
  static constexpr int keys = qk_width > 64 || v_width > 64 ? 32 : 64;  // of a tile
  static constexpr size_t bytes =
      sizeof(bf16) * (block_rows + 2 * keys) * (qk_width + v_width) + sizeof(Statistic) * block_rows;
};

// dq of 128 queries, and the gradients of biases. `slots` blocks share the queries of a head.
template <Kind kind, int qk_width, int v_width>
__global__ void __launch_bounds__(QueryPass<qk_width, v_width>::warps* warp, 2)
    query_kernel(Plan plan, int padded, Rows<const bf16> q, Rows<const bf16> k, Rows<const bf16> v,
                 Rows<const bf16> dout, const Statistic* statistics, Rows<bf16> dq, BiasGradients dbias,
                 Rotation rotation) {
  using Pass = QueryPass<qk_width, v_width>;
  constexpr bool has_bias = kind == Kind::biased, turns = kind == Kind::turned;
  constexpr int tiles = Pass::tiles, keys = Pass::keys, threads = Pass::warps * warp;
  // Biases take registers too: half as many scores at a time are there.
  constexpr int chunk_keys = has_bias ? chunk / 2 : chunk;
  constexpr bool keeps_q = qk_width <= 64, keeps_dout = v_width <= 64 && !has_bias && qk_width <= 64;  // in registers
  const int own = warp_of_block() * Pass::warp_queries, lane = lane_of_warp(), thread = static_cast<int>(threadIdx.x);
  PHASOR_SHARED(bf16, shared);
  bf16* const q_tile = shared;
  bf16* const dout_tile = q_tile + block_rows * qk_width;
  bf16* const k_tiles = dout_tile + block_rows * v_width;
  bf16* const v_tiles = k_tiles + 2 * keys * qk_width;
  Statistic* const statistic_tile = reinterpret_cast<Statistic*>(v_tiles + 2 * keys * v_width);
  float* const rings = reinterpret_cast<float*>(statistic_tile + block_rows);
  float* const own_ring = rings + warp_of_block() * distance_room;
  const int slot = static_cast<int>(blockIdx.x), slots = static_cast<int>(gridDim.x);
  const bool wants_distance = has_bias && dbias.by_distance;
  if (wants_distance)
    for (int i = lane; i < ring_size; i += warp) own_ring[i] = 0;
  const int head = static_cast<int>(blockIdx.y), batch = static_cast<int>(blockIdx.z), kv_head = head / plan.group;
  const int64_t line = static_cast<int64_t>(batch) * plan.heads + head;
  // Kept in shared memory, since the products need all registers: the place of the queries, and where rows begin.
  __shared__ int first, last, end;
  __shared__ const bf16 *q_begin, *dout_begin, *k_begin, *v_begin;
  __shared__ bf16* dq_begin;
  __shared__ const Statistic* statistics_begin;
  __shared__ float* distances_begin;
  __shared__ void* positions_begin;
  if (thread == 0) {
    q_begin = q.at(batch, head, 0);
    dout_begin = dout.at(batch, head, 0);
    k_begin = k.at(batch, kv_head, 0);
    v_begin = v.at(batch, kv_head, 0);
    dq_begin = dq.at(batch, head, 0);
    statistics_begin = statistics + line * padded;
    distances_begin = wants_distance ? dbias.by_distance + (line * slots + slot) * plan.k_length : nullptr;
    positions_begin = dbias.position_rows(line, plan);
  }

  const int count = (plan.q_length + block_rows - 1) / block_rows;
  for (int turn = 0; turn * slots < count; ++turn) {
    if (!has_bias && turn > 0) break;  // known when compiling
    // The last queries look at the most keys: they begin. To and fro, so that no slot has all the long ones.
    const int order = turn * slots + (turn % 2 == 0 ? slot : slots - 1 - slot);
    if (order >= count) break;
    __syncthreads();  // of the queries before
    if (thread == 0) {
      first = (count - 1 - order) * block_rows;
      last = min(first + block_rows, plan.q_length);
      end = (plan.key_limit(last) + keys - 1) / keys;
    }
    __syncthreads();
    const auto start_copy = [&](int tile, int buffer) {
      copy_tile<qk_width, keys, threads>(k_tiles + buffer * keys * qk_width, k_begin, k.row_step, tile * keys,
                                         plan.k_length, plan.qk_width);
      copy_tile<v_width, keys, threads>(v_tiles + buffer * keys * v_width, v_begin, v.row_step, tile * keys,
                                        plan.k_length, plan.v_width);
    };
    const auto next = [&](int tile) {
      // The ring takes neighbouring tiles only.
      return plan.segments && !wants_distance
                 ? next_shared_tile(plan, batch, segment_range(plan, batch, first + plan.ahead, last + plan.ahead),
                                    tile, end, keys, 0)
                 : tile;
    };
    copy_tile<qk_width, block_rows, threads>(q_tile, q_begin, q.row_step, first, plan.q_length, plan.qk_width);
    copy_tile<v_width, block_rows, threads>(dout_tile, dout_begin, dout.row_step, first, plan.q_length, plan.v_width);
    if (thread < block_rows / 2)
      copy_async_16(statistic_tile + 2 * thread, statistics_begin + first + 2 * thread, true);
    commit_copies();
    int tile = next(0), buffer = 0;
    if (tile < end) start_copy(tile, 0);
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    bf16* const own_q = q_tile + own * qk_width;
    if constexpr (turns)
      turn_own_rows<Turn::forward, qk_width, Pass::warp_queries>(own_q, rotation, rotation.q.at(batch, head),
                                                                 first + own, plan.q_length);
    uint32_t q_kept[keeps_q ? tiles : 1][qk_width / 16][4], dout_kept[keeps_dout ? tiles : 1][v_width / 16][4];
    if constexpr (keeps_q) load_all_left<tiles, qk_width>(q_kept, own_q);
    if constexpr (keeps_dout) load_all_left<tiles, v_width>(dout_kept, dout_tile + own * v_width);

    float sums[tiles][qk_width / 8][4];
    clear(sums);
    while (tile < end) {
      wait_copies<0>();
      __syncthreads();  // the tile is there, and nobody reads the other buffer any more
      const int key = tile * keys, following = next(tile + 1);
      if (following < end) start_copy(following, buffer ^ 1);
      commit_copies();
      bf16* const k_tile = k_tiles + buffer * keys * qk_width;
      const bf16* const v_tile = v_tiles + buffer * keys * v_width;
      tile = following;
      buffer ^= 1;
      if constexpr (turns)
        turn_tile<qk_width, keys, threads>(k_tile, rotation, rotation.k.at(batch, kv_head), key, plan.k_length);
#pragma unroll 1
      for (int at = 0; at < keys; at += chunk_keys) {
        const int own_first = first + own;
        // Hidden from the whole warp, or it has no queries.
        if (own_first >= last || key + at >= plan.key_limit(min(own_first + Pass::warp_queries, last))) break;
        float p[tiles][chunk_keys / 8][4], ds[tiles][chunk_keys / 8][4];
        if constexpr (keeps_q)
          multiply_rows<tiles, chunk_keys / 8, qk_width>(p, q_kept, k_tile + at * qk_width);
        else
          multiply_rows<tiles, chunk_keys / 8, qk_width>(p, own_q, k_tile + at * qk_width);
        const ScoreTile<RowsAre::queries, tiles, chunk_keys / 8> scores(plan, batch, head, own_first, key + at);
        if constexpr (has_bias) scores.add_biases(p);
        if (key + at + chunk_keys > plan.key_limit(own_first + 1) || own_first + Pass::warp_queries > plan.q_length ||
            plan.segments)
          scores.hide(p);
        if constexpr (keeps_dout)
          multiply_rows<tiles, chunk_keys / 8, v_width>(ds, dout_kept, v_tile + at * v_width);
        else
          multiply_rows<tiles, chunk_keys / 8, v_width>(ds, dout_tile + own * v_width, v_tile + at * v_width);
#pragma unroll
        for (int half = 0; half < 2 * tiles; ++half) {
          const Statistic row = statistic_tile[own + 8 * half + lane / 4];
#pragma unroll
          for (int n = 0; n < chunk_keys / 8; ++n)
#pragma unroll
            for (int c = half % 2 * 2; c < half % 2 * 2 + 2; ++c) {
              const float score = p[half / 2][n][c] * (has_bias ? 1.f : plan.scale_2);
              ds[half / 2][n][c] = exp2_approximate(score - row.log_sum_exp) * (ds[half / 2][n][c] - row.delta);
            }
        }
        if constexpr (has_bias) {
          if (dbias.by_distance) add_by_distance(ds, own_first + plan.ahead - key - at, own_ring);
          if (dbias.by_position) {
            if (dbias.position_is_f32)
              store_by_position(ds, plan, static_cast<float*>(positions_begin), own_first, key + at);
            else
              store_by_position(ds, plan, static_cast<bf16*>(positions_begin), own_first, key + at);
          }
        }
        uint32_t weights[tiles][chunk_keys / 16][4];
        pack(weights, ds);
        add_weighted_rows<tiles, chunk_keys / 8, qk_width>(sums, weights, k_tile + at * qk_width);
      }
      if (wants_distance) {
        __syncthreads();
        // What is farther than all that the next tile has.
        const int farthest = first + block_rows - 1 + plan.ahead - key;
        float* const to = distances_begin;
        if (thread < keys) flush_distance<Pass::warps>(farthest - thread, rings, to, plan.k_length);
        if (tile >= end && thread < block_rows - 1)
          flush_distance<Pass::warps>(farthest - keys - thread, rings, to, plan.k_length);
      }
    }
    wait_copies<0>();
    float factors[2 * tiles];
#pragma unroll
    for (float& factor : factors) factor = plan.scale;
    const int own_first = first + own;
    const auto turn_back = [&] {
      if constexpr (turns)
        turn_own_rows<Turn::back, qk_width, Pass::warp_queries>(own_q, rotation, rotation.q.at(batch, head), own_first,
                                                                plan.q_length);
    };
    if (own_first < plan.q_length)
      store_rows<tiles, qk_width>(sums, factors, own_q, dq_begin + static_cast<int64_t>(own_first) * dq.row_step,
                                  dq.row_step, plan.q_length - own_first, plan.qk_width, turn_back);
  }
}

// Blocks of a head that share its queries, each with a row of sums by distance: as many as occupy a GPU.
int64_t distance_slots(const AttentionProblem& p) {
  const int64_t enough = 512, tiles = pieces(p.q_length, block_rows), heads = int64_t{p.batches} * p.heads;
  return std::min(tiles, pieces(enough, heads));
}

}  // namespace

void attention_tensor_backward(const AttentionProblem& problem) {
  const char* const op = "attention_backward";
  const Prepared ready = prepared(problem);
  const Plan& plan = ready.plan;
  AttentionRows dout = problem.dout;
  Tensor zeros;
  if (!dout.data) {
    zeros = Tensor::zeros({problem.v_dim}, Dtype::bf16, Device::cuda);
    dout = {zeros.data<bf16>(), 0, 0, 0};
  }
  const int64_t padded = pieces(problem.q_length, block_rows) * block_rows;
  const Tensor kept = Tensor::empty({problem.batches, problem.heads, padded, 2}, Dtype::f32, Device::cuda);
  Statistic* const statistics = reinterpret_cast<Statistic*>(kept.data<float>());
  launch(op, statistics_kernel, Grid{padded / (statistic_threads / statistic_lanes), problem.heads, problem.batches},
         statistic_threads, 0, plan, padded, to_read(problem.out), to_read(dout),
         static_cast<const float*>(problem.log_sum_exp), static_cast<const float*>(problem.dlog_sum_exp), statistics);

  const int64_t slots = problem.dby_distance ? distance_slots(problem) : pieces(problem.q_length, block_rows);
  Tensor sums;
  if (problem.dby_distance)
    sums = Tensor::zeros({problem.batches, problem.heads, slots, problem.k_length}, Dtype::f32, Device::cuda);
  const BiasGradients dbias = {problem.dby_distance ? sums.data<float>() : nullptr, problem.dby_position,
                               problem.by_position.dtype == Dtype::f32};
  with_kernel(problem, [&]<Kind kind, int qk_width, int v_width>() {
    using OfKeys = KeyPass<qk_width, v_width>;
    using OfQueries = QueryPass<qk_width, v_width>;
    launch(op, key_kernel<kind, qk_width, v_width>,
           Grid{pieces(problem.k_length, block_rows), problem.kv_heads, problem.batches}, OfKeys::warps * warp,
           OfKeys::bytes, plan, padded, to_read(problem.q), to_read(problem.k), to_read(problem.v), to_read(dout),
           statistics, to_write(problem.dk), to_write(problem.dv), ready.rotation);
    const size_t ring_bytes = dbias.by_distance ? sizeof(float) * OfQueries::warps * distance_room : 0;
    launch(op, query_kernel<kind, qk_width, v_width>, Grid{slots, problem.heads, problem.batches},
           OfQueries::warps * warp, OfQueries::bytes + ring_bytes, plan, padded, to_read(problem.q), to_read(problem.k),
           to_read(problem.v), to_read(dout), statistics, to_write(problem.dq), dbias, ready.rotation);
  });
  if (problem.dby_distance) sum_distances(problem, slots, sums);
}

}  // namespace phasor::cuda
