// YaRN as the paper has it: ntk_by_parts, and cosine and sine of q and of k times 0.1 ln s + 1 (section 3.4), so that
// scores grow by its square. The released code mixes along another ramp: that one is yarn.
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  constexpr double slow = 1, fast = 32;
  const double factor = extension_factor("yarn_paper", s), length = static_cast<double>(s.train_length);
  const Spectrum parts = Spectrum::geometric(s.components(), s.rope_base).slowed_by_parts(factor, length, slow, fast);
  return PositionalEncoding::rotary(parts.map([&](Component c) {
    c.gain = 0.1 * std::log(factor) + 1;
    return c;
  }));
}

EncodingEntry yarn_paper() {
  return {.summary = "ntk_by_parts with sharper scores, as YaRN's paper has it",
          .paper = "Peng et al., YaRN, arXiv:2309.00071, section 3.4",
          .claims = {Claim::relative, Claim::no_parameters},
          .unsure = "The ramp is from second-hand accounts of the paper.",
          .reads_rope = true,
          .make = make};
}

}  // namespace phasor::encoding
