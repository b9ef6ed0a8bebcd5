// Components: how the scores of a model split into parts, each of two channels of q and k that turn together.
//
//   score(m, n) = sum over components c of scale (q_m[c0] k_n[c0] + q_m[c1] k_n[c1]),   scale = 1 / sqrt(head_dim)
//
// for q and k after the rotation (Chen et al., arXiv:2410.21216, section 2; the sum is exact, roundings apart).
// Channels that an encoding leaves unturned are paired likewise, behind the others, and stand still. Biases and
// transforms of an encoding come on top and belong to no component.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "experiments/dissect/heads.hpp"

namespace phasor {

struct Components {
  int64_t size = 0;                              // of each head
  std::vector<std::array<int64_t, 2>> channels;  // the two of each component, among those of q_rotated
  // [layers][heads][size], rad per token; 0 stands still, NaN where tokens do not turn by a frequency times their
  // position (mixtures of waves, positions read from the content). By query head. Of texts within the training length,
  // where the encoding looks at the length.
  std::vector<std::vector<std::vector<double>>> frequencies;
  double scale = 1;
  int64_t train_length = 0;
  int64_t far_from = 0;  // pairs of tokens at least so far apart turn by the far rotation; 0: there is none

  double wavelength(int64_t layer, int64_t head, int64_t component) const;  // 2 pi / frequency
  // The number of components that complete a turn within train_length, in layer 0 and head 0: where on an axis of
  // components the wavelength passes L. Components come fastest first, those that stand still at the end. NaN where the
  // first has no frequency.
  double within_train_length() const;
  // What the parts of the scores are made of: q_rotated and k_rotated, with a far rotation q_far and k_far too.
  std::vector<Site> sites() const;
};

// UsageError if the model's encoding turns no components.
Components components_of(const Transformer& model);

// Queries and keys of one head in one window, laid out by component in f64: gives the parts of its scores a query at a
// time, in memory that grows with the length alone.
class HeadParts {
 public:
  // `layer` holds components.sites(); `window` is the row of the batch, `head` a query head.
  HeadParts(const Components& components, const LayerValues& layer, int64_t window, int64_t head);
  // parts[n], the component's part of the score of this query and key n, for the keys 0 to `query`.
  void of_query(int64_t component, int64_t query, double* parts) const;

 private:
  // Channels of tokens, [components][2][length]; those of q times the scale.
  struct Channels {
    std::vector<double> q, k;
  };
  void products(const Channels& channels, int64_t component, int64_t query, int64_t keys_begin, int64_t keys_end,
                double* parts) const;

  int64_t length_ = 0, far_from_ = 0;
  Channels near_, far_;
};

// The parts of all scores of a layer, [batch, heads, size, length, length] f64: of query and key, later keys are 0. For
// short texts: memory is that of the scores times `size`.
Tensor component_scores(const Components& components, const LayerValues& layer);

}  // namespace phasor
