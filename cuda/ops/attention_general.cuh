// The pieces of attention by FMAs, for f32, f64 and bf16 (then in f32) and for any width.
//
// A block owns a tile of rows (queries, or keys) and walks over tiles of the others. Every product of a tile is one of
// two: scores, own rows times other rows, in chunks of their width; and weighted sums of other rows. A thread holds
// R x 4 scores, of rows that a warp shares and of columns 16 apart: of rows that are this far apart in shared memory,
// packs of 16 bytes lie in different banks.
#pragma once

#include "cuda/elementwise.cuh"
#include "cuda/ops/attention_problem.cuh"

namespace phasor::cuda {
namespace {

namespace general_attention {

constexpr int threads = 128, lanes = 16;       // lanes: threads that share a row
constexpr int column_groups = 4;               // of scores, for each thread
constexpr int others = lanes * column_groups;  // rows of a tile of the others
constexpr int chunk = 32;                      // of the width of rows, in shared memory

template <class A>
constexpr int pack_size = 16 / sizeof(A);
template <class A>
constexpr int rows_of_thread = sizeof(A) == 8 ? 4 : 8;
template <class A>
constexpr int own_rows = threads / lanes* rows_of_thread<A>;
// Distances of rows in shared memory.
template <class A>
constexpr int chunk_step = chunk + pack_size<A>;
template <class A>
constexpr int weight_step = others + pack_size<A>;

// [batch, heads, length, width] as kernels read it.
template <class T>
struct Rows {
  T* data;
  int64_t batch_step, head_step, row_step;
  int width;
  bool has_packs;  // 16 bytes at a time, from the first column on

  Rows(const AttentionRows& rows, int width_)
      : data(static_cast<T*>(rows.data)),
        batch_step(rows.batch_step),
        head_step(rows.head_step),
        row_step(rows.row_step),
        width(width_) {
    constexpr int count = 16 / sizeof(T);
    has_packs = reinterpret_cast<uintptr_t>(data) % 16 == 0 && batch_step % count == 0 && head_step % count == 0 &&
                row_step % count == 0 && width % count == 0;
  }
  __device__ T* at(int batch, int head, int row) const {
    return data + batch * batch_step + head * head_step + row * row_step;
  }
};

// What the scores of all kernels follow from.
template <class A>
struct Scores {
  int heads, group, q_length, k_length;
  int ahead;  // query i stands at key index i + ahead
  bool is_causal;
  A scale;
  const int32_t* segments;
  int64_t segments_batch_step;
  DistanceBias by_distance;
  PositionBias by_position;

  explicit Scores(const AttentionProblem& p)
      : heads(p.heads),
        group(p.heads / p.kv_heads),
        q_length(p.q_length),
        k_length(p.k_length),
        ahead(p.k_length - p.q_length),
        is_causal(p.is_causal),
        scale(static_cast<A>(p.scale)),
        segments(p.segments),
        segments_batch_step(p.segments_batch_step),
        by_distance(p.by_distance),
        by_position(p.by_position) {}

  // The first key that queries before `query` do not see.
  __device__ int key_limit(int query) const { return is_causal ? min(query + ahead, k_length) : k_length; }
  __device__ const int32_t* segments_of(int batch) const { return segments + batch * segments_batch_step; }
};

// Element `at` of a bias: bf16 where is_bf16, else an A.
template <class A>
__device__ A bias_at(const void* bias, Dtype dtype, int64_t at) {
  if constexpr (sizeof(A) == 4)
    if (dtype == Dtype::bf16) return static_cast<A>(static_cast<const bf16*>(bias)[at]);
  return static_cast<const A*>(bias)[at];
}
template <class A>
__device__ void store_bias(void* bias, Dtype dtype, int64_t at, A value) {
  if constexpr (sizeof(A) == 4)
    if (dtype == Dtype::bf16) {
      static_cast<bf16*>(bias)[at] = bf16(value);
      return;
    }
  static_cast<A*>(bias)[at] = value;
}

template <class A>
__device__ A infinity();
template <>
__device__ float infinity<float>() {
  return __int_as_float(0x7f800000);
}
template <>
__device__ double infinity<double>() {
  return __longlong_as_double(0x7ff0000000000000ll);
}

// Where a thread's scores stand in a tile.
struct Lane {
  int column = static_cast<int>(threadIdx.x) % lanes, half = static_cast<int>(threadIdx.x) / lanes % 2;
  int warp_index = static_cast<int>(threadIdx.x) / warp;
};
template <int R>
__device__ int row_of(const Lane& lane, int i) {
  return 2 * R * lane.warp_index + 2 * i + lane.half;
}

// Columns [column, column + columns) of rows from `from` on into shared memory, rows `step` apart. What is not there
// becomes 0: rows behind the first `there`, up to `rows_needed`, and columns behind the last, up to a whole pack or, if
// all_columns, to the end.
template <int rows, int columns, int step, bool all_columns, class T, class A>
__device__ void load_tile(A* to, const T* from, int64_t row_step, int there, int rows_needed, int column, int width,
                          bool has_packs) {
  const int thread = static_cast<int>(threadIdx.x), left = width - column;
  constexpr int count = 16 / sizeof(T), at_once = 4;
  if (has_packs) {
    constexpr int in_row = columns / count, total = rows * in_row;
    static_assert(total % threads == 0);
#pragma unroll 1
    for (int first = thread; first < total; first += at_once * threads) {
      Pack<T, count> packs[at_once];
#pragma unroll
      for (int n = 0; n < at_once; ++n) {
        const int i = first + n * threads, row = i / in_row, at = i % in_row * count;
        packs[n] = {};
        if (i < total && row < there && at < left) packs[n] = load_pack<count>(from + row * row_step + column + at);
      }
#pragma unroll
      for (int n = 0; n < at_once; ++n) {
        const int i = first + n * threads, row = i / in_row, at = i % in_row * count;
        if (i >= total || row >= rows_needed || (!all_columns && at >= left)) continue;
#pragma unroll
        for (int part = 0; part < count; part += pack_size<A>) {
          Pack<A, pack_size<A>> numbers;
#pragma unroll
          for (int k = 0; k < pack_size<A>; ++k) numbers.values[k] = static_cast<A>(packs[n].values[part + k]);
          store_pack(to + row * step + at + part, numbers);
        }
      }
    }
    return;
  }
#pragma unroll 4
  for (int i = thread; i < rows * columns; i += threads) {
    const int row = i / columns, at = i % columns;
    if (row >= rows_needed || (!all_columns && at >= left + pack_size<A> - 1)) continue;
    A number = 0;
    if (row < there && at < left) number = static_cast<A>(from[row * row_step + column + at]);
    to[row * step + at] = number;
  }
}

// A tile whose rows are summed, of which the first `there` exist.
template <int columns, class T, class A>
__device__ void load_summed(A* to, const T* from, int64_t row_step, int there, int column, int width, bool has_packs) {
  load_tile<others, columns, columns, true>(to, from, row_step, there, there + pack_size<A> - 1, column, width,
                                            has_packs);
}

// s += own rows times other rows, over `width` columns of one chunk; columns behind them are 0 up to a whole pack.
template <int R, class A>
__device__ void multiply(A (&s)[R][column_groups], const Lane& lane, const A* own, const A* other, int width) {
  constexpr int count = pack_size<A>;
  own += row_of<R>(lane, 0) * chunk_step<A>;
  other += lane.column * chunk_step<A>;
#pragma unroll 1
  for (int d = 0; d < width; d += count) {
    Pack<A, count> a[R];
#pragma unroll
    for (int i = 0; i < R; ++i) a[i] = load_pack<count>(own + 2 * i * chunk_step<A> + d);
#pragma unroll
    for (int j = 0; j < column_groups; ++j) {
      const Pack<A, count> b = load_pack<count>(other + j * lanes * chunk_step<A> + d);
#pragma unroll
      for (int k = 0; k < count; ++k)
#pragma unroll
        for (int i = 0; i < R; ++i) s[i][j] += a[i].values[k] * b.values[k];
    }
  }
}

// Rows of the block's own tile, all chunks in shared memory if there is room, else loaded again for each product.
template <class T>
struct OwnRows {
  const T* from;
  int64_t row_step;
  int there, width;
  bool has_packs, is_kept;

  // Distance of the chunks in shared memory.
  template <class A>
  static constexpr int chunk_size = own_rows<A>* chunk_step<A>;

  template <class A>
  __device__ void load(A* to, int column) const {
    load_tile<own_rows<A>, chunk, chunk_step<A>, false>(to, from, row_step, there, own_rows<A>, column, width,
                                                        has_packs);
  }
  template <class A>
  __device__ void load_kept(A* to) const {
    for (int column = 0; is_kept && column < width; column += chunk) load(to + column / chunk * chunk_size<A>, column);
  }
};

// s = own rows times the other rows. All threads come; `is_needed` is the warp's. `beside` loads what else the tile
// needs once nobody reads the tile before any more.
template <class T, class A, int R, class F>
__device__ void multiply_rows(A (&s)[R][column_groups], const Lane& lane, const OwnRows<T>& own, A* own_shared,
                              const T* other, int64_t other_step, int other_there, bool other_has_packs,
                              A* other_shared, bool is_needed, F beside) {
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int j = 0; j < column_groups; ++j) s[i][j] = 0;
#pragma unroll 1
  for (int column = 0; column < own.width; column += chunk) {
    A* const own_chunk = own_shared + (own.is_kept ? column / chunk * OwnRows<T>::template chunk_size<A> : 0);
    __syncthreads();
    if (!own.is_kept) own.load(own_chunk, column);
    load_tile<others, chunk, chunk_step<A>, false>(other_shared, other, other_step, other_there, others, column,
                                                   own.width, other_has_packs);
    if (column == 0) beside();
    __syncthreads();
    if (is_needed) multiply<R>(s, lane, own_chunk, other_shared, min(chunk, own.width - column));
  }
}

// Of `columns` columns of the sums a thread holds columns / 16, in packs that lie 16 packs apart.
template <class A, int columns>
constexpr int sum_pack = columns / lanes < pack_size<A> ? columns / lanes : pack_size<A>;
template <class A, int columns>
__device__ int column_of(const Lane& lane, int c) {
  constexpr int count = sum_pack<A, columns>;
  return (c / count * lanes + lane.column) * count + c % count;
}

// sums += weights [own rows, others] times rows [others, columns], the first `there` of the others.
template <int R, int columns, class A>
__device__ void add_weighted_rows(A (&sums)[R][columns / lanes], const Lane& lane, const A* weights, const A* rows,
                                  int there) {
  constexpr int count = pack_size<A>, part = sum_pack<A, columns>;
  weights += row_of<R>(lane, 0) * weight_step<A>;
#pragma unroll 1
  for (int first = 0; first < there; first += count) {
    Pack<A, count> w[R];
#pragma unroll
    for (int i = 0; i < R; ++i) w[i] = load_pack<count>(weights + 2 * i * weight_step<A> + first);
#pragma unroll
    for (int k = 0; k < count; ++k)
#pragma unroll
      for (int c = 0; c < columns / lanes; c += part) {
        const Pack<A, part> x = load_pack<part>(rows + (first + k) * columns + column_of<A, columns>(lane, c));
#pragma unroll
        for (int n = 0; n < part; ++n)
#pragma unroll
          for (int i = 0; i < R; ++i) sums[i][c + n] += w[i].values[k] * x.values[n];
      }
  }
}

template <int R, class A>
__device__ void store_weights(A* weights, const Lane& lane, const A (&w)[R][column_groups]) {
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int j = 0; j < column_groups; ++j)
      weights[row_of<R>(lane, i) * weight_step<A> + j * lanes + lane.column] = w[i][j];
}

// Writes sums times a factor of each row to columns from `column` on of rows that exist.
template <int R, int columns, class T, class A>
__device__ void store_rows(const Rows<T>& to, T* first_row, int there, int column, const Lane& lane,
                           const A (&sums)[R][columns / lanes], const A (&factors)[R]) {
  constexpr int part = sum_pack<A, columns>;
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int row = row_of<R>(lane, i);
    if (row >= there) continue;
    T* const at = first_row + row * to.row_step + column;
#pragma unroll
    for (int c = 0; c < columns / lanes; c += part) {
      const int own = column_of<A, columns>(lane, c);
      Pack<T, part> numbers;
#pragma unroll
      for (int n = 0; n < part; ++n) numbers.values[n] = static_cast<T>(sums[i][c + n] * factors[i]);
      if (to.has_packs && column + own < to.width) {
        store_pack(at + own, numbers);
      } else {
#pragma unroll
        for (int n = 0; n < part; ++n)
          if (column + own + n < to.width) at[own + n] = numbers.values[n];
      }
    }
  }
}

enum class Own { queries, keys };

// Products to scores: scaled, biases added, -inf where the query does not see the key or either does not exist. The
// tile's own rows begin at own_first, the others at other_first; their segments lie in shared memory.
template <Own own, int R, class A>
__device__ void finish_scores(A (&s)[R][column_groups], const Lane& lane, const Scores<A>& scores, int batch, int head,
                              int own_first, int other_first, const int* own_segments, const int* other_segments) {
#pragma unroll
  for (int i = 0; i < R; ++i)
#pragma unroll
    for (int j = 0; j < column_groups; ++j) s[i][j] *= scores.scale;
  constexpr int query_count = own == Own::queries ? own_rows<A> : others;
  constexpr int key_count = own == Own::queries ? others : own_rows<A>;
  const int first_query = own == Own::queries ? own_first : other_first;
  const int first_key = own == Own::queries ? other_first : own_first;
  const bool all_are_seen = !scores.segments && first_query + query_count <= scores.q_length &&
                            first_key + key_count <= scores.key_limit(first_query + 1);
  if (all_are_seen && !scores.by_distance.data && !scores.by_position.data) return;

  const int64_t distance_row = head * scores.by_distance.head_step + scores.ahead;
  const int64_t position_row = batch * scores.by_position.batch_step + head * scores.by_position.head_step;
#pragma unroll
  for (int i = 0; i < R; ++i) {
    const int own_index = row_of<R>(lane, i);
#pragma unroll
    for (int j = 0; j < column_groups; ++j) {
      const int other_index = j * lanes + lane.column;
      const int query = first_query + (own == Own::queries ? own_index : other_index);
      const int key = first_key + (own == Own::queries ? other_index : own_index);
      bool is_seen = query < scores.q_length && key < scores.key_limit(query + 1);
      if (is_seen && scores.segments) is_seen = own_segments[own_index] == other_segments[other_index];
      if (!is_seen) {
        s[i][j] = -infinity<A>();
        continue;
      }
      if (scores.by_distance.data)
        s[i][j] += bias_at<A>(scores.by_distance.data, scores.by_distance.dtype, distance_row + (query - key));
      if (scores.by_position.data)
        s[i][j] += bias_at<A>(scores.by_position.data, scores.by_position.dtype,
                              position_row + query * scores.by_position.query_step + key * scores.by_position.key_step);
    }
  }
}

// Segments of a block's own rows and of a tile of the others, in shared memory. They begin at key index `first`;
// `there` of them exist.
struct SegmentRange {
  int smallest = 0, largest = 0;
};
template <int rows>
__device__ void load_segments(int* to, const int32_t* segments, int first, int there) {
  for (int i = static_cast<int>(threadIdx.x); i < rows; i += threads) to[i] = i < there ? segments[first + i] : -1;
}
__device__ inline SegmentRange range_of(const int* segments, int there) {
  SegmentRange range = {segments[0], segments[0]};
  for (int i = 1; i < there; ++i) {
    range.smallest = min(range.smallest, segments[i]);
    range.largest = max(range.largest, segments[i]);
  }
  return range;
}
// Loads the segments of a tile; false if none of them is in the range of the block's own. For all threads alike.
__device__ inline bool load_shared_segments(int* to, const int32_t* segments, int first, int there,
                                            const SegmentRange& own) {
  __syncthreads();  // of the tile before
  bool is_shared = false;
  const int i = static_cast<int>(threadIdx.x);
  if (i < others) {
    const int segment = i < there ? segments[first + i] : -1;
    is_shared = i < there && own.smallest <= segment && segment <= own.largest;
    to[i] = segment;
  }
  return __syncthreads_or(is_shared);
}

// Shared memory of the kernels, in elements: chunks of own rows, a chunk of the others, a tile of the rows that are
// summed, the weights.
constexpr size_t room = 96 * 1024;  // bytes: two blocks on every multiprocessor that has 192 KB
template <class A, int columns>
constexpr int fixed_size = others*(chunk_step<A> + columns) + own_rows<A>* weight_step<A>;
template <class A>
constexpr int own_chunk_size = own_rows<A>* chunk_step<A>;

inline int chunks_of(int width) { return static_cast<int>(pieces(width, chunk)); }

}  // namespace general_attention

}  // namespace
}  // namespace phasor::cuda
