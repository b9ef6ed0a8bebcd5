// Norms: how much length queries and keys put into each component, before they are turned.
//
// |q_c| |k_c| bounds what component c can add to a score (Barbero et al., arXiv:2410.06205, section 4). Values pass no
// rotation: their channels, paired the same way, are the control. Heads are query heads; k and v are those of the
// group.
#pragma once

#include "experiments/dissect/components.hpp"
#include "experiments/report/measurement.hpp"

namespace phasor {

struct Norms {
  // [site, layer, head, component], site: q, k, v. The mean over tokens of the length of the component's two channels.
  // Where an encoding widens q and k (pope), theirs are what it makes of them, and v, which has fewer channels, is NaN.
  Measurement norm;
  // [site, layer, head, component], site: q, k. The length of the mean vector over tokens divided by `norm`: 0 for
  // vectors that point everywhere, 1 for a constant one, a static offset (Jonasson, arXiv:2503.01832). NaN where the
  // norm is 0.
  Measurement offset;
  // [layer, head, component], rad, in (-pi, pi]: from the mean vector of k to that of q. Where a score peaks at a
  // distance, as far as it rests on the offsets: at angle + frequency x distance = 0. NaN where one of them is 0.
  Measurement offset_angle;
  // "massive" [site, layer, head, channel], site: q, k, v: the L2 norm over tokens of a channel of the projections,
  // divided by the mean of that norm over the head's channels. Above 5 a channel is called massive (Jin et al.,
  // arXiv:2502.01563). NaN where all are 0.
  Measurement massive;
};

// Over the tokens of the windows ids [windows, length]. UsageError if the model's encoding turns no components;
// ValueError unless there is a token.
Norms norms(const Transformer& model, const Tensor& ids);

}  // namespace phasor
