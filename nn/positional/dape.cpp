// The network as two convolutions along the keys with the heads as channels; of width 1 they are linear layers.
#include "nn/positional/dape.hpp"

#include <cmath>

namespace phasor {

namespace {

constexpr int64_t hidden = 32;

// PyTorch's start of a convolution, for its weight [out, in, width] and its bias.
double bound_of(const Shape& weight) { return 1 / std::sqrt(static_cast<double>(weight[1] * weight[2])); }

// What no query may see counts as nothing, or later tokens would reach earlier scores through their neighbours. For the
// hidden numbers too: there, decoding token by token would have none where the whole text has some.
Var convolved(const Var& x, const Var& weight, const Tensor& visible) {
  return conv_keys(where(visible, x, Tensor::scalar(0, x.dtype())), weight);
}

struct Layer {
  PositionalEncoding::BiasOfDistance bias;
  Var w1, b1, w2;
};

Var leaky_relu(const Var& x) { return maximum(x, x * 0.01); }

// [batch or 1, heads, q_length, k_length].
Var at_distances(const PositionalEncoding::BiasOfDistance& bias, const Tensor& distance) {
  const Var of_heads = bias(distance.reshape({1, distance.size()}));
  const Shape shape = {of_heads.extent(0), distance.extent(0), distance.extent(2), distance.extent(3)};
  return transpose(reshape(of_heads, shape), 0, 1);
}

Layer layer_of(const AttentionShape& s, int64_t index, int64_t width, Random& random, ParameterList& parameters) {
  const std::string name = "layer." + std::to_string(index) + ".";
  AttentionShape own = s;
  own.seed ^= static_cast<uint64_t>(index) << 32;  // a draw of its own for the bias of each layer
  ParameterList of_bias;
  PositionalEncoding::BiasOfDistance bias = make_encoding(encoding_named("kerple_log"), own, of_bias).bias_of_distance;
  parameters.append(name, of_bias);
  const auto add = [&](const char* parameter, const Shape& shape, const Shape& weight) {
    const Tensor initial = uniform(shape, -bound_of(weight), bound_of(weight), s.dtype, random);
    return parameters.add(name + parameter, initial, {.weight_decay_factor = shape == weight ? 1.0 : 0.0});
  };
  const Shape first = {hidden, 2 * s.heads, width}, second = {s.heads, hidden, width};
  const Var w1 = add("w1", first, first), b1 = add("b1", {hidden, 1, 1}, first), w2 = add("w2", second, second);
  return {bias, w1, b1, w2};
}

}  // namespace

PositionalEncoding adapted_bias(const AttentionShape& s, int64_t width, ParameterList& parameters) {
  Random random = parameter_random(s);
  random.stream ^= 1;  // apart from the bias's
  std::vector<Layer> layers;
  for (int64_t i = 0; i < s.layers; ++i) layers.push_back(layer_of(s, i, width, random, parameters));
  PositionalEncoding encoding;
  encoding.transform = [=](const Var& scores, const PositionalContext& c) {
    const Layer& layer = layers[static_cast<size_t>(c.layer)];
    const Var bias = broadcast_to(at_distances(layer.bias, distances(c, scores.dtype())), scores.shape());
    const Var adapted = leaky_relu(convolved(concat({scores, bias}, 1), layer.w1, c.visible) + layer.b1);
    return scores + bias + convolved(adapted, layer.w2, c.visible);
  };
  return encoding;
}

}  // namespace phasor
