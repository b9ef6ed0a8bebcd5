// FoX, the forgetting transformer: every token closes a gate a little, and what lies behind the gates fades.
//
//   bias[m, n] = sum over l = n + 1 .. m of log f[l],   f[l] = sigmoid(w[h] . x[l] + b[h]),   x the layer's input
//
// Computed as c[m] - c[n] with c the running sum. The gate of each head and layer is learned; as in the authors' code
// it starts with normal weights and b = 0 (f about 1/2), and there is no rotation besides.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  Random random = parameter_random(s);
  std::vector<Var> weights, biases;
  for (int64_t i = 0; i < s.layers; ++i) {
    const std::string layer = "layer." + std::to_string(i) + ".";
    weights.push_back(parameters.add(layer + "weight", normal({s.width, s.heads}, 0, s.init_deviation, s.dtype, random),
                                     {.weight_decay_factor = 1}));
    biases.push_back(parameters.add(layer + "bias", Tensor::zeros({s.heads}, s.dtype)));
  }
  PositionalEncoding encoding;
  encoding.bias_of_positions = [=](const PositionalContext& c) {
    const size_t layer = static_cast<size_t>(c.layer);
    const Var log_gate = -softplus(-linear(c.key_input, weights[layer], biases[layer]));  // log sigmoid
    const Var sums = transpose(cumsum(log_gate, 1), 1, 2);                                // [batch, heads, k_length]
    const int64_t batch = sums.extent(0), heads = sums.extent(1), k_length = sums.extent(2);
    const int64_t q_length = c.layer_input.extent(1);  // the queries are the last keys
    return reshape(slice(sums, 2, k_length - q_length, k_length), {batch, heads, q_length, 1}) -
           reshape(sums, {batch, heads, 1, k_length});
  };
  return encoding;
}

EncodingEntry fox() {
  return {.summary = "forget gates: each token dims what lies before it",
          .paper = "Lin et al., Forgetting Transformer, arXiv:2503.02130",
          .claims = {Claim::relative, Claim::preserves_norm},
          .make = make};
}

}  // namespace phasor::encoding
