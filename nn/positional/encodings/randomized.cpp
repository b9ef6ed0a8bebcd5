// Randomized positions: a training window gets random increasing positions below 2048, so that rope meets the positions
// of far longer texts while it trains on short ones.
//
// The positions are drawn without replacement and sorted, once per step for the whole batch; 2048 is the default of the
// authors' example. Evaluation reads 0, 1, 2, ...
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

constexpr int64_t range = 2048;

// Each position is kept with the probability (still needed) / (still to come): all subsets are equally likely.
static Tensor draw(int64_t length, Random& random) {
  require<UsageError>(length <= range, "randomized", "a window of ", length, " tokens; there are ", range,
                      " positions to draw from");
  const Tensor positions = Tensor::empty({1, length}, Dtype::f64);
  int64_t kept = 0;
  for (int64_t position = 0; kept < length; ++position)
    if (random.below(range - position) < length - kept)
      positions.data<double>()[kept++] = static_cast<double>(position);
  return positions;
}

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  require<UsageError>(s.train_length < range, "randomized", "train.length is ", s.train_length,
                      "; positions are drawn below ", range, ", which must be more");
  PositionalEncoding encoding = PositionalEncoding::rotary(Spectrum::geometric(s.components(), s.rope_base));
  encoding.training_positions = [](int64_t, int64_t length, Random& random) { return draw(length, random); };
  return encoding;
}

EncodingEntry randomized() {
  return {.summary = "rotary trained on random positions of a longer range",
          .paper = "Ruoss et al., arXiv:2305.16843",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .unsure = "Whether the paper's evaluation reads 0, 1, 2, ... too, or draws, could not be read.",
          .make = make};
}

}  // namespace phasor::encoding
