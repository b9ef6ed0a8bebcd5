// HoPE: rotate only the components that finish a full turn within the training length.
//
// frequency < 2 pi / train_length stands still, the other frequencies stay as in RoPE.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const Spectrum rope = Spectrum::geometric(s.components(), s.rope_base);
  // A slower component shows the model angles it never saw as soon as the text grows longer.
  // frequency = 0 stops it: its slice of q.k no longer depends on position.
  const Spectrum kept = rope.map([&](Component c) {
    if (c.wavelength() > static_cast<double>(s.train_length)) c.frequency = 0;
    return c;
  });
  require<UsageError>(kept.turning() > 0, "hope", "nothing is left to rotate: the fastest wavelength is ",
                      rope[0].wavelength(), " tokens, train.length is ", s.train_length, "; train longer, or use nope");
  return PositionalEncoding::rotary(kept);
}

EncodingEntry hope() {
  return {.summary = "rotary without the components slower than the training length",
          .paper = "Chen et al., HoPE, arXiv:2410.21216",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .unsure =
              "The cut is from second-hand accounts, which agree; the paper's own formula could not be "
              "read.",
          .make = make};
}

}  // namespace phasor::encoding
