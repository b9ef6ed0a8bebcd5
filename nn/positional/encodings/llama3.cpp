// Llama 3's scaling: by parts between 1 and 4 turns within the training length, without a change of the scores' scale.
//
// Their code: wavelength below L / 4 stays, above L is slowed by s, and between t = (L / wavelength - 1) / (4 - 1) of
// the frequency stays. Published with s = 8 and L = 8192, the length of training before the extension.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  constexpr double slow = 1, fast = 4;
  const double factor = extension_factor("llama3", s), length = static_cast<double>(s.train_length);
  return PositionalEncoding::rotary(
      Spectrum::geometric(s.components(), s.rope_base).slowed_by_parts(factor, length, slow, fast));
}

EncodingEntry llama3() {
  return {.summary = "rotary with Llama 3's slower components (encoding.factor)",
          .paper = "Grattafiori et al., The Llama 3 Herd of Models, arXiv:2407.21783",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .reads_rope = true,
          .make = make};
}

}  // namespace phasor::encoding
