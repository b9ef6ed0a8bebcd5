// NTK-aware RoPE: a larger base. The slowest component turns slower by the factor, the fastest stays, and those between
// follow geometrically.
//
// base s^(d / (d - 2)), d = head_dim, which divides RoPE's frequency_i by s^(i / (components - 1)), the last one by s.
// First a post by bloc97 (2023); the paper named below describes it in section 3.1.
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  require<UsageError>(s.components() >= 2, "ntk", "a fastest and a slowest component are needed: head_dim is ",
                      s.head_dim, "; needs at least 4");
  const double factor = extension_factor("ntk", s), last = static_cast<double>(s.components() - 1);
  return PositionalEncoding::rotary(Spectrum::geometric(s.components(), s.rope_base).map([&](Component c) {
    c.frequency /= std::pow(factor, static_cast<double>(c.index) / last);
    return c;
  }));
}

EncodingEntry ntk() {
  return {.summary = "rotary with a base raised for encoding.factor (NTK-aware)",
          .paper = "Peng et al., YaRN, arXiv:2309.00071, section 3.1",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .reads_rope = true,
          .make = make};
}

}  // namespace phasor::encoding
