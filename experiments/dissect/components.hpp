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
  // position (mixtures of waves, positions read from the content). By query head.
  std::vector<std::vector<std::vector<double>>> frequencies;
  double scale = 1;
  int64_t train_length = 0;

  double wavelength(int64_t layer, int64_t head, int64_t component) const;  // 2 pi / frequency
  // The number of components that complete a turn within train_length, in layer 0 and head 0: where on an axis of
  // components the wavelength passes L. Components come fastest first, those that stand still at the end.
  int64_t within_train_length() const;
};

// UsageError if the model's encoding turns no components.
Components components_of(const Transformer& model);

// The parts of the scores, [batch, heads, size, q_length, k_length] f64, of a layer's Site::q_rotated and k_rotated,
// and for pairs of tokens at least far_from apart of Site::q_far and k_far, where the encoding has a far rotation.
// Later keys are 0. For short texts: memory is that of the scores times `size`.
Tensor component_scores(const Components& components, const LayerValues& layer, int64_t far_from = 0);

}  // namespace phasor
