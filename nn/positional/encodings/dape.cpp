// DAPE: a network across the heads adapts a static bias to the scores, pair by pair of tokens.
//
// The formula stands in nn/positional/dape.hpp. Width 32, leaky ReLU and the start are those of the authors' code.
#include "nn/positional/dape.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  return adapted_bias(s, 1, parameters);
}

EncodingEntry dape() {
  return {.summary = "a network across heads adapts KERPLE's bias to the scores",
          .paper = "Zheng et al., DAPE, arXiv:2405.14722",
          .claims = {Claim::relative, Claim::preserves_norm},
          .make = make};
}

}  // namespace phasor::encoding
