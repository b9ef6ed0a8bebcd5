// What encodings share: rotary tables, biases of distances, look-up by name.
#include "nn/positional/encoding.hpp"

#include <algorithm>

#include "core/nearest_name.hpp"

namespace phasor {

PositionalEncoding PositionalEncoding::rotary(const Spectrum& spectrum) {
  PositionalEncoding encoding;
  encoding.rotation = Rotation{
      .tables =
          [spectrum](const PositionalContext& c) {
            const Dtype dtype = c.q.dtype();
            const CosSin q = spectrum.table(c.q_positions, dtype);
            const CosSin k = c.k_positions.is_same_view(c.q_positions) ? q : spectrum.table(c.k_positions, dtype);
            return RotaryTables{q.cos, q.sin, k.cos, k.sin};
          },
      .spectrum = spectrum,
  };
  return encoding;
}

PositionalEncoding PositionalEncoding::bias(BiasOfDistance f) {
  PositionalEncoding encoding;
  encoding.bias_of_distance = std::move(f);
  return encoding;
}

const EncodingEntry& encoding_named(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, entry] : encodings()) {
    if (known == name) return entry;
    names.push_back(known);
  }
  throw UsageError(unknown_name("encoding", name, names));
}

Tensor consecutive_positions(int64_t length, double first) {
  const Tensor positions = Tensor::empty({1, length}, Dtype::f64);
  double* const p = positions.data<double>();
  for (int64_t i = 0; i < length; ++i) p[i] = first + static_cast<double>(i);
  return positions;
}

Var bias_at(const PositionalEncoding::BiasOfDistance& bias, const PositionalContext& c, Dtype dtype) {
  const int64_t batch = std::max(c.q_positions.extent(0), c.k_positions.extent(0));
  const int64_t q_length = c.q_positions.extent(1), k_length = c.k_positions.extent(1);
  const View<double> q = c.q_positions.broadcast_to({batch, q_length}).view<double>();
  const View<double> k = c.k_positions.broadcast_to({batch, k_length}).view<double>();
  // Keys behind the query get a distance of 0: they are masked, and a bias such as log(1 + distance) must not see -2.
  const Tensor distance = Tensor::empty({batch, q_length, k_length}, Dtype::f64);
  const View<double> at = distance.view<double>();
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < q_length; ++i)
      for (int64_t j = 0; j < k_length; ++j) at(b, i, j) = std::max(q(b, i) - k(b, j), 0.0);
  const Var of_heads = bias(distance.to(dtype).reshape({1, distance.size()}));  // [heads or 1, n]
  const int64_t heads = of_heads.extent(0);
  return transpose(reshape(of_heads, {heads, batch, q_length, k_length}), 0, 1);
}

}  // namespace phasor
