// NTK-by-parts: components that turn often within the training length stay, those that do not complete one turn slow
// down by the factor, and those between are mixed.
//
// alpha = 1 and beta = 32 turns are the paper's for LLaMA. Short training lengths turn few components 32 times (none at
// 128 tokens): then all are slowed to some degree.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  constexpr double slow = 1, fast = 32;
  const double factor = extension_factor("ntk_by_parts", s), length = static_cast<double>(s.train_length);
  return PositionalEncoding::rotary(
      Spectrum::geometric(s.components(), s.rope_base).slowed_by_parts(factor, length, slow, fast));
}

EncodingEntry ntk_by_parts() {
  return {.summary = "rotary, slow components slower by encoding.factor",
          .paper = "Peng et al., YaRN, arXiv:2309.00071, section 3.2",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .unsure = "The formula is from second-hand accounts of the paper.",
          .reads_rope = true,
          .make = make};
}

}  // namespace phasor::encoding
