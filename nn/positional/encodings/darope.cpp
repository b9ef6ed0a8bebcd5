// DaRoPE: fast components turn as in RoPE; those slower than the training length turn by a position that is read from
// the token's content, and stays below the training length however long the text.
//
//   c[h] = L sigmoid(w[h] . x + a[h] logit((m + 1/2) / L)),   angle of a slow component = frequency * c[h]
//
// for token m, the layer's input x and L = train_length (eq. 4 to 6). As in the paper's listing m + 1/2 is clipped to
// stay 1e-6 L away from 0 and L, also beyond the training length; w starts with deviation 0.1, a at 0.5 (appendix A.2).
// With w = 0 and a = 1, c[h] is m + 1/2 inside the training length: RoPE, but for half a token on the slow components.
// Heads are key heads: the query heads that share a key read its positions.
#include <algorithm>
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

// logit((m + 1/2) / L) of positions [batch or 1, length], [batch or 1, 1, length].
static Tensor logits_of(const Tensor& positions, double train_length) {
  constexpr double margin = 1e-6;
  std::vector<double> values = positions.to_vector<double>();
  for (double& value : values) {
    const double along = std::clamp((value + 0.5) / train_length, margin, 1 - margin);
    value = std::log(along / (1 - along));
  }
  return Tensor::of<double>({positions.extent(0), 1, positions.extent(1)}, values);
}

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  const auto length = static_cast<double>(s.train_length);
  const Spectrum rope = Spectrum::geometric(s.components(), s.rope_base);
  const int64_t fast = std::count_if(rope.begin(), rope.end(), [&](Component c) { return c.wavelength() <= length; });
  require<UsageError>(fast < rope.size(), "darope", "no component is slow: the slowest wavelength is ",
                      rope[rope.size() - 1].wavelength(), " tokens, train.length is ", s.train_length,
                      "; train shorter, or with a larger encoding.base");
  const Tensor frequencies = Tensor::empty({rope.size()}, Dtype::f64);
  for (const Component& c : rope) frequencies.data<double>()[c.index] = c.frequency;

  Random random = parameter_random(s);
  std::vector<Var> weights, priors;
  for (int64_t i = 0; i < s.layers; ++i) {
    const std::string layer = "layer." + std::to_string(i) + ".";
    weights.push_back(parameters.add(layer + "w", normal({s.width, s.kv_heads}, 0, 0.1, s.dtype, random),
                                     {.weight_decay_factor = 1}));
    priors.push_back(parameters.add(layer + "a", Tensor::full({s.kv_heads, 1}, 0.5, s.dtype)));
  }
  // For x [batch, length, width], of the key heads; angles are taken in double.
  const auto turned = [=, heads = s.kv_heads](const Var& x, const Tensor& positions, size_t layer) {
    const int64_t batch = x.extent(0), tokens = x.extent(1), slow = rope.size() - fast;
    const Var content = transpose(matmul(cast(x, Dtype::f64), cast(weights[layer], Dtype::f64)), 1, 2);
    const Var read = length * sigmoid(content + cast(priors[layer], Dtype::f64) * logits_of(positions, length));
    const Var counted = positions.reshape({positions.extent(0), 1, tokens, 1});
    const Var position = concat({broadcast_to(counted, {batch, heads, tokens, fast}),
                                 broadcast_to(reshape(read, {batch, heads, tokens, 1}), {batch, heads, tokens, slow})},
                                3);
    const Var angle = position * frequencies;
    return LearnedCosSin{cast(cos(angle), x.dtype()), cast(sin(angle), x.dtype())};
  };
  PositionalEncoding encoding;
  encoding.rotation.emplace();
  encoding.rotation->same_in_every_layer = false;
  encoding.rotation->tables = [=, heads = s.heads](const PositionalContext& c) {
    const auto layer = static_cast<size_t>(c.layer);
    const bool same =
        c.k_positions.is_same_view(c.q_positions) && c.key_input.value().is_same_view(c.layer_input.value());
    const LearnedCosSin k = turned(c.key_input, c.k_positions, layer);
    const LearnedCosSin q = same ? k : turned(c.layer_input, c.q_positions, layer);
    return RotaryTables{for_query_heads(q.cos, heads), for_query_heads(q.sin, heads), k.cos, k.sin};
  };
  return encoding;
}

EncodingEntry darope() {
  return {
      .summary = "rotary, slow components by positions read from the content",
      .paper = "Levy et al., RoPE is dead, long live RoPE, arXiv:2609.34556",
      .claims = {Claim::preserves_norm},
      .unsure = "That x is taken after the norm, and that query heads share the positions of their key, is a guess.",
      .make = make};
}

}  // namespace phasor::encoding
