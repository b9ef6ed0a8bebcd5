// Position interpolation: all components turn slower by the factor, so that positions up to factor x train_length lie
// where the first train_length would have been.
//
// frequency_i / s, which is position / s (Chen et al., section 3.1). A factor of 1 is RoPE.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const double factor = extension_factor("interpolation", s);
  return PositionalEncoding::rotary(Spectrum::geometric(s.components(), s.rope_base).map([&](Component c) {
    c.frequency /= factor;
    return c;
  }));
}

EncodingEntry interpolation() {
  return {.summary = "rotary, every component slower by encoding.factor",
          .paper = "Chen et al., Position Interpolation, arXiv:2306.15595",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .reads_rope = true,
          .make = make};
}

}  // namespace phasor::encoding
