// Partial rotary: the first channels of a head are a smaller RoPE of their own, the others pass.
//
// Exponents run over the rotated channels r = fraction x head_dim: frequency_i = base^(-2i / r), from 1 to almost
// 1 / base again. p_rope keeps RoPE's frequencies and drops the slow ones instead: another method. GPT-J and GPT-NeoX
// rotate a quarter (encoding.fraction = 0.25).
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  // A table of fewer components than pairs leaves the channels beyond as they are.
  return PositionalEncoding::rotary(Spectrum::geometric(turning_components("partial", s), s.rope_base));
}

EncodingEntry partial() {
  return {.summary = "a smaller rotary on a fraction of each head's channels",
          .paper = "Black et al., GPT-NeoX-20B, arXiv:2204.06745",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .make = make};
}

}  // namespace phasor::encoding
