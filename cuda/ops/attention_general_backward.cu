// Attention by FMAs, backward: a kernel for each of dq, dk and dv.
//
// With p = e^(s - log_sum_exp) recomputed (Dao et al., FlashAttention, arXiv:2205.14135):
//   dv = p^T dout     dp = dout v^T     ds = p (dp - delta)     dq = scale ds k     dk = scale ds^T q     dbias = ds
// delta = rowsum(dout out) - dlog_sum_exp. A block owns a tile of queries (dq) or keys (dk, dv) and some columns of the
// result, and walks over all that it meets: nothing is added by two blocks, and no score goes through memory.
#include "core/tensor.hpp"
#include "cuda/ops/attention_general.cuh"

namespace phasor::cuda {
namespace {

using namespace general_attention;

// delta [batch, heads, q_length]: a warp for each row.
template <class T>
__global__ void __launch_bounds__(threads)
    delta_kernel(int64_t rows, int heads, int q_length, Rows<const T> out, Rows<const T> dout,
                 const Computed<T>* dlog_sum_exp, Computed<T>* delta) {
  using A = Computed<T>;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * (threads / warp) + threadIdx.x / warp;
  if (i >= rows) return;  // the whole warp
  const int lane = static_cast<int>(threadIdx.x) % warp, row = static_cast<int>(i % q_length);
  const int head = static_cast<int>(i / q_length % heads), batch = static_cast<int>(i / q_length / heads);
  A sum = 0;
  if (dout.data) {
    const T *const y = out.at(batch, head, row), *const dy = dout.at(batch, head, row);
    for (int column = lane; column < out.width; column += warp)
      sum += static_cast<A>(y[column]) * static_cast<A>(dy[column]);
  }
#pragma unroll
  for (int step = warp / 2; step > 0; step /= 2) sum += __shfl_xor_sync(all_lanes, sum, step);
  if (lane == 0) delta[i] = dlog_sum_exp ? sum - dlog_sum_exp[i] : sum;
}

enum class Result { dq, dk, dv };

template <class T>
struct Backward {
  using A = Computed<T>;
  Scores<A> scores;
  Rows<const T> q, k, v, dout;
  Rows<T> result;
  const A *log_sum_exp, *delta;  // [batch, heads, q_length]
  int tiles, parts;              // of the block's own rows, of the result's columns
  int slots;                     // blocks that share the tiles of a head
  bool keeps_qk, keeps_v;        // own rows for the products of q and k, of dout and v
  // Of dq alone.
  A* distance_sums;    // [batch, slots, heads, k_length], zeros; null: not wanted
  void* dby_position;  // [batch, heads, q_length, k_length]; null: not wanted
};

// Adds the gradients of a tile's scores to the sums of their distances: a thread for each diagonal. `corner` is the
// distance of the first query and key.
template <class A>
__device__ void add_by_distance(const A* ds, int corner, int k_length, A* sums) {
  constexpr int rows = own_rows<A>;
  static_assert(rows + others - 1 <= threads);
  const int step = static_cast<int>(threadIdx.x) - (rows - 1), distance = corner - step;  // column - row
  if (step >= others || distance < 0 || distance >= k_length) return;
  A sum = 0;
  for (int row = max(0, -step); row < min(rows, others - step); ++row) sum += ds[row * weight_step<A> + row + step];
  sums[distance] += sum;
}

template <int R, class A>
__device__ void store_by_position(const A (&ds)[R][column_groups], const Lane& lane, const Scores<A>& scores,
                                  void* dbias, int64_t line, int first_query, int first_key) {
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int j = 0; j < column_groups; ++j) {
      const int query = first_query + row_of<R>(lane, i), key = first_key + j * lanes + lane.column;
      if (query < scores.q_length && key < scores.k_length)
        store_bias(dbias, scores.by_position.dtype,
                   (line * scores.q_length + query) * static_cast<int64_t>(scores.k_length) + key, ds[i][j]);
    }
}

template <class T, int columns, Result result>
__global__ void __launch_bounds__(threads, 2) backward_kernel(Backward<T> x) {
  using A = Computed<T>;
  constexpr int R = rows_of_thread<A>, rows = own_rows<A>;
  constexpr Own own = result == Result::dq ? Own::queries : Own::keys;
  const Scores<A>& scores = x.scores;
  PHASOR_SHARED(A, shared);
  A* const other_shared = shared;
  A* const summed_shared = other_shared + others * chunk_step<A>;
  A* const weights = summed_shared + others * columns;
  A* const own_qk_shared = weights + rows * weight_step<A>;
  A* const own_v_shared = own_qk_shared + (x.keeps_qk ? (x.q.width + chunk - 1) / chunk : 1) * own_chunk_size<A>;
  __shared__ int own_segments[rows], other_segments[others];
  // Of the queries, which are the block's own rows or the others.
  constexpr int queries = own == Own::queries ? rows : others;
  __shared__ A log_sum_exp[queries], delta[queries];

  unsigned index = blockIdx.x;
  const int slot = static_cast<int>(index % x.slots);
  index /= x.slots;
  const int part = static_cast<int>(index % x.parts);
  index /= x.parts;
  const int own_heads = own == Own::queries ? scores.heads : scores.heads / scores.group;
  const int own_head = static_cast<int>(index % own_heads), batch = static_cast<int>(index / own_heads);
  const int column = part * columns;
  const bool wants_biases = result == Result::dq && part == 0;
  A* const distance_sums =
      wants_biases && x.distance_sums
          ? x.distance_sums +
                ((static_cast<int64_t>(batch) * x.slots + slot) * scores.heads + own_head) * scores.k_length
          : nullptr;
  const Lane lane;
  const int warp_row = 2 * R * lane.warp_index;

  const auto load_statistics = [&](int head, int first) {
    const int64_t line = (static_cast<int64_t>(batch) * scores.heads + head) * scores.q_length;
    for (int i = static_cast<int>(threadIdx.x); i < queries; i += threads) {
      const bool is_there = first + i < scores.q_length;
      const A statistic = is_there ? x.log_sum_exp[line + first + i] : A(0);
      // 0 for a row that sees no key, so that its p is e^(-inf - 0) = 0.
      log_sum_exp[i] = statistic == -infinity<A>() ? A(0) : statistic;
      delta[i] = is_there ? x.delta[line + first + i] : A(0);
    }
  };

  // To and fro, so that no slot has all the long ones; the last queries and the first keys, which meet the most, begin.
#pragma unroll 1
  for (int turn = 0; turn * x.slots < x.tiles; ++turn) {
    const int order = turn * x.slots + (turn % 2 == 0 ? slot : x.slots - 1 - slot);
    if (order >= x.tiles) break;
    const int first = (own == Own::queries ? x.tiles - 1 - order : order) * rows;
    const int there = min(rows, (own == Own::queries ? scores.q_length : scores.k_length) - first);
    const int warp_there = min(warp_row + 2 * R, there);
    // What the tile meets: keys before `end`, or queries from `begin` on.
    const int begin = own == Own::keys && scores.is_causal ? max(0, first - scores.ahead) / others * others : 0;
    int end = own == Own::queries ? scores.key_limit(first + there) : scores.q_length;
    if (result == Result::dv && !x.dout.data) end = 0;
    const Rows<const T>&own_qk = own == Own::queries ? x.q : x.k, &other_qk = own == Own::queries ? x.k : x.q;
    const Rows<const T>&own_v = own == Own::queries ? x.dout : x.v, &other_v = own == Own::queries ? x.v : x.dout;
    const Rows<const T>& summed = result == Result::dq ? x.k : result == Result::dk ? x.q : x.dout;
    const bool has_dp = result != Result::dv && x.dout.data;

    __syncthreads();  // of the tile before
    const OwnRows<T> qk_rows{
        own_qk.at(batch, own_head, first), own_qk.row_step, there, own_qk.width, own_qk.has_packs, x.keeps_qk};
    const OwnRows<T> v_rows{has_dp ? own_v.at(batch, own_head, first) : nullptr,
                            own_v.row_step,
                            there,
                            own_v.width,
                            own_v.has_packs,
                            x.keeps_v};
    qk_rows.load_kept(own_qk_shared);
    if (has_dp) v_rows.load_kept(own_v_shared);
    if constexpr (own == Own::queries) load_statistics(own_head, first);
    SegmentRange range;
    if (scores.segments) {
      load_segments<rows>(own_segments, scores.segments_of(batch), own == Own::queries ? first + scores.ahead : first,
                          there);
      __syncthreads();
      range = range_of(own_segments, there);
    }

    A sums[R][columns / lanes] = {};
    const int first_head = own == Own::queries ? own_head : own_head * scores.group;
    const int last_head = own == Own::queries ? own_head + 1 : first_head + scores.group;
#pragma unroll 1
    for (int head = first_head; head < last_head; ++head) {
      const int other_head = own == Own::queries ? own_head / scores.group : head;
#pragma unroll 1
      for (int other = begin; other < end; other += others) {
        const int other_there = min(others, end - other);
        if (scores.segments &&
            !load_shared_segments(other_segments, scores.segments_of(batch),
                                  own == Own::queries ? other : other + scores.ahead, other_there, range))
          continue;
        // Whether some score of the warp is not hidden by causality.
        const bool is_seen =
            warp_row < there && (own == Own::queries ? other < scores.key_limit(first + warp_there)
                                                     : first + warp_row < scores.key_limit(other + other_there));
        A s[R][column_groups], ds[R][column_groups];
        multiply_rows(s, lane, qk_rows, own_qk_shared, other_qk.at(batch, other_head, other), other_qk.row_step,
                      other_there, other_qk.has_packs, other_shared, is_seen, [&] {
                        load_summed<columns>(summed_shared, summed.at(batch, other_head, other), summed.row_step,
                                             other_there, column, summed.width, summed.has_packs);
                        if constexpr (own == Own::keys) load_statistics(head, other);
                      });
        if (has_dp)
          multiply_rows(ds, lane, v_rows, own_v_shared, other_v.at(batch, other_head, other), other_v.row_step,
                        other_there, other_v.has_packs, other_shared, is_seen, [] {});
        if (is_seen) {
          finish_scores<own>(s, lane, scores, batch, head, first, other, own_segments, other_segments);
#pragma unroll
          for (int i = 0; i < R; ++i)
#pragma unroll
            for (int j = 0; j < column_groups; ++j) {
              const int query = own == Own::queries ? row_of<R>(lane, i) : j * lanes + lane.column;
              const A p = std::exp(s[i][j] - log_sum_exp[query]);
              if (result == Result::dv)
                s[i][j] = p;
              else
                s[i][j] = p * ((has_dp ? ds[i][j] : A(0)) - delta[query]);
            }
          if (wants_biases && x.dby_position)
            store_by_position(s, lane, scores, x.dby_position, static_cast<int64_t>(batch) * scores.heads + own_head,
                              first, other);
        } else {
#pragma unroll
          for (int i = 0; i < R; ++i)
#pragma unroll
            for (int j = 0; j < column_groups; ++j) s[i][j] = 0;
        }
        if (is_seen || distance_sums) store_weights<R>(weights, lane, s);
        if (distance_sums) {
          __syncthreads();
          add_by_distance(weights, first + scores.ahead - other, scores.k_length, distance_sums);
        }
        __syncwarp();  // a warp reads its own rows only
        if (is_seen) add_weighted_rows<R, columns>(sums, lane, weights, summed_shared, other_there);
      }
    }
    A factors[R];
#pragma unroll
    for (int i = 0; i < R; ++i) factors[i] = result == Result::dv ? A(1) : scores.scale;
    store_rows<R, columns>(x.result, x.result.at(batch, own_head, first), there, column, lane, sums, factors);
  }
}

template <Result result, int columns, class T>
void launch_backward(const AttentionProblem& p, Backward<T> x, int slots_at_most) {
  using A = Computed<T>;
  const int length = result == Result::dq ? p.q_length : p.k_length;
  x.tiles = static_cast<int>(pieces(length, own_rows<A>));
  x.slots = std::min(x.tiles, slots_at_most);
  x.parts = static_cast<int>(pieces(x.result.width, columns));
  const bool has_dp = result != Result::dv && x.dout.data;
  // Own rows are kept where there is room, those of q and k first.
  size_t size = fixed_size<A, columns> + own_chunk_size<A> * (has_dp ? 2 : 1);
  const auto keeps = [&](int width) {
    const size_t more = own_chunk_size<A> * std::max(chunks_of(width) - 1, 0);
    const bool is_kept = (size + more) * sizeof(A) <= room;
    if (is_kept) size += more;
    return is_kept;
  };
  x.keeps_qk = keeps(p.qk_dim);
  x.keeps_v = has_dp && keeps(p.v_dim);
  const int64_t lines = int64_t{p.batches} * (result == Result::dq ? p.heads : p.kv_heads);
  launch("attention_backward", backward_kernel<T, columns, result>, Grid{x.slots * x.parts * lines}, threads,
         size * sizeof(A), x);
}

template <Result result, class T>
void backward(const AttentionProblem& p, Backward<T> x, const AttentionRows& rows, int width, int slots_at_most) {
  if (width == 0) return;
  x.result = Rows<T>(rows, width);
  if constexpr (std::is_same_v<T, float>) {
    if (width <= 32) return launch_backward<result, 32>(p, x, slots_at_most);
    if (width > 64) return launch_backward<result, 128>(p, x, slots_at_most);
  }
  launch_backward<result, 64>(p, x, slots_at_most);
}

// to [heads or 1, ...]: each distance's sum over parts [parts, lines, k_length], one after the other. `lines` is heads,
// or 1 where all heads share the bias.
template <class A>
__global__ void __launch_bounds__(threads) add_distance_kernel(const A* sums, int64_t parts, int64_t lines,
                                                               int k_length, void* to, Dtype dtype, int64_t head_step) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= lines * k_length) return;
  A sum = 0;
#pragma unroll 8
  for (int64_t part = 0; part < parts; ++part) sum += sums[part * lines * k_length + i];
  store_bias(to, dtype, i / k_length * head_step + i % k_length, sum);
}

template <class T>
void backward(const AttentionProblem& p) {
  using A = Computed<T>;
  constexpr Dtype accumulated = dtype_of<A>;
  const Tensor delta = Tensor::empty({p.batches, p.heads, p.q_length}, accumulated, Device::cuda);
  launch("attention_backward", delta_kernel<T>, Grid{pieces(delta.size(), threads / warp)}, threads, 0, delta.size(),
         p.heads, p.q_length, Rows<const T>(p.out, p.v_dim), Rows<const T>(p.dout, p.v_dim),
         static_cast<const A*>(p.dlog_sum_exp), delta.data<A>());

  const AttentionRows nothing;
  Backward<T> x{Scores<A>(p),
                Rows<const T>(p.q, p.qk_dim),
                Rows<const T>(p.k, p.qk_dim),
                Rows<const T>(p.v, p.v_dim),
                Rows<const T>(p.dout, p.v_dim),
                Rows<T>(nothing, 0),
                static_cast<const A*>(p.log_sum_exp),
                delta.data<A>(),
                0,
                0,
                0,
                false,
                false,
                nullptr,
                p.dby_position};
  // Blocks that keep sums by distance: as many as 132 multiprocessors run at once, by the kernel's launch bounds; few
  // enough that their memory grows with the length.
  constexpr int64_t blocks = 264;
  const int64_t lines = int64_t{p.batches} * p.heads, tiles = pieces(p.q_length, own_rows<A>);
  const int64_t slots = p.dby_distance ? std::min(tiles, pieces(blocks, lines)) : tiles;
  Tensor distance_sums;
  if (p.dby_distance) {
    distance_sums = Tensor::zeros({p.batches, slots, p.heads, p.k_length}, accumulated, Device::cuda);
    x.distance_sums = distance_sums.data<A>();
  }
  backward<Result::dq>(p, x, p.dq, p.qk_dim, static_cast<int>(slots));
  constexpr int all = std::numeric_limits<int>::max();
  backward<Result::dk>(p, x, p.dk, p.qk_dim, all);
  backward<Result::dv>(p, x, p.dv, p.v_dim, all);
  if (p.dby_distance) {
    const int64_t rows = p.dby_distance_head_step == 0 ? 1 : p.heads;
    launch("attention_backward", add_distance_kernel<A>, Grid{pieces(rows * p.k_length, threads)}, threads, 0,
           static_cast<const A*>(distance_sums.data<A>()), distance_sums.size() / (rows * p.k_length), rows, p.k_length,
           p.dby_distance, p.by_distance.dtype, p.dby_distance_head_step);
  }
}

}  // namespace

void attention_general_backward(const AttentionProblem& p) {
  if (p.dtype == Dtype::f64) return backward<double>(p);
  if (p.dtype == Dtype::bf16) return backward<bf16>(p);
  backward<float>(p);
}

}  // namespace phasor::cuda
