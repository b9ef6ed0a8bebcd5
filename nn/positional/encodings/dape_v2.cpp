// DAPE v2: as DAPE, but the network sees three neighbouring keys: scores as an image that is convolved along its rows.
//
// The formula stands in nn/positional/dape.hpp. That the hidden numbers of later keys are zero too, as the scores are,
// is ours: a cache needs it.
#include "nn/positional/dape.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  return adapted_bias(s, 3, parameters);
}

EncodingEntry dape_v2() {
  return {.summary = "DAPE that convolves the scores along three keys",
          .paper = "Zheng et al., DAPE V2, arXiv:2410.04798",
          .claims = {Claim::relative, Claim::preserves_norm},
          .unsure = "Second-hand: two convolutions 1 x 3, the hidden width 32 and that later keys count as zero.",
          .make = make};
}

}  // namespace phasor::encoding
