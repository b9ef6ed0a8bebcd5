// PoPE: what and where apart - each channel becomes a vector whose length is the content and whose angle the position.
//
//   score = sum over channels c of softplus(q[c]) softplus(k[c]) cos((n - m) base^(-c / d) + delta[c])
//
// for query m, key n and d = head_dim: every channel turns with a frequency of its own, so q and k are twice as wide.
// The phases delta of the keys are learned, in [-2 pi, 0], and start at 0, the start that reads on beyond the training
// length.
#include <numbers>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

// Channel c and its partner, as the rotation pairs them.
static Var paired(const Var& x, const Var& y, RotaryLayout layout) {
  if (layout == RotaryLayout::half_split) return concat({x, y}, -1);
  return reshape(stack({x, y}, -1), {x.extent(0), x.extent(1), x.extent(2), 2 * x.extent(3)});
}

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  std::vector<Var> phases;
  for (int64_t i = 0; i < s.layers; ++i)
    phases.push_back(parameters.add("layer." + std::to_string(i) + ".phase",
                                    Tensor::zeros({s.kv_heads, 1, s.head_dim}, s.dtype),
                                    {.minimum = -2 * std::numbers::pi, .maximum = 0}));
  PositionalEncoding encoding = PositionalEncoding::rotary(Spectrum::geometric(s.head_dim, s.rope_base));
  using Side = PositionalEncoding::Side;
  encoding.features = [phases, layout = s.layout](const Var& x, Side side, const PositionalContext& c) {
    const Var length = softplus(x);
    if (side == Side::query) return paired(length, Tensor::zeros(x.shape(), x.dtype(), x.device()), layout);
    const Var& phase = phases[static_cast<size_t>(c.layer)];
    return paired(length * cos(phase), length * sin(phase), layout);
  };
  return encoding;
}

EncodingEntry pope() {
  return {.summary = "polar: lengths from content, angles from positions",
          .paper = "Gopalakrishnan et al., PoPE, arXiv:2509.10534",
          .claims = {Claim::relative},
          .unsure = "Second-hand: one phase per key head and channel in every layer, and the start at 0.",
          .make = make};
}

}  // namespace phasor::encoding
