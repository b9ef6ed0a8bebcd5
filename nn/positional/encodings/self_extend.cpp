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

static NewPositions grouped(int64_t shift) {
  return [=](const Tensor& positions) {
    std::vector<double> values = positions.to_vector<double>();
    for (double& value : values) value = std::floor(value / group) + static_cast<double>(shift);
    return Tensor::of<double>(positions.shape(), values);
  };
}

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const int64_t window = far_window("self_extend", s);
  return rotary_with_far_positions(Spectrum::geometric(s.components(), s.rope_base), window,
                                   grouped(window - window / group), grouped(0));
}

EncodingEntry self_extend() {
  return {.summary = "rotary that counts far positions in groups of eight",
          .paper = "Jin et al., Self-Extend, arXiv:2401.01325",
          .claims = {Claim::preserves_norm, Claim::no_parameters},
          .reads_rope = true,
          .make = make};
}

}  // namespace phasor::encoding
