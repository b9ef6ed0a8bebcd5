// Clipped RoPE (the paper calls it CoPE, as another encoding is called too): a cosine taper slows the slowest
// components down until the last one stands still. A hard cut (clipped_hard) would ring along the distance.
//
// The last c components, j = 0 .. c - 1: frequency 0.5 (1 + cos(pi j / (c - 1))). Here c is 20 of 64, as a share. The
// taper over the index is the released code's; the paper writes it over the frequency.
#include <cmath>
#include <numbers>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const int64_t clipped = (s.components() * 20 + 63) / 64, first = s.components() - clipped;
  require<UsageError>(clipped >= 2, "clipped", "a taper needs 2 components, got ", clipped, " of ", s.components(),
                      " (20 of 64): head_dim is ", s.head_dim, "; needs at least 8");
  return PositionalEncoding::rotary(Spectrum::geometric(s.components(), s.rope_base).map([&](Component c) {
    const double along = static_cast<double>(c.index - first) / static_cast<double>(clipped - 1);
    if (c.index >= first) c.frequency *= 0.5 * (1 + std::cos(std::numbers::pi * along));
    return c;
  }));
}

EncodingEntry clipped() {
  return {.summary = "rotary with the slowest components slowed to a stop",
          .paper = "Li et al., CoPE: Clipped RoPE, arXiv:2602.05258",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .unsure = "Published are 20 of 64 components; that other sizes clip the same share is a guess.",
          .make = make};
}

}  // namespace phasor::encoding
