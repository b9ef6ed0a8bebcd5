// Template of `phasor new encoding`, which writes this file under another name and without this line.
// new_encoding: in one sentence, what it does. (As it stands: every component turns at half of RoPE's speed.)
//
//   frequency_i = base^(-i / components) / 2                                             the formula, with its source
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

// Called once for a model. What PositionalEncoding may hold besides a rotation stands in encoding.hpp, with an example
// of each in the README; what is learned is added to the ParameterList.
static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  return PositionalEncoding::rotary(Spectrum::geometric(s.components(), s.rope_base).map([](Component c) {
    c.frequency *= 0.5;  // the line to change
    return c;
  }));
}

// The tests find out which claims hold: one too many fails, and so does one too few.
EncodingEntry new_encoding() {
  return {.summary = "rotary at half speed",
          .paper = "none yet; the rotation: Su et al., RoFormer, arXiv:2104.09864",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .unsure = "",
          .make = make};
}

}  // namespace phasor::encoding
