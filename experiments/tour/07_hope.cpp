// 7. HoPE is one line: stop what does not finish a turn within the training length.
#include <cmath>
#include <cstdio>
#include <numbers>

#include "nn/positional/encoding.hpp"

using namespace phasor;

int main() {
  constexpr double train_length = 128;
  const Spectrum rope = Spectrum::geometric(32, 10000);
  const Spectrum hope = rope.map([](Component c) {
    if (c.wavelength() > train_length) c.frequency = 0;  // the one line
    return c;
  });
  std::printf("of %d components %d turn; the slowest of them has wavelength %.0f\n", static_cast<int>(hope.size()),
              static_cast<int>(hope.turning()), rope[hope.turning() - 1].wavelength());

  // Why? Beyond the training length a slow component shows angles that the model has never seen.
  const double longer = 4 * train_length, turn = 2 * std::numbers::pi;
  int unseen = 0;
  for (const Component& c : rope) unseen += c.frequency * train_length < turn && c.frequency != 0;
  std::printf("at 4 times the length %d components of RoPE reach new angles, of HoPE 0\n", unseen);
  std::printf("the slowest: up to %.4f of a turn in training, %.4f at %.0f tokens\n",
              rope[31].frequency * train_length / turn, rope[31].frequency * longer / turn, longer);

  // The price RoPE pays, and HoPE does not: the score of equal content sinks with distance (mean over 64 distances).
  const auto mean_cosine = [](const Spectrum& spectrum, double from) {
    double sum = 0;
    for (double distance = from; distance < from + 64; ++distance)
      for (const Component& c : spectrum) sum += std::cos(c.frequency * distance) / 64 / 32;
    return sum;
  };
  std::printf("mean cosine of all components at distance\n       0-63  128-191  512-575  4096-4159\n");
  for (const auto& [name, spectrum] : {std::pair{"rope", rope}, {"hope", hope}})
    std::printf("%s %6.2f %8.2f %8.2f %10.2f\n", name, mean_cosine(spectrum, 0), mean_cosine(spectrum, 128),
                mean_cosine(spectrum, 512), mean_cosine(spectrum, 4096));
  // Question: with a training length of 512, how many components turn? Half of them: a coincidence of the paper's
  // setting. Change train_length, then the base 10000, and see the half go.
}
