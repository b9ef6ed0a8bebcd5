// p-RoPE: the fastest fraction of the components turns, the rest stands still.
//
// Exponents run over the full head_dim; "partial rotary" recomputes them over the rotated channels and is another
// method.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const int64_t turning = turning_components("p_rope", s);
  return PositionalEncoding::rotary(Spectrum::geometric(s.components(), s.rope_base).map([&](Component c) {
    if (c.index >= turning) c.frequency = 0;
    return c;
  }));
}

EncodingEntry p_rope() {
  return {.summary = "rotary of the fastest components only (encoding.fraction)",
          .paper = "Barbero et al., arXiv:2410.06205",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .unsure = "The formula is from second-hand accounts of the paper, which agree.",
          .make = make};
}

}  // namespace phasor::encoding
