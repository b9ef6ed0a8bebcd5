// NoPE: no positional encoding; the causal mask alone tells positions apart.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape&, ParameterList&) { return PositionalEncoding::none(); }

EncodingEntry nope() {
  return {.summary = "no encoding; only the causal mask tells positions apart",
          .paper = "Kazemnejad et al., arXiv:2305.19466",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .make = make};
}

}  // namespace phasor::encoding
