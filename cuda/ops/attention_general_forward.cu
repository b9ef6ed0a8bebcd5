// Attention by FMAs, forward: a block for a tile of queries and some columns of v.
//
// Online softmax (Milakov and Gimelshein, arXiv:1805.02867): over the tiles of keys keep each row's maximum m and sum l
// of e^(s - m); when m grows, what was summed so far shrinks by e^(m_old - m). A block for each part of v's columns
// computes the scores again, so that any width fits.
#include "cuda/ops/attention_general.cuh"

namespace phasor::cuda {
namespace {

using namespace general_attention;

// The largest and the sum of all columns of a row: over the lanes that share it.
template <class A>
__device__ A largest_of_row(A x) {
#pragma unroll
  for (int step = lanes / 2; step > 0; step /= 2) x = max(x, __shfl_xor_sync(all_lanes, x, step));
  return x;
}
template <class A>
__device__ A sum_of_row(A x) {
#pragma unroll
  for (int step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(all_lanes, x, step);
  return x;
}

template <class T, int columns>
__global__ void __launch_bounds__(threads, 2)
    forward_kernel(Scores<Computed<T>> scores, int tiles, int parts, bool keeps_q, Rows<const T> q, Rows<const T> k,
                   Rows<const T> v, Rows<T> out, Computed<T>* log_sum_exp) {
  using A = Computed<T>;
  constexpr int R = rows_of_thread<A>, rows = own_rows<A>;
  PHASOR_SHARED(A, shared);
  A* const k_shared = shared;
  A* const v_shared = k_shared + others * chunk_step<A>;
  A* const weights = v_shared + others * columns;
  A* const q_shared = weights + rows * weight_step<A>;
  __shared__ int own_segments[rows], other_segments[others];

  // Tiles of one head follow each other, and the last queries, which look at the most keys, begin.
  unsigned index = blockIdx.x;
  const int first = (tiles - 1 - static_cast<int>(index % tiles)) * rows;
  index /= tiles;
  const int part = static_cast<int>(index % parts);
  index /= parts;
  const int head = static_cast<int>(index % scores.heads), batch = static_cast<int>(index / scores.heads);
  const int kv_head = head / scores.group, column = part * columns;
  const int there = min(rows, scores.q_length - first), end = scores.key_limit(first + there);
  const Lane lane;
  const int warp_first = 2 * R * lane.warp_index;
  const int warp_end = warp_first < there ? scores.key_limit(first + min(warp_first + 2 * R, there)) : 0;

  const OwnRows<T> own{q.at(batch, head, first), q.row_step, there, q.width, q.has_packs, keeps_q};
  own.load_kept(q_shared);
  SegmentRange range;
  if (scores.segments) {
    load_segments<rows>(own_segments, scores.segments_of(batch), first + scores.ahead, there);
    __syncthreads();
    range = range_of(own_segments, there);
  }

  A sums[R][columns / lanes] = {}, largest[R], sum[R];  // sum: this lane's part
#pragma unroll
  for (int i = 0; i < R; ++i) largest[i] = -infinity<A>(), sum[i] = 0;
#pragma unroll 1
  for (int key = 0; key < end; key += others) {
    const int keys = min(others, end - key);
    if (scores.segments && !load_shared_segments(other_segments, scores.segments_of(batch), key, keys, range)) continue;
    const bool is_seen = key < warp_end;
    A s[R][column_groups];
    multiply_rows(
        s, lane, own, q_shared, k.at(batch, kv_head, key), k.row_step, keys, k.has_packs, k_shared, is_seen, [&] {
          load_summed<columns>(v_shared, v.at(batch, kv_head, key), v.row_step, keys, column, v.width, v.has_packs);
        });
    if (!is_seen) continue;
    finish_scores<Own::queries>(s, lane, scores, batch, head, first, key, own_segments, other_segments);
#pragma unroll
    for (int i = 0; i < R; ++i) {
      A now = largest[i];
#pragma unroll
      for (int j = 0; j < column_groups; ++j) now = max(now, s[i][j]);
      now = largest_of_row(now);
      // A row that has seen nothing yet keeps -inf; subtracting 0 then gives e^-inf = 0 and not NaN.
      const A shift = now == -infinity<A>() ? A(0) : now, shrink = std::exp(largest[i] - shift);
      A added = 0;
#pragma unroll
      for (int j = 0; j < column_groups; ++j) added += s[i][j] = std::exp(s[i][j] - shift);
      sum[i] = sum[i] * shrink + added;
      largest[i] = now;
#pragma unroll
      for (int c = 0; c < columns / lanes; ++c) sums[i][c] *= shrink;
    }
    store_weights<R>(weights, lane, s);
    __syncwarp();  // a warp reads its own rows only
    add_weighted_rows<R, columns>(sums, lane, weights, v_shared, keys);
  }

  A factors[R];
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const A total = sum_of_row(sum[i]);
    factors[i] = total == 0 ? A(0) : 1 / total;  // 0: a bias of -inf hides every key
    const int row = row_of<R>(lane, i);
    if (part == 0 && lane.column == 0 && row < there)
      log_sum_exp[(static_cast<int64_t>(batch) * scores.heads + head) * scores.q_length + first + row] =
          largest[i] + std::log(total);
  }
  store_rows<R, columns>(out, out.at(batch, head, first), there, column, lane, sums, factors);
}

template <class T, int columns>
void forward(const AttentionProblem& p) {
  using A = Computed<T>;
  const Scores<A> scores(p);
  const int tiles = static_cast<int>(pieces(p.q_length, own_rows<A>));
  const int parts = static_cast<int>(pieces(std::max(p.v_dim, 1), columns));
  size_t size = fixed_size<A, columns> + own_chunk_size<A> * chunks_of(p.qk_dim);
  const bool keeps_q = size * sizeof(A) <= room;
  if (!keeps_q) size = fixed_size<A, columns> + own_chunk_size<A>;
  launch("attention", forward_kernel<T, columns>, Grid{int64_t{tiles} * parts * p.heads * p.batches}, threads,
         size * sizeof(A), scores, tiles, parts, keeps_q, Rows<const T>(p.q, p.qk_dim), Rows<const T>(p.k, p.qk_dim),
         Rows<const T>(p.v, p.v_dim), Rows<T>(p.out, p.v_dim), static_cast<A*>(p.log_sum_exp));
}

}  // namespace

void attention_general_forward(const AttentionProblem& p) {
  if (p.dtype == Dtype::f64) return forward<double, 64>(p);
  if (p.dtype == Dtype::bf16) return forward<bf16, 64>(p);
  if (p.v_dim <= 32) return forward<float, 32>(p);
  if (p.v_dim <= 64) return forward<float, 64>(p);
  forward<float, 128>(p);
}

}  // namespace phasor::cuda
