// KeyValueCache: what the tokens read so far have left behind, so that the next ones cost no second reading.
//
//   KeyValueCache cache;
//   const NoGradient scope;                                      // it holds values, no history
//   model.logits(prompt, {.cache = &cache});                     // [batch, n]
//   model.logits(next, {.cache = &cache});                       // [batch, 1], reads on at position n
//
// The logits are those of reading everything at once, rounding apart. Where an encoding's tables change with the length
// of the text (PositionalEncoding::same_tables), reading on is refused: clear() and read the whole text again.
#pragma once

#include <memory>
#include <vector>

#include "core/tensor.hpp"

namespace phasor {

// A tensor that grows along one axis; its block doubles, so that n appends copy about n elements.
class GrowingTensor {
 public:
  // Writes `more` after the first `used` elements of the axis and returns them all, as a view. More than `used` may be
  // there from a pass that did not end: it is overwritten.
  Tensor append(int64_t used, const Tensor& more, int axis);

 private:
  Tensor block_;
};

class KeyValueCache {
 public:
  KeyValueCache() = default;
  KeyValueCache(const KeyValueCache&) = delete;  // a copy would grow in the same blocks
  KeyValueCache& operator=(const KeyValueCache&) = delete;
  int64_t length() const { return length_; }  // tokens held, of each entry of the batch
  void clear() { length_ = 0; }               // another text may begin, of any batch and model

 private:
  friend struct AttentionLayer;
  friend class Transformer;

  struct Layer {
    GrowingTensor k, far_k, v, input;
  };
  std::vector<Layer> layers_;
  GrowingTensor positions_;
  int64_t length_ = 0, batch_ = 0;
  std::shared_ptr<const void> model_;  // whose keys and values these are
};

}  // namespace phasor
