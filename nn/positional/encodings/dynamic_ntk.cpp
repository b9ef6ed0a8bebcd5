// Dynamic NTK: RoPE up to the training length; in a longer text the base grows with the text.
//
// base (s length / L - (s - 1))^(d / (d - 2)) where length > L = train_length, d = head_dim; continuous at L. With s =
// 1 the text counts alone. All tokens of a text turn by its present length, so beyond L a cache serves one length only.
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  require<UsageError>(s.components() >= 2, "dynamic_ntk", "a fastest and a slowest component are needed: head_dim is ",
                      s.head_dim, "; needs at least 4");
  const double factor = extension_factor("dynamic_ntk", s);
  const auto components = static_cast<double>(s.components()), train_length = static_cast<double>(s.train_length);
  PositionalEncoding encoding = PositionalEncoding::rotary(Spectrum::geometric(s.components(), s.rope_base));
  encoding.rotation->table_length = [limit = s.train_length](int64_t length) { return std::max(length, limit); };
  encoding.rotation->tables = [=, base = s.rope_base](const PositionalContext& c) {
    const double longer = std::max(1.0, static_cast<double>(c.current_length) / train_length);
    const double stretch = std::pow(factor * longer - (factor - 1), components / (components - 1));
    const Spectrum spectrum = Spectrum::geometric(static_cast<int64_t>(components), base * stretch);
    return PositionalEncoding::rotary(spectrum).rotation->tables(c);
  };
  return encoding;
}

EncodingEntry dynamic_ntk() {
  return {.summary = "rotary with a base that grows beyond the training length",
          .paper = "Peng et al., YaRN, arXiv:2309.00071, section 3.3",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .reads_rope = true,
          .make = make};
}

}  // namespace phasor::encoding
