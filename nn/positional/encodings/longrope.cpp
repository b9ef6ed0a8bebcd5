// LongRoPE: every component turns slower by a factor of its own, found by a search; one list of factors for texts up to
// the training length, another for longer ones.
//
// frequency_i / factor_i, and cosine and sine of q and of k times sqrt(1 + ln s / ln L), L = train_length. Without
// lists: ones up to L, and beyond the factors of `ntk`, s^(i / (components - 1)), which are not searched. The length
// chooses the tables: a cache ends where the text passes L.
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static Spectrum divided(const Spectrum& rope, const char* setting, const std::vector<double>& factors,
                        double last_factor, double gain) {
  require<UsageError>(factors.empty() || factors.size() == static_cast<size_t>(rope.size()), "longrope", setting,
                      " has ", factors.size(), " numbers; needs one for each of the ", rope.size(),
                      " components (model.width / model.heads / 2), or none");
  for (const double factor : factors)
    require<UsageError>(factor >= 1 && std::isfinite(factor), "longrope", setting, " has ", factor,
                        "; needs finite numbers >= 1");
  return rope.map([&](Component c) {
    c.frequency /= !factors.empty() ? factors[static_cast<size_t>(c.index)]
                   : rope.size() == 1
                       ? last_factor
                       : std::pow(last_factor, static_cast<double>(c.index) / static_cast<double>(rope.size() - 1));
    c.gain = gain;
    return c;
  });
}

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const double factor = extension_factor("longrope", s), length = static_cast<double>(s.train_length);
  require<UsageError>(s.train_length >= 2, "longrope", "train.length is ", s.train_length, "; needs at least 2");
  const double gain = std::sqrt(1 + std::log(factor) / std::log(length));
  const Spectrum rope = Spectrum::geometric(s.components(), s.rope_base);
  PositionalEncoding encoding =
      PositionalEncoding::rotary(divided(rope, "encoding.short_factors", s.short_factors, 1, gain));
  const PositionalEncoding::Rotation within = *encoding.rotation,
                                     beyond = *PositionalEncoding::rotary(
                                                   divided(rope, "encoding.long_factors", s.long_factors, factor, gain))
                                                   .rotation;
  encoding.rotation->table_length = [limit = s.train_length](int64_t length) {
    return length > limit ? limit + 1 : limit;
  };
  encoding.rotation->tables = [=, train_length = s.train_length](const PositionalContext& c) {
    return (c.current_length > train_length ? beyond : within).tables(c);
  };
  return encoding;
}

EncodingEntry longrope() {
  return {.summary = "rotary slowed by a list of factors, by length short or long",
          .paper = "Ding et al., LongRoPE, arXiv:2402.13753",
          .claims = {Claim::relative, Claim::no_parameters},
          .unsure =
              "Second-hand: that the paper's search starts from ntk's factors, among others, and that some "
              "first tokens keep their frequencies there, which is left out.",
          .reads_rope = true,
          .make = make};
}

}  // namespace phasor::encoding
