// ReRoPE: rotary up to a window; every pair further apart is turned as if it stood exactly a window apart.
//
//   distance' = min(distance, window),   window = train_length / 4
//
// No angle beyond the window's ever occurs. Published windows are 1024 of 4096 tokens, a quarter. Made for models that
// were trained with rope; here it acts in training too. The window counts tokens, not positions.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const Spectrum spectrum = Spectrum::geometric(s.components(), s.rope_base);
  const int64_t window = s.train_length / 4;
  require<UsageError>(window >= 1, "rerope", "the window, a quarter of train.length = ", s.train_length,
                      ", holds no token; needs train.length 4 or more");
  PositionalEncoding encoding = PositionalEncoding::rotary(spectrum);
  encoding.far_from = window;
  encoding.far_rotation.emplace();
  encoding.far_rotation->tables = [=](const PositionalContext& c) {
    const auto all_at = [&](const Tensor& like, int64_t position) {
      return spectrum.table(Tensor::full(like.shape(), static_cast<double>(position), Dtype::f64), c.q.dtype());
    };
    const CosSin q = all_at(c.q_positions, window), k = all_at(c.k_positions, 0);
    return RotaryTables{q.cos, q.sin, k.cos, k.sin};
  };
  return encoding;
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
