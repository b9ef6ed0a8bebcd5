// The U-shape probe: which positions the last query of a window prefers when the tokens say nothing (Chen et al.,
// arXiv:2410.21216, section 3).
//
// Windows of [bos] and random bytes; scores before the softmax of the last query for all keys, averaged over windows
// and heads. Over the keys after [bos] the average is normalised to mean 0 and deviation 1: the curve. A U is high at
// its start, low in the middle, and high again where the query stands.
#pragma once

#include <span>

#include "experiments/report/measurement.hpp"
#include "experiments/settings.hpp"
#include "nn/model.hpp"

namespace phasor {

// [windows, length] i32: [bos], then bytes drawn uniformly from those that occur in `text`. The same for every model
// and seed, so that probes compare. ValueError if there are no bytes, windows or tokens.
Tensor random_windows(std::span<const uint8_t> text, int64_t windows, int64_t length);

// Dimension layer: "0", "1", ... and "all", the average of the layers' scores before they are normalised. Keys are
// 1 .. length - 1. NaN where the scores of all keys are equal: there is no shape to measure.
struct UShape {
  Measurement curve;             // "u_curve" [layer, key]
  Measurement bos;               // "u_bos" [layer]: the score of [bos] on the curve's scale
  Measurement depth;             // "u_depth" [layer]: mean over the first keys minus mean over the middle ones
  Measurement depth_half_width;  // "u_depth_half_width" [layer]: half of its 95 % interval, from groups of windows
  Measurement recency;  // "u_recency" [layer]: mean over the last keys, the query's own among them, minus the middle
  // Of a model with components (components.hpp); without a rotation these have no values.
  Measurement component;  // "u_component" [layer, component, key]: its part of the curve, around its own mean
  // "u_share" [layer, component]: covariance over the keys of the component's part with the curve, over the variance
  // of the curve. The shares sum to 1, but for what biases and transforms of the encoding add.
  Measurement share;
  Measurement
      activated;  // "u_activated" [layer, component]: 1 where the share exceeds `activated` / components, else 0
};

// ids [windows, length] i32, such as random_windows(). The first and last keys are a share `edge` of those after [bos],
// the middle ones a share `middle` around their centre; each at least one key. ShapeError unless there are at least
// 2 windows of 2 tokens.
UShape u_shape(const Transformer& model, const Tensor& ids, const DissectSettings& settings);

}  // namespace phasor
