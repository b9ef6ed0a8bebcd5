// RoPE with a hard cut: the slowest components stand still, as many of them as `clipped` slows down. It is that paper's
// control, and p_rope with encoding.fraction = 44 / 64.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const int64_t clipped = (s.components() * 20 + 63) / 64, first = s.components() - clipped;
  require<UsageError>(first >= 1, "clipped_hard", "nothing is left to rotate: head_dim is ", s.head_dim,
                      "; needs at least 4");
  return PositionalEncoding::rotary(Spectrum::geometric(s.components(), s.rope_base).map([&](Component c) {
    if (c.index >= first) c.frequency = 0;
    return c;
  }));
}

EncodingEntry clipped_hard() {
  return {.summary = "rotary with the slowest 5/16 of the components stopped",
          .paper = "Li et al., CoPE: Clipped RoPE, arXiv:2602.05258",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .unsure = "Published are 20 of 64 components; that other sizes stop the same share is a guess.",
          .make = make};
}

}  // namespace phasor::encoding
