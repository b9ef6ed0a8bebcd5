// Ablation: the same trained model, reading without something that components of its scores do.
//
// Each ablation changes the encoding, not the weights, so that the model keeps its fused attention and its speed:
//   stop    frequency 0: the component no longer turns. Its cosine becomes its gain, its sine 0.
//   remove  the component's part of the score is 0: its channels of q are.
//   mean    before the rotation the component's channels of q and k are replaced by their means over tokens: position
//           stays, content goes.
// All of them act in the near and in the far rotation alike, and see channels as the rotation does: after the features
// of an encoding that has some.
#pragma once

#include <vector>

#include "experiments/dissect/components.hpp"

namespace phasor {

enum class Ablation { stop, remove, mean };
const char* name_of(Ablation ablation);  // "stop"

// Which components: first .. last, in one layer or in all, of one query head or of all. Query heads that share a key
// head are stopped and averaged together, because their keys are; they are removed one by one.
struct Ablated {
  int64_t first = 0, last = 0;
  int64_t layer = -1, head = -1;  // -1: all
};

// Means over windows and tokens of q and k as the rotation sees them.
struct ChannelMeans {
  std::vector<Tensor> q, k;  // by layer: [1, heads, 1, channels] and [1, kv_heads, 1, channels], f64
};
ChannelMeans channel_means(const Transformer& model, const Tensor& ids);

// A model that shares the parameters of `model`, for reading: nothing is recorded through what is stopped. UsageError
// if components, layer or head are not the model's. Ablation::mean needs `means` (ValueError), the others do not read
// them.
Transformer ablated(const Transformer& model, const Components& components, Ablation ablation, const Ablated& which,
                    const ChannelMeans& means = {});

}  // namespace phasor
