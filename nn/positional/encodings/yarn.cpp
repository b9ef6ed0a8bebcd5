// YaRN as its authors released it: slow components slow down by the factor, and q and k grow a little, which sharpens
// the softmax as longer texts need.
//
// Ramp linear in the component's index, from floor(c(32)) to ceil(c(1)), where the component of (real) index c(turns)
// turns that often within train_length. The paper's ramp is linear in the turns: that one is yarn_paper. Both multiply
// cosine and sine of q and of k by 0.1 ln s + 1, the scores by its square.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  constexpr double slow = 1, fast = 32;
  const double factor = extension_factor("yarn", s), length = static_cast<double>(s.train_length);
  const auto index_of = [&](double turns) {
    return static_cast<double>(s.components()) * std::log(length / (2 * std::numbers::pi * turns)) /
           std::log(s.rope_base);
  };
  // The upper end is cut off at head_dim - 1, not at the last component: their code's way.
  const double first = std::max(0.0, std::floor(index_of(fast)));
  double last = std::min(static_cast<double>(s.head_dim - 1), std::ceil(index_of(slow)));
  if (last == first) last += 0.001;
  return PositionalEncoding::rotary(Spectrum::geometric(s.components(), s.rope_base).map([&](Component c) {
    const double slowed = std::clamp((static_cast<double>(c.index) - first) / (last - first), 0.0, 1.0);
    c.frequency *= 1 - slowed + slowed / factor;
    c.gain = 0.1 * std::log(factor) + 1;
    return c;
  }));
}

EncodingEntry yarn() {
  return {.summary = "ntk_by_parts with sharper scores, as YaRN's code has it",
          .paper = "Peng et al., YaRN, arXiv:2309.00071",
          .claims = {Claim::relative, Claim::no_parameters},
          .reads_rope = true,
          .make = make};
}

}  // namespace phasor::encoding
