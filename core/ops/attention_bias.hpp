// The biases of the scores as the fused attention reads them, and the way back from the gradient of the scores.
//
// By distance: for one key, the rows of a vector stand at neighbouring distances, so a vector of scores takes one
// vector of the bias. Its gradient goes back the same way, into a row of sums that belongs to one task. By position: a
// row of the bias runs along the keys, a vector of scores along the rows: squares of as many keys as a vector has lanes
// are transposed in registers.
#pragma once

#include "core/ops/attention_tile.hpp"
#include "core/ops/reduce.hpp"

namespace phasor::fused_attention {

// Lane c of v[r] and lane r of v[c] change places.
template <class T>
void transpose_square(simd::Vec<T>* v) {
  namespace hn = simd::hn;
  const simd::Tag<T> tag;
  constexpr int lanes = hn::MaxLanes(simd::Tag<T>()), in_block = 16 / sizeof(T), blocks = lanes / in_block;
  static_assert(blocks == 2 || blocks == 4);
  // Inside blocks of 16 bytes: to interleave the first half of the vectors with the second, log2(in_block) times.
  for (int group = 0; group < lanes; group += in_block)
    for (int step = 1; step < in_block; step *= 2) {
      simd::Vec<T> next[in_block];
      for (int i = 0; i < in_block / 2; ++i) {
        next[2 * i] = hn::InterleaveLower(tag, v[group + i], v[group + i + in_block / 2]);
        next[2 * i + 1] = hn::InterleaveUpper(tag, v[group + i], v[group + i + in_block / 2]);
      }
      for (int i = 0; i < in_block; ++i) v[group + i] = next[i];
    }
  // Then the blocks: block b of v[group + i] belongs into block `group` of v[b in_block + i].
  for (int i = 0; i < in_block; ++i) {
    simd::Vec<T>&a = v[i], &b = v[in_block + i];
    if constexpr (blocks == 2) {
      const simd::Vec<T> low = hn::ConcatLowerLower(tag, b, a), high = hn::ConcatUpperUpper(tag, b, a);
      a = low, b = high;
    } else {
      simd::Vec<T>&c = v[2 * in_block + i], &d = v[3 * in_block + i];
      const simd::Vec<T> ac01 = hn::ConcatLowerLower(tag, c, a), ac23 = hn::ConcatUpperUpper(tag, c, a);
      const simd::Vec<T> bd01 = hn::ConcatLowerLower(tag, d, b), bd23 = hn::ConcatUpperUpper(tag, d, b);
      a = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(bd01), ac01);
      b = hn::OddEvenBlocks(bd01, hn::SwapAdjacentBlocks(ac01));
      c = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(bd23), ac23);
      d = hn::OddEvenBlocks(bd23, hn::SwapAdjacentBlocks(ac23));
    }
  }
}

// A row of numbers by distance, with a vector's width before distance 0 and behind the last one: on the diagonal and
// below the last row, vectors reach beyond, for scores that are hidden or not there.
template <class T>
struct DistanceRows {
  static constexpr int64_t margin = Tile<T>::lanes;
  Tensor rows;  // [..., margin + k_length + margin]

  static Tensor zeros(const Shape& shape, int64_t k_length) {
    return Tensor::zeros(shape.insert(-1, k_length + 2 * margin), dtype_of<T>);
  }
  Tensor inside() const { return rows.slice(-1, margin, rows.extent(-1) - margin); }
  T* at(int64_t row) const { return rows.data<T>() + row * rows.extent(-1) + margin; }
};

// What both biases add.
template <class T>
class Bias {
 public:
  Bias(const Problem& problem, const AttentionBias& given) {
    if (given.by_distance.defined()) {
      distance_.rows = DistanceRows<T>::zeros({given.by_distance.extent(0)}, problem.k_length);
      copy_into(distance_.inside(), given.by_distance.slice(1, 0, problem.k_length));
    }
    if (given.by_position.defined())
      position_ = given.by_position.broadcast_to({problem.batches, problem.heads, problem.q_length, problem.k_length});
  }

  bool is_given() const { return distance_.rows.defined() || position_.defined(); }

  // score [keys, rows]: of the band that starts at `row`.
  void add(const Tile<T>& tile, int64_t batch, int64_t head, int64_t row, T* score) const {
    if (distance_.rows.defined()) add_by_distance(tile, head, row, score);
    if (position_.defined()) add_by_position(tile, batch, head, row, score);
  }

 private:
  static constexpr int64_t lanes = Tile<T>::lanes;

  void add_by_distance(const Tile<T>& tile, int64_t head, int64_t row, T* score) const {
    const T* const of_first_key = distance_.at(distance_.rows.extent(0) == 1 ? 0 : head) + tile.distance(row);
    const int64_t keys = tile.keys_of_band(row);
    for (int64_t key = 0; key < keys; ++key) {
      T* const s = score + key * tile_rows + row;
      simd::store<T>(simd::load<T>(s) + simd::load<T>(of_first_key - key), s);
    }
  }

  void add_by_position(const Tile<T>& tile, int64_t batch, int64_t head, int64_t row, T* score) const {
    const int64_t inside = std::min(lanes, tile.rows - row), keys = tile.keys_of_band(row);
    const int64_t row_step = position_.stride(2), key_step = position_.stride(3);
    const T* const from = position_.data<T>() + batch * position_.stride(0) + head * position_.stride(1) +
                          (tile.first + row) * row_step + tile.start * key_step;
    for (int64_t key = 0; key < keys; key += lanes) {
      const int64_t count = std::min(lanes, keys - key);
      simd::Vec<T> v[lanes];
      for (int64_t r = 0; r < lanes; ++r)
        v[r] = r < inside ? load(count, from + r * row_step + key * key_step, key_step) : simd::set<T>(0);
      transpose_square<T>(v);
      for (int64_t i = 0; i < count; ++i) {
        T* const s = score + (key + i) * tile_rows + row;
        simd::store<T>(simd::load<T>(s) + v[i], s);
      }
    }
  }

  static simd::Vec<T> load(int64_t count, const T* from, int64_t step) {
    if (step == 1) return simd::load_first<T>(count, from);
    alignas(64) T some[lanes] = {};
    for (int64_t i = 0; i < count; ++i) some[i] = from[i * step];
    return simd::load<T>(some);
  }

  DistanceRows<T> distance_;  // [heads or 1, ...]
  Tensor position_;           // [batch, heads, q_length, k_length], with strides of 0
};

// The gradients of both biases. `slot` numbers the sums by distance: two tasks never share one.
template <class T>
class BiasGradients {
 public:
  // Of the biases that are defined in `like`; sums for `slots` x heads.
  BiasGradients(const Problem& problem, const AttentionBias& like, int64_t slots) : like_(like), heads_(problem.heads) {
    if (like.by_distance.defined()) distance_.rows = DistanceRows<T>::zeros({slots, problem.heads}, problem.k_length);
    if (like.by_position.defined())
      position_ = Tensor::zeros({problem.batches, problem.heads, problem.q_length, problem.k_length}, dtype_of<T>);
  }

  bool are_wanted() const { return distance_.rows.defined() || position_.defined(); }

  // ds [keys, rows]: the gradient of the scores of the band that starts at `row`.
  void add(const Tile<T>& tile, int64_t slot, int64_t batch, int64_t head, int64_t row, const T* ds) const {
    if (distance_.rows.defined()) add_by_distance(tile, distance_.at(slot * heads_ + head), row, ds);
    if (position_.defined()) store_by_position(tile, batch, head, row, ds);
  }

  AttentionBias result() const {
    AttentionBias result{{}, position_};
    if (!distance_.rows.defined()) return result;
    const Shape& shape = like_.by_distance.shape();
    result.by_distance = Tensor::zeros(shape, dtype_of<T>);
    const Tensor inside = distance_.inside(), total = shape[0] == 1 ? sum(inside, {0, 1}) : sum(inside, {0});
    const int64_t k_length = inside.extent(-1);
    copy_into(result.by_distance.slice(1, 0, k_length), total.reshape({shape[0], k_length}));
    return result;
  }

 private:
  static constexpr int64_t lanes = Tile<T>::lanes;

  static void add_by_distance(const Tile<T>& tile, T* sums, int64_t row, const T* ds) {
    const int64_t keys = tile.keys_of_band(row);
    const auto inside = simd::hn::FirstN(simd::Tag<T>(), static_cast<size_t>(std::min(lanes, tile.rows - row)));
    T* const of_first_key = sums + tile.distance(row);
    for (int64_t key = 0; key < keys; ++key) {
      const simd::Vec<T> v = simd::hn::IfThenElseZero(inside, simd::load<T>(ds + key * tile_rows + row));
      simd::store<T>(simd::load<T>(of_first_key - key) + v, of_first_key - key);
    }
  }

  void store_by_position(const Tile<T>& tile, int64_t batch, int64_t head, int64_t row, const T* ds) const {
    const int64_t inside = std::min(lanes, tile.rows - row), keys = tile.keys_of_band(row), ld = position_.stride(2);
    T* const to = position_.data<T>() + batch * position_.stride(0) + head * position_.stride(1) +
                  (tile.first + row) * ld + tile.start;
    for (int64_t key = 0; key < keys; key += lanes) {
      const int64_t count = std::min(lanes, keys - key);
      simd::Vec<T> v[lanes];
      for (int64_t i = 0; i < lanes; ++i)
        v[i] = i < count ? simd::load<T>(ds + (key + i) * tile_rows + row) : simd::set<T>(0);
      transpose_square<T>(v);
      for (int64_t r = 0; r < inside; ++r) simd::store_first<T>(count, v[r], to + r * ld + key);
    }
  }

  AttentionBias like_;
  int64_t heads_;
  DistanceRows<T> distance_;  // [slots, heads, ...]
  Tensor position_;           // [batch, heads, q_length, k_length]
};

}  // namespace phasor::fused_attention
