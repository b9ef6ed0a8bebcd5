// Sinusoidal positions: sines and cosines of the position are added to the embedding (the first transformer's
// encoding).
//
//   PE[position, 2i] = sin(position * base^(-2i / width)),   PE[position, 2i + 1] = cos(of the same)      section 3.5
//
// The paper also multiplies the embeddings by sqrt(width). That belongs to the embedding and is not done here.
#include <cmath>

#include "core/dispatch.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static Tensor table(const Tensor& positions, int64_t width, double base, Dtype dtype) {
  const int64_t batch = positions.extent(0), length = positions.extent(1);
  const View<double> at = positions.view<double>();
  const Tensor pe = Tensor::empty({batch, length, width}, dtype);
  with_float("sinusoidal", dtype, [&]<class T>() {
    T* to = pe.data<T>();
    for (int64_t row = 0; row < batch; ++row)
      for (int64_t i = 0; i < length; ++i)
        for (int64_t channel = 0; channel < width; ++channel) {
          const double exponent = static_cast<double>(channel / 2 * 2) / static_cast<double>(width);
          const double angle = at(row, i) * std::pow(base, -exponent);
          *to++ = static_cast<T>(channel % 2 == 0 ? std::sin(angle) : std::cos(angle));
        }
  });
  return pe;
}

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  require<UsageError>(s.rope_base > 1 && std::isfinite(s.rope_base), "sinusoidal", "needs a finite base above 1, got ",
                      s.rope_base);
  PositionalEncoding encoding;
  encoding.embed = [width = s.width, base = s.rope_base](const Var& embedded, const PositionalContext& c) {
    return embedded + table(c.q_positions, width, base, embedded.dtype());
  };
  return encoding;
}

EncodingEntry sinusoidal() {
  return {.summary = "sines and cosines of the position, added to the embedding",
          .paper = "Vaswani et al., arXiv:1706.03762",
          .claims = {Claim::preserves_norm, Claim::no_parameters},
          .make = make};
}

}  // namespace phasor::encoding
