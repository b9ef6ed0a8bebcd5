// Which problems of attention the tensor cores take, and what both directions prepare for them: biases by distance with
// room on both sides, and the segments of every 64 keys.
#include <cmath>
#include <limits>

#include "cuda/ops/attention_tensor_plan.cuh"
#include "cuda/ops/attention_tensor_turn.cuh"

namespace phasor::cuda {
namespace {

using namespace attention_tensor;

constexpr int threads = 256;

// y [heads, margin + k_length + margin] = bias times log2(e); 0 in the margins.
template <class T>
__global__ void __launch_bounds__(threads) distance_kernel(int k_length, const T* bias, int64_t head_step, float* y) {
  const int i = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x), length = k_length + 2 * margin;
  if (i >= length) return;
  const int distance = i - margin, head = static_cast<int>(blockIdx.y);
  const bool is_inside = distance >= 0 && distance < k_length;
  y[static_cast<int64_t>(head) * length + i] =
      is_inside ? static_cast<float>(bias[head * head_step + distance]) * log2_e : 0.f;
}

// ranges [batch or 1, k_length / 64]: a warp for each.
__global__ void __launch_bounds__(threads) segment_kernel(int k_length, int count, const int* segments, int2* ranges) {
  const int range = static_cast<int>(blockIdx.x) * (threads / warp) + warp_of_block();
  if (range >= count) return;
  const int* const own = segments + static_cast<int64_t>(blockIdx.y) * k_length;
  int smallest = INT32_MAX, largest = INT32_MIN;
  for (int i = lane_of_warp(); i < segment_range_keys; i += warp) {
    const int key = range * segment_range_keys + i;
    if (key >= k_length) break;
    smallest = min(smallest, own[key]);
    largest = max(largest, own[key]);
  }
  __syncwarp();
#pragma unroll
  for (int step = warp / 2; step > 0; step /= 2) {
    smallest = min(smallest, __shfl_xor_sync(all_lanes, smallest, step));
    largest = max(largest, __shfl_xor_sync(all_lanes, largest, step));
  }
  if (lane_of_warp() == 0) ranges[static_cast<int64_t>(blockIdx.y) * count + range] = int2{smallest, largest};
}

bool is_width(int width) { return width >= 8 && width <= 128 && width % 8 == 0; }

// Rows that 16 bytes at a time can be copied from.
bool has_aligned_rows(const AttentionRows& x) {
  return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.batch_step % 8 == 0 && x.head_step % 8 == 0 &&
         x.row_step % 8 == 0 && x.row_step >= 0 && x.row_step <= std::numeric_limits<int>::max();
}

// Without a rotation, or with one that tiles are turned by: 8 components at a time, in tiles as wide for v as for q and
// k, without biases, whose kernels have no registers left. A tile of keys is turned again for each tile of queries of
// each head: as the text grows that costs more than passes of rotary over q and k, which grow with the length alone.
constexpr int longest_turned = 1024;
bool has_rotation_for_tiles(const AttentionProblem& p) {
  const auto is_aligned = [](const AttentionTables& tables) {
    const auto address = [](const float* x) { return reinterpret_cast<uintptr_t>(x); };
    return (address(tables.cos) | address(tables.sin)) % 16 == 0 && tables.batch_step % 4 == 0 &&
           tables.head_step % 4 == 0 && tables.row_step % 4 == 0 && tables.row_step >= 0 &&
           tables.row_step <= std::numeric_limits<int>::max();
  };
  return p.components == 0 || (p.components % 8 == 0 && tile_width(p.qk_dim) == tile_width(p.v_dim) &&
                               !p.by_distance.data && !p.by_position.data && p.q_length <= longest_turned &&
                               p.k_length <= longest_turned && is_aligned(p.q_tables) && is_aligned(p.k_tables));
}

bool is_even(int64_t step) { return step % 2 == 0; }

// Widths beyond 64 with sums by distance need 109 KB of shared memory, which GPUs for graphics do not give to a block.
bool has_much_shared_memory() {
  static const int capability = properties().compute_capability;
  return capability != 86 && capability != 89 && capability < 120;
}

}  // namespace

bool tensor_takes(const AttentionProblem& p) {
  constexpr int64_t most = std::numeric_limits<int>::max();
  for (const AttentionRows* rows : {&p.q, &p.k, &p.v, &p.out, &p.dout, &p.dq, &p.dk, &p.dv})
    if (!has_aligned_rows(*rows)) return false;
  // A scale below 0 would make the smallest product the largest score.
  const bool has_scale = p.scale > 0 && std::isfinite(static_cast<float>(p.scale));
  const bool has_lengths = p.q_length <= most - 2 * margin && p.k_length <= most - 2 * margin;
  const bool has_grid = p.batches <= 65535 && p.heads <= 65535;
  const bool has_position_steps =
      !p.by_position.data ||
      (p.by_position.query_step >= 0 && p.by_position.key_step >= 0 &&
       (p.q_length - 1) * p.by_position.query_step + p.k_length * p.by_position.key_step <= most);
  if (p.dby_distance && (p.qk_dim > 64 || p.v_dim > 64) && !has_much_shared_memory()) return false;
  return p.dtype == Dtype::bf16 && is_width(p.qk_dim) && is_width(p.v_dim) && has_scale && has_lengths && has_grid &&
         has_position_steps && has_rotation_for_tiles(p);
}

Prepared attention_tensor::prepared(const AttentionProblem& p) {
  Prepared result;
  Plan& plan = result.plan;
  plan.heads = p.heads;
  plan.group = p.heads / p.kv_heads;
  plan.q_length = p.q_length;
  plan.k_length = p.k_length;
  plan.ahead = p.k_length - p.q_length;
  plan.qk_width = p.qk_dim;
  plan.v_width = p.v_dim;
  plan.is_causal = p.is_causal;
  plan.scale = static_cast<float>(p.scale);
  plan.scale_2 = static_cast<float>(p.scale * 1.44269504088896340736);

  const auto tables = [](const AttentionTables& given) {
    return Tables{given.cos, given.sin, given.batch_step, given.head_step, static_cast<int>(given.row_step)};
  };
  result.rotation = {tables(p.q_tables), tables(p.k_tables), p.components / pack_components, p.is_interleaved};

  plan.segments = p.segments;
  plan.segments_batch_step = p.segments_batch_step;
  plan.segment_ranges = nullptr;
  if (p.segments) {
    const int64_t batches = p.segments_batch_step == 0 ? 1 : p.batches, ranges = pieces(p.k_length, segment_range_keys);
    result.segment_ranges = Tensor::empty({batches, ranges, 2}, Dtype::i32, Device::cuda);
    int2* const to = reinterpret_cast<int2*>(result.segment_ranges.data<int32_t>());
    launch("attention", segment_kernel, Grid{pieces(ranges, threads / warp), batches}, threads, 0, p.k_length, ranges,
           p.segments, to);
    plan.segment_ranges = to;
  }

  plan.by_distance = nullptr;
  plan.distance_head_step = 0;
  if (p.by_distance.data) {
    const int64_t heads = p.by_distance.head_step == 0 ? 1 : p.heads, length = p.k_length + 2 * margin;
    result.by_distance = Tensor::empty({heads, length}, Dtype::f32, Device::cuda);
    float* const to = result.by_distance.data<float>();
    const auto prepare = [&]<class T>() {
      launch("attention", distance_kernel<T>, Grid{pieces(length, threads), heads}, threads, 0, p.k_length,
             static_cast<const T*>(p.by_distance.data), p.by_distance.head_step, to);
    };
    if (p.by_distance.dtype == Dtype::f32)
      prepare.template operator()<float>();
    else
      prepare.template operator()<bf16>();
    plan.by_distance = to + margin;
    plan.distance_head_step = heads == 1 ? 0 : length;
  }

  const PositionBias& position = p.by_position;
  plan.by_position = position.data;
  plan.position_is_f32 = position.dtype == Dtype::f32;
  plan.position_batch_step = position.batch_step;
  plan.position_head_step = position.head_step;
  plan.position_query_step = static_cast<int>(position.query_step);
  plan.position_key_step = static_cast<int>(position.key_step);
  plan.position_has_pairs = position.key_step == 1 && is_even(p.k_length) && is_even(position.query_step) &&
                            is_even(position.head_step) && is_even(position.batch_step) &&
                            reinterpret_cast<uintptr_t>(position.data) % 4 == 0;
  return result;
}

}  // namespace phasor::cuda
