// Attention on the tensor cores, forward: a block for each 128 queries of a head, a warp for 32 of them.
//
// As in FlashAttention-2 (Dao, arXiv:2307.08691): a warp keeps its sums of the output, and the scores of 64 keys at a
// time, in registers. Warps share no rows, so they meet only where a tile changes: the next keys are copied while
// values are summed, the next values while keys are multiplied. The online softmax counts in powers of 2: one
// multiply-add and one ex2 for a score.
#include "cuda/ops/attention_tensor_plan.cuh"
#include "cuda/ops/attention_tensor_turn.cuh"

namespace phasor::cuda {
namespace {

using namespace attention_tensor;

constexpr int keys = 64, tiles = 2, warp_rows = 16 * tiles, rows = 128, threads = rows / warp_rows * warp;

// A row of the forward pass has seen scores up to `largest` and sums 2^(score - largest) to `sum`, this lane its part.
struct Running {
  float largest[2 * tiles], sum[2 * tiles];
};

// Scores, times factor powers of 2, to 2^(score - largest); `shrink` is what earlier sums are worth now.
__device__ inline void online_softmax(float (&s)[tiles][keys / 8][4], float factor, Running& running,
                                      float (&shrink)[2 * tiles]) {
#pragma unroll
  for (int half = 0; half < 2 * tiles; ++half) {
    const int m = half / 2, i = half % 2 * 2;
    float largest = running.largest[half];
#pragma unroll
    for (int n = 0; n < keys / 8; ++n) largest = fmaxf(largest, fmaxf(s[m][n][i], s[m][n][i + 1]));
    largest = fmaxf(largest, __shfl_xor_sync(all_lanes, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(all_lanes, largest, 2));
    // A row that has seen nothing yet keeps -inf; subtracting 0 then gives 2^-inf = 0 and not NaN.
    const float shift = largest == minus_infinity() ? 0.f : largest * factor;
    shrink[half] = exp2_approximate(running.largest[half] * factor - shift);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < keys / 8; ++n)
#pragma unroll
      for (int c = 0; c < 2; ++c) sum += s[m][n][i + c] = exp2_approximate(s[m][n][i + c] * factor - shift);
    running.sum[half] = running.sum[half] * shrink[half] + sum;
    running.largest[half] = largest;
  }
}

template <Kind kind, int qk_width, int v_width>
__global__ void __launch_bounds__(threads)
    forward_kernel(Plan plan, Rows<const bf16> q, Rows<const bf16> k, Rows<const bf16> v, Rows<bf16> out,
                   float* log_sum_exp, Rotation rotation) {
  constexpr bool has_bias = kind == Kind::biased, turns = kind == Kind::turned;
  constexpr bool keeps_q = qk_width <= 64;  // in registers
  const int own = warp_of_block() * warp_rows;
  PHASOR_SHARED(bf16, shared);
  bf16* const q_tile = shared;
  bf16* const k_tile = q_tile + rows * qk_width;
  bf16* const v_tile = k_tile + keys * qk_width;
  // The last queries look at the most keys: they begin.
  const int first_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * rows;
  const int head = static_cast<int>(blockIdx.y), batch = static_cast<int>(blockIdx.z), kv_head = head / plan.group;
  // Kept in shared memory, since the products need all registers: where k and v begin, and the block's place.
  __shared__ const bf16 *k_begin, *v_begin;
  __shared__ Tables k_tables;
  __shared__ int first, last, end;
  if (threadIdx.x == 0) {
    k_begin = k.at(batch, kv_head, 0);
    v_begin = v.at(batch, kv_head, 0);
    if constexpr (turns) k_tables = rotation.k.at(batch, kv_head);
    first = first_row;
    last = min(first_row + rows, plan.q_length);
    end = (plan.key_limit(min(first_row + rows, plan.q_length)) + keys - 1) / keys;
  }
  __syncthreads();
  const auto next = [&](int tile) {
    return plan.segments
               ? next_shared_tile(plan, batch, segment_range(plan, batch, first + plan.ahead, last + plan.ahead), tile,
                                  end, keys, 0)
               : tile;
  };
  const auto start_k = [&](int tile) {
    if (tile < end)
      copy_tile<qk_width, keys, threads>(k_tile, k_begin, k.row_step, tile * keys, plan.k_length, plan.qk_width);
    commit_copies();
  };
  const auto start_v = [&](int tile) {
    copy_tile<v_width, keys, threads>(v_tile, v_begin, v.row_step, tile * keys, plan.k_length, plan.v_width);
    commit_copies();
  };

  copy_tile<qk_width, rows, threads>(q_tile, q.at(batch, head, 0), q.row_step, first, plan.q_length, plan.qk_width);
  int tile = next(0);
  start_k(tile);
  wait_copies<0>();
  __syncthreads();
  bf16* const own_q = q_tile + own * qk_width;
  if constexpr (turns)
    turn_own_rows<Turn::forward, qk_width, warp_rows>(own_q, rotation, rotation.q.at(batch, head), first + own,
                                                      plan.q_length);
  uint32_t q_kept[keeps_q ? tiles : 1][qk_width / 16][4];
  if constexpr (keeps_q) load_all_left<tiles, qk_width>(q_kept, own_q);

  float sums[tiles][v_width / 8][4];
  clear(sums);
  Running running;
#pragma unroll
  for (int half = 0; half < 2 * tiles; ++half) running.largest[half] = minus_infinity(), running.sum[half] = 0;
  while (tile < end) {
    const int key = tile * keys;
    const bool is_seen =
        first + own < last && key < plan.key_limit(min(first + own + warp_rows, last));  // by some query of the warp
    start_v(tile);
    if constexpr (turns) turn_tile<qk_width, keys, threads>(k_tile, rotation, k_tables, key, plan.k_length);
    float s[tiles][keys / 8][4];
    if (is_seen) {
      if constexpr (keeps_q)
        multiply_rows<tiles, keys / 8, qk_width>(s, q_kept, k_tile);
      else
        multiply_rows<tiles, keys / 8, qk_width>(s, own_q, k_tile);
    }
    wait_copies<0>();
    __syncthreads();  // v is there, and nobody reads k any more
    tile = next(tile + 1);
    start_k(tile);
    if (is_seen) {
      const ScoreTile<RowsAre::queries, tiles, keys / 8> scores(plan, batch, head, first + own, key);
      if constexpr (has_bias) scores.add_biases(s);
      if (key + keys > plan.key_limit(first + own + 1) || plan.segments) scores.hide(s);
      float shrink[2 * tiles];
      online_softmax(s, has_bias ? 1.f : plan.scale_2, running, shrink);
      const bool is_larger = shrink[0] != 1 || shrink[1] != 1 || shrink[2] != 1 || shrink[3] != 1;
      if (__any_sync(all_lanes, is_larger)) {
#pragma unroll
        for (int m = 0; m < tiles; ++m)
#pragma unroll
          for (int n = 0; n < v_width / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) sums[m][n][i] *= shrink[2 * m + i / 2];
      }
      uint32_t pattern[tiles][keys / 16][4];
      pack(pattern, s);
      add_weighted_rows<tiles, keys / 8, v_width>(sums, pattern, v_tile);
    }
    wait_copies<0>();
    __syncthreads();  // the next k is there, and nobody reads v any more
  }

  float factors[2 * tiles];
  const int lane = lane_of_warp(), own_first = first + own;
#pragma unroll
  for (int half = 0; half < 2 * tiles; ++half) {
    float sum = running.sum[half];
    sum += __shfl_xor_sync(all_lanes, sum, 1);
    sum += __shfl_xor_sync(all_lanes, sum, 2);
    factors[half] = sum == 0 ? 0.f : 1 / sum;  // 0: a bias of -inf hides every key
    const int query = own_first + 8 * half + lane / 4;
    if (lane % 4 == 0 && query < plan.q_length)
      log_sum_exp[(static_cast<int64_t>(batch) * plan.heads + head) * plan.q_length + query] =
          (running.largest[half] * (has_bias ? 1.f : plan.scale_2) + log2f(sum)) * ln_2;
  }
  if (own_first < plan.q_length)
    store_rows<tiles, v_width>(sums, factors, shared + own * v_width, out.at(batch, head, own_first), out.row_step,
                               plan.q_length - own_first, plan.v_width);
}

}  // namespace

void attention_tensor_forward(const AttentionProblem& problem) {
  const Prepared ready = prepared(problem);
  const Plan& plan = ready.plan;
  with_kernel(problem, [&]<Kind kind, int qk_width, int v_width>() {
    const size_t bytes = sizeof(bf16) * (rows * qk_width + keys * (qk_width + v_width));
    launch("attention", forward_kernel<kind, qk_width, v_width>,
           Grid{pieces(problem.q_length, rows), problem.heads, problem.batches}, threads, bytes, plan,
           to_read(problem.q), to_read(problem.k), to_read(problem.v), to_write(problem.out),
           static_cast<float*>(problem.log_sum_exp), ready.rotation);
  });
}

}  // namespace phasor::cuda
