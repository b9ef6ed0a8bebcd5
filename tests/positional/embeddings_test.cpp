// The sinusoidal encoding by its numbers, and the sampler of randomized positions by its statistics.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/encoding_scores.hpp"

using namespace phasor;

namespace {

Tensor added_by_sinusoidal(const Tensor& positions, int64_t width, Dtype dtype) {
  ParameterList none;
  const AttentionShape shape = {.layers = 1, .width = width, .heads = 1, .kv_heads = 1, .head_dim = width};
  PositionalContext context;
  context.q_positions = positions;
  const Var nothing = Tensor::zeros({2, positions.extent(1), width}, dtype);
  return encoding_named("sinusoidal").make(shape, none).embed(nothing, context).value();
}

PositionalEncoding randomized(int64_t train_length) {
  ParameterList none;
  return encoding_named("randomized")
      .make({.layers = 1, .heads = 1, .head_dim = 8, .train_length = train_length}, none);
}

}  // namespace

TEST_CASE("sinusoidal: sine and cosine side by side, up to position one million in f32") {
  const Tensor pe = added_by_sinusoidal(consecutive_positions(3), 4, Dtype::f64);
  CHECK(pe.shape() == Shape{2, 3, 4});
  CHECK(pe.slice(0, 0, 1).slice(1, 0, 1).to_vector<double>() == std::vector<double>{0, 1, 0, 1});
  const std::vector<double> at_one = pe.slice(0, 1, 2).slice(1, 1, 2).to_vector<double>();
  const std::vector<double> expected = {0.8414709848078965, 0.5403023058681398, 0.009999833334166664,
                                        0.9999500004166653};
  for (size_t i = 0; i < 4; ++i) CHECK(at_one[i] == doctest::Approx(expected[i]).epsilon(1e-14));

  // An odd width ends with a sine; positions differ between the rows.
  const Tensor far = added_by_sinusoidal(Tensor::of<double>({2, 1}, {1e6, 3}), 7, Dtype::f32);
  for (int64_t row = 0; row < 2; ++row)
    for (int64_t channel = 0; channel < 7; ++channel) {
      const long double wave = std::exp(std::log(10000.0L) * (channel - channel % 2) / 7);
      const long double angle = (row == 0 ? 1e6L : 3.0L) / wave;
      const long double value = channel % 2 == 0 ? std::sin(angle) : std::cos(angle);
      CHECK(std::abs(far.view<float>()(row, 0, channel) - static_cast<float>(value)) <= 1e-6);
    }
}

TEST_CASE("randomized: increasing whole positions below 2048, each as likely as any other") {
  const PositionalEncoding encoding = randomized(64);
  std::vector<int> hits(2048);
  Random random{.seed = 5};
  constexpr int draws = 800;
  for (int draw = 0; draw < draws; ++draw) {
    const Tensor positions = encoding.training_positions(3, 64, random);
    REQUIRE(positions.shape() == Shape{1, 64});
    double before = -1;
    for (const double position : positions.to_vector<double>()) {
      REQUIRE(position > before);
      REQUIRE(position == std::floor(position));
      REQUIRE(position < 2048);
      before = position;
      ++hits[static_cast<size_t>(position)];
    }
  }
  // 25 hits each on average, with a deviation of 4.9: the sum of squares over the variance has the mean 2048, and a
  // deviation of 64.
  double squares = 0;
  for (const int count : hits) squares += (count - 25.0) * (count - 25.0) / (25 * (1 - 64.0 / 2048));
  CHECK(std::abs(squares - 2048) < 4 * 64);
  Random again{.seed = 5}, other{.seed = 6};
  random = {.seed = 5};
  const std::vector<double> first = encoding.training_positions(1, 64, random).to_vector<double>();
  CHECK(encoding.training_positions(1, 64, again).to_vector<double>() == first);
  CHECK(encoding.training_positions(1, 64, other).to_vector<double>() != first);

  CHECK(encoding.training_positions(1, 2048, random).to_vector<double>()[2047] == 2047);
  CHECK_THROWS_WITH_AS(encoding.training_positions(1, 2049, random),
                       doctest::Contains("randomized: a window of 2049 tokens; there are 2048 positions"), UsageError);
  CHECK_THROWS_WITH_AS(randomized(2048), doctest::Contains("randomized: train.length is 2048"), UsageError);
}
