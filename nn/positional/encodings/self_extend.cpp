// Self-Extend: rotary within a window; beyond it positions count in groups of 8, so that distances grow more slowly.
//
//   distance' = distance                                               where distance < window
//             = floor(m / 8) - floor(n / 8) + window - window / 8      beyond, for query m and key n; window / 8 whole
//
// Groups begin at fixed positions, so beyond the window scores are not relative. Group size 8 is the authors' default,
// as is the window of 1024 for models of 4096 tokens: a quarter. Made, like rerope, for models trained with rope; here
// it acts in training too.
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

constexpr int64_t group = 8;

static Tensor grouped(const Tensor& positions, int64_t shift) {
  std::vector<double> values = positions.to_vector<double>();
  for (double& value : values) value = std::floor(value / group) + static_cast<double>(shift);
  return Tensor::of<double>(positions.shape(), values);
}

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const Spectrum spectrum = Spectrum::geometric(s.components(), s.rope_base);
  const int64_t window = s.train_length / 4;
  require<UsageError>(window >= 1, "self_extend", "the window, a quarter of train.length = ", s.train_length,
                      ", holds no token; needs train.length 4 or more");
  PositionalEncoding encoding = PositionalEncoding::rotary(spectrum);
  encoding.far_from = window;
  encoding.far_rotation.emplace();
  encoding.far_rotation->tables = [=](const PositionalContext& c) {
    const CosSin q = spectrum.table(grouped(c.q_positions, window - window / group), c.q.dtype());
    const CosSin k = spectrum.table(grouped(c.k_positions, 0), c.q.dtype());
    return RotaryTables{q.cos, q.sin, k.cos, k.sin};
  };
  return encoding;
}

EncodingEntry self_extend() {
  return {.summary = "rotary that counts far positions in groups of eight",
          .paper = "Jin et al., Self-Extend, arXiv:2401.01325",
          .claims = {Claim::preserves_norm, Claim::no_parameters},
          .reads_rope = true,
          .make = make};
}

}  // namespace phasor::encoding
