// RoPE: every component turns, with frequencies that fall geometrically from 1 to almost 1 / base.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  return PositionalEncoding::rotary(Spectrum::geometric(s.components(), s.rope_base));
}

EncodingEntry rope() {
  return {.summary = "rotary: every component turns (encoding.base)",
          .paper = "Su et al., RoFormer, arXiv:2104.09864",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .make = make};
}

}  // namespace phasor::encoding
