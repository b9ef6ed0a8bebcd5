// ReRoPE: rotary up to a window; every pair further apart is turned as if it stood exactly a window apart.
//
//   distance' = min(distance, window),   window = train_length / 4
//
// No angle beyond the window's ever occurs. Published windows are 1024 of 4096 tokens, a quarter. Made for models that
// were trained with rope; here it acts in training too. The window counts tokens, not positions.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static NewPositions all_at(int64_t position) {
  return [=](const Tensor& positions) {
    return Tensor::full(positions.shape(), static_cast<double>(position), Dtype::f64);
  };
}

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const int64_t window = far_window("rerope", s);
  return rotary_with_far_positions(Spectrum::geometric(s.components(), s.rope_base), window, all_at(window), all_at(0));
}

EncodingEntry rerope() {
  return {.summary = "rotary whose distances stop growing at a window",
          .paper = "Su, ReRoPE (blog and code); its rotation: arXiv:2104.09864",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .unsure = "The formula rests on memory; the window of a quarter is a setting of the author's results.",
          .reads_rope = true,
          .make = make};
}

}  // namespace phasor::encoding
