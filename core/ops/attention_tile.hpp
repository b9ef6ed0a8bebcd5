// What both directions of the fused attention share: the problem, and a tile of query rows against a block of keys.
//
// Scores of a tile are kept transposed, [keys, rows]: the statistics of the rows are then vectors, and only the small
// tile of q needs transposing. What causality hides is neither computed nor read, but for one vector of rows on the
// diagonal. Tiles follow from the extents alone.
#pragma once

#include <cmath>
#include <limits>
#include <unordered_map>

#include "core/ops/attention.hpp"
#include "core/tile_product.hpp"

namespace phasor::fused_attention {

constexpr int64_t tile_rows = 64;    // query rows of a tile, and the distance of its keys in memory
constexpr int64_t block_keys = 256;  // keys of a block; its scores stay in the second-level cache

inline int64_t pieces(int64_t extent, int64_t tile) { return (extent + tile - 1) / tile; }

// A tensor [batch, heads, length, dim] as the products read it: rows of dim channels, ld apart.
template <class T>
struct Rows {
  T* data;
  int64_t batch_step, head_step, ld;
  explicit Rows(const Tensor& x)
      : data(x.data<T>()), batch_step(x.stride(0)), head_step(x.stride(1)), ld(std::max(x.stride(2), x.extent(3))) {}
  T* at(int64_t batch, int64_t head, int64_t row) const {
    return data + batch * batch_step + head * head_step + row * ld;
  }
};

inline bool has_rows(const Tensor& x) {
  return (x.stride(3) == 1 || x.extent(3) <= 1) && (x.stride(2) >= x.extent(3) || x.extent(2) <= 1);
}

inline Tensor with_rows(const Tensor& x) { return has_rows(x) ? x : x.clone(); }

// attention_turns without its checks.
inline bool turns_inside(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                         const AttentionBias& bias) {
  if constexpr (kHasCuda)
    if (q.is_on(Device::cuda)) return options.rotation && cuda::attention_turns(q, k, v, options, bias);
  return false;
}

// Attention with a rotation is rotary, then attention without one.
struct TurnedBefore {
  Tensor q, k;
  AttentionOptions options;

  TurnedBefore(const Tensor& q_, const Tensor& k_, const AttentionOptions& given) : options(given) {
    const AttentionRotation& by = *given.rotation;
    q = rotary(q_, by.q_cos, by.q_sin, by.layout);
    k = rotary(k_, by.k_cos, by.k_sin, by.layout);
    options.rotation.reset();
  }
};

// What both directions know about the problem.
struct Problem {
  int64_t batches, heads, kv_heads, q_length, k_length, qk_dim, v_dim;
  double scale;
  Causal causal;
  Tensor labels;  // the segment of each key, [batch or 1, k_length], in the dtype of q; undefined without segments

  Problem(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options)
      : batches(q.extent(0)),
        heads(q.extent(1)),
        kv_heads(k.extent(1)),
        q_length(q.extent(2)),
        k_length(k.extent(2)),
        qk_dim(q.extent(3)),
        v_dim(v.extent(3)),
        scale(options.scale.value_or(1 / std::sqrt(static_cast<double>(qk_dim)))),
        causal(options.causal) {
    if (options.segments.defined()) labels = consecutive(options.segments).to(q.dtype());
  }

  int64_t group() const { return heads / kv_heads; }
  int64_t ahead() const { return k_length - q_length; }  // query i stands at key index i + ahead
  // Keys that rows before `row_end` may see; the others are not touched.
  int64_t key_limit(int64_t row_end) const { return causal == Causal::yes ? row_end + ahead() : k_length; }
  // The first tile of query rows that sees the key.
  int64_t first_tile(int64_t key) const {
    return causal == Causal::yes ? std::max<int64_t>(0, key - ahead()) / tile_rows * tile_rows : 0;
  }
  template <class T>
  const T* labels_of(int64_t batch) const {
    return labels.defined() ? labels.data<T>() + (labels.extent(0) == 1 ? 0 : batch * k_length) : nullptr;
  }
  // False only if no key of [start, end) is of the segment of a query of [first, first + rows): if the ranges of their
  // labels do not meet. Labels grow along packed documents, so that this finds every such pair of a tile and a block.
  template <class T>
  bool may_share_segment(const T* own_labels, int64_t first, int64_t rows, int64_t start, int64_t end) const {
    if (!own_labels) return true;
    const T* const queries = own_labels + first + ahead();
    const auto [first_query, last_query] = std::minmax_element(queries, queries + rows);
    const auto [first_key, last_key] = std::minmax_element(own_labels + start, own_labels + end);
    return *first_key <= *last_query && *first_query <= *last_key;
  }

 private:
  // Ids renumbered 0, 1, ... in order of appearance: small enough to be exact as floating-point numbers.
  static Tensor consecutive(const Tensor& segments) {
    const Tensor ids = segments.to(Device::cpu).to(Dtype::i64).clone();
    std::unordered_map<int64_t, int64_t> number_of;
    for (int64_t i = 0; i < ids.size(); ++i) {
      int64_t& id = ids.data<int64_t>()[i];
      id = number_of.emplace(id, static_cast<int64_t>(number_of.size())).first->second;
    }
    return ids;
  }
};

// Query rows [first, first + rows) against keys [start, start + count), none of them later than what the last row sees.
// Scores lie at [key - start, row - first], tile_rows apart. A band is one vector of rows.
template <class T>
struct Tile {
  static constexpr int64_t lanes = simd::hn::MaxLanes(simd::Tag<T>());

  int64_t first, rows, start, count;
  int64_t first_hidden;  // row 0 sees the keys before this one of the tile, row r the keys before first_hidden + r

  Tile(const Problem& problem, int64_t first_, int64_t start_, int64_t end)
      : first(first_),
        rows(std::min(tile_rows, problem.q_length - first)),
        start(start_),
        count(std::min(end, problem.key_limit(first + rows)) - start),
        first_hidden(problem.causal == Causal::yes ? problem.key_limit(first + 1) - start : count) {}

  // From the row to key 0 of the tile, with causality; a key later is 1 nearer.
  int64_t distance(int64_t row) const { return first_hidden - 1 + row; }
  int64_t wide() const { return pieces(rows, lanes) * lanes; }
  int64_t keys_of_band(int64_t row) const { return std::clamp<int64_t>(first_hidden + row + lanes - 1, 0, count); }
  // body(begin, end, row): keys [begin, end) are seen from the band that starts at `row` on.
  template <class F>
  void for_each_strip(F body) const {
    // Cut where the bands end: a band's scores exist up to its last key only.
    for (int64_t row = 0, begin = 0; row < rows && begin < count; row += lanes) {
      const int64_t end = keys_of_band(row);
      if (end > begin) body(begin, end, row);
      begin = end;
    }
  }
  // body(begin, end, keys): rows [begin, end) see no more than the first `keys` keys.
  template <class F>
  void for_each_band(F body) const {
    if (keys_of_band(0) == count) return body(int64_t{0}, rows, count);
    for (int64_t row = 0; row < rows; row += lanes) body(row, std::min(row + lanes, rows), keys_of_band(row));
  }

  // -inf where a row of the band does not see the key: later than the query, or of another segment.
  void hide(const Problem& problem, const T* labels, int64_t row, T* score) const {
    const simd::Vec<T> hidden_score = simd::set<T>(-std::numeric_limits<T>::infinity());
    const int64_t keys = keys_of_band(row);
    for (int64_t key = std::max<int64_t>(0, first_hidden + row); key < keys; ++key) {
      T* const s = score + key * tile_rows + row;
      const auto later = simd::hn::FirstN(simd::Tag<T>(), static_cast<size_t>(key - first_hidden - row + 1));
      simd::store<T>(simd::hn::IfThenElse(later, hidden_score, simd::load<T>(s)), s);
    }
    if (!labels) return;
    const simd::Vec<T> own = simd::load_first<T>(std::min(lanes, rows - row), labels + first + row + problem.ahead());
    for (int64_t key = 0; key < keys; ++key) {
      T* const s = score + key * tile_rows + row;
      const auto other = simd::hn::Ne(own, simd::set<T>(labels[start + key]));
      simd::store<T>(simd::hn::IfThenElse(other, hidden_score, simd::load<T>(s)), s);
    }
  }
};

// y [keys, rows] = x [keys, dim] times a transposed tile of rows [dim, rows]
template <class T>
void multiply_transposed(const Tile<T>& tile, int64_t dim, const T* x, int64_t ld, const T* transposed, T* y) {
  tile.for_each_strip([&](int64_t begin, int64_t end, int64_t row) {
    tile_product<T>(end - begin, tile.wide() - row, dim, {x + begin * ld, ld, 1}, transposed + row, tile_rows,
                    y + begin * tile_rows + row, tile_rows, Onto::zero);
  });
}

// y [rows, dim] (+)= the transpose of w [keys, rows] times x [keys, dim]
template <class T>
void sum_over_keys(const Tile<T>& tile, int64_t dim, const T* w, const T* x, int64_t ld, T* y, int64_t ld_y,
                   Onto onto) {
  tile.for_each_band([&](int64_t begin, int64_t end, int64_t keys) {
    tile_product<T>(end - begin, dim, keys, {w + begin, 1, tile_rows}, x, ld, y + begin * ld_y, ld_y, onto);
  });
}

// y [keys, dim] (+)= w [keys, rows] times x [rows, dim], x without gaps
template <class T>
void sum_over_rows(const Tile<T>& tile, int64_t dim, const T* w, const T* x, T* y, int64_t ld_y, Onto onto) {
  tile.for_each_strip([&](int64_t begin, int64_t end, int64_t row) {
    tile_product<T>(end - begin, dim, tile.rows - row, {w + begin * tile_rows + row, tile_rows, 1}, x + row * dim, dim,
                    y + begin * ld_y, ld_y, onto);
  });
}

}  // namespace phasor::fused_attention
