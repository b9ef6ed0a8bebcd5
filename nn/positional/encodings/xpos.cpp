// xPos: RoPE whose scores decay with the distance, the fast components first.
//
// q of position m times zeta_i^(m / 512), k of position n times zeta_i^(-n / 512): a component of the score decays with
// zeta_i^((m - n) / 512), zeta_i = (2i / d + 0.4) / 1.4, d = head_dim. The scales of q and k themselves grow without
// bound: positions are refused from where the fastest one's passes 2^96, which leaves f32 (2^128) room for q, k and
// their gradients. The authors' code counts positions from the middle of the text: the same scores.
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  constexpr double gamma = 0.4, scale_base = 512, largest = 96;
  const Spectrum rope = Spectrum::geometric(s.components(), s.rope_base);
  std::vector<double> zeta;
  for (const Component& c : rope)
    zeta.push_back((static_cast<double>(c.index) / static_cast<double>(rope.size()) + gamma) / (1 + gamma));
  const auto limit = static_cast<int64_t>(scale_base * largest / -std::log2(zeta[0]));

  struct Scaled {
    Var cos, sin;
  };
  const auto scaled = [=](const Tensor& positions, double sign, Dtype dtype) {
    const View<double> at = positions.view<double>();
    const Tensor scale = Tensor::empty({positions.extent(0), 1, positions.extent(1), rope.size()}, Dtype::f64);
    for (int64_t row = 0; row < positions.extent(0); ++row)
      for (int64_t i = 0; i < positions.extent(1); ++i) {
        require<ValueError>(std::abs(at(row, i)) < static_cast<double>(limit), "xpos", "position ", at(row, i),
                            " is beyond the range of its scales; needs positions between -", limit, " and ", limit);
        for (const Component& c : rope)
          scale.view<double>()(row, 0, i, c.index) =
              std::pow(zeta[static_cast<size_t>(c.index)], sign * at(row, i) / scale_base);
      }
    const CosSin table = rope.table(positions, Dtype::f64);
    return Scaled{cast(Var(table.cos) * scale, dtype), cast(Var(table.sin) * scale, dtype)};
  };
  PositionalEncoding encoding;
  encoding.rotation.emplace();
  encoding.rotation->spectrum = rope;
  encoding.rotation->tables = [=](const PositionalContext& c) {
    const Scaled q = scaled(c.q_positions, 1, c.q.dtype()), k = scaled(c.k_positions, -1, c.q.dtype());
    return RotaryTables{q.cos, q.sin, k.cos, k.sin};
  };
  encoding.position_limit = limit;
  return encoding;
}

EncodingEntry xpos() {
  return {.summary = "rotary with scores that decay over some 512 tokens",
          .paper = "Sun et al., A Length-Extrapolatable Transformer, arXiv:2212.10554",
          .claims = {Claim::relative, Claim::no_parameters},
          .make = make};
}

}  // namespace phasor::encoding
