// 6. RoPE by component: a score is a sum of small clocks, each with its own wavelength.
#include <cmath>
#include <cstdio>

#include "autograd/ops.hpp"
#include "nn/positional/encoding.hpp"

using namespace phasor;

int main() {
  constexpr int64_t head_dim = 16, components = head_dim / 2;
  const Spectrum rope = Spectrum::geometric(components, 10000);

  // The same content at two positions: q = k = ones. Component p adds 2 cos(frequency * distance) to the score.
  const Var ones = Tensor::full({1, 1, 1, head_dim}, 1, Dtype::f64);
  const auto turned = [&](double position, const Spectrum& spectrum) {
    const CosSin table = spectrum.table(consecutive_positions(1, position), Dtype::f64);
    return rotary(ones, table.cos, table.sin, RotaryLayout::half_split);
  };
  const auto score = [&](double q_position, double k_position, const Spectrum& spectrum) {
    return sum(turned(q_position, spectrum) * turned(k_position, spectrum)).value().item<double>();
  };

  std::printf("component  wavelength  its part of the score at distance 1, 10, 100\n");
  for (const Component& c : rope) {
    std::printf("%9d %11.1f ", static_cast<int>(c.index), c.wavelength());
    for (const double distance : {1.0, 10.0, 100.0}) std::printf(" %6.2f", 2 * std::cos(c.frequency * distance));
    std::printf("\n");
  }
  std::printf("score by the op        ");
  for (const double distance : {1.0, 10.0, 100.0}) std::printf(" %6.2f", score(distance, 0, rope));

  // Only the difference of positions matters, wherever the pair stands.
  std::printf("\ndistance 10 at position 0: %.6f, at 5000: %.6f\n", score(10, 0, rope), score(5010, 5000, rope));
  // Question: the fast components are already random at distance 100, the slow ones have not moved. With which base
  // would half of the components finish a turn within 100 tokens? Change 10000.
}
