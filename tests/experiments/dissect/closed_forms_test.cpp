// Closed forms against numbers of the papers, of a NumPy program of a few lines (cosines added in another order), and
// by hand.
#include "experiments/dissect/closed_forms.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "core/error.hpp"

using namespace phasor;

namespace {

Spectrum spectrum_of(const std::vector<double>& frequencies, const std::vector<double>& gains) {
  return Spectrum::geometric(std::ssize(frequencies), 10000).map([&](Component c) {
    c.frequency = frequencies[static_cast<size_t>(c.index)];
    c.gain = gains[static_cast<size_t>(c.index)];
    return c;
  });
}

}  // namespace

TEST_CASE("decay: by hand, with gains and a component that stands still") {
  const Measurement curve = decay(spectrum_of({std::numbers::pi, 0}, {1, 2}), 4);
  CHECK(curve.name == "decay");
  CHECK(curve.dimensions == std::vector<Dimension>{indices("distance", 4)});
  for (int64_t m = 0; m < 4; ++m) CHECK(curve.at({m}) == doctest::Approx(m % 2 == 0 ? 1 : 0.6));
  CHECK_THROWS_AS(decay(spectrum_of({1, 0}, {0, 0}), 4), ValueError);
}

TEST_CASE("first_negative_distance: what NumPy finds for heads of 16 to 128 channels") {
  const int64_t head_dims[] = {16, 32, 64, 128};
  const std::pair<double, std::vector<double>> table[] = {{500, {46, 103, 154, 171}}, {10000, {91, 474, 725, 1707}}};
  for (const auto& [base, distances] : table)
    for (size_t i = 0; i < 4; ++i) {
      CAPTURE(base);
      CAPTURE(head_dims[i]);
      CHECK(first_negative_distance(Spectrum::geometric(head_dims[i] / 2, base), 2000) == distances[i]);
    }
  const Spectrum spectrum = Spectrum::geometric(8, 500);
  CHECK(first_negative_distance(spectrum, 46) == 46);
  CHECK(std::isnan(first_negative_distance(spectrum, 45)));
  CHECK(std::isnan(first_negative_distance(spectrum_of({1, 0}, {1, 2}), 1000)));
}

TEST_CASE("smallest_base: what NumPy finds; Men et al. give 4.3e3 for 1k tokens") {
  struct Known {
    int64_t head_dim, length;
    double base;  // the first of a grid of ratio 1.0001
  };
  for (const Known& known : {Known{128, 1024, 4293.64}, {64, 128, 475.083}, {64, 512, 3439.19}, {16, 64, 1706.14}}) {
    CAPTURE(known.length);
    const double base = smallest_base(known.head_dim / 2, known.length);
    CHECK(base >= known.base * (1 - 1e-4));
    CHECK(base <= known.base * (1 + 1e-3));
  }
  // It is not monotone: a larger base may fail again.
  CHECK(first_negative_distance(Spectrum::geometric(32, 3500), 512) < 512);
  CHECK(smallest_base(1, 1) == 1.001);     // cos(1) > 0: any base
  CHECK(std::isnan(smallest_base(1, 2)));  // cos(2) < 0 for the only frequency, 1
}

TEST_CASE("critical_dimension: LLaMA-2, and its bounds") {
  CHECK(critical_dimension(128, 10000, 4096) == 92);
  CHECK(critical_dimension(64, 10000, 512) == 32);
  CHECK(critical_dimension(64, 10000, 6) == 0);         // no component turns once
  CHECK(critical_dimension(64, 10000, 1000000) == 64);  // all do
  CHECK_THROWS_AS(critical_dimension(64, 1, 128), ValueError);
}

TEST_CASE("angle_coverage and unseen_angles: quarter turns by hand") {
  // Of length 4: a whole turn and more, a quarter of one, nothing. Of length 12: three quarters.
  const Spectrum spectrum = spectrum_of({2, std::numbers::pi / 8, 0}, {1, 1, 1});
  const Measurement coverage = angle_coverage(spectrum, 4), unseen = unseen_angles(spectrum, 4, 12);
  CHECK(coverage.name == "angle_coverage");
  CHECK(unseen.name == "unseen_angles");
  CHECK(coverage.dimensions == std::vector<Dimension>{indices("component", 3)});
  CHECK(unseen.dimensions == coverage.dimensions);
  const double expected_coverage[] = {1, 0.25, 0}, expected_unseen[] = {0, 2 / 3.0, 0};
  for (int64_t i = 0; i < 3; ++i) {
    CHECK(coverage.at({i}) == doctest::Approx(expected_coverage[i]));
    CHECK(unseen.at({i}) == doctest::Approx(expected_unseen[i]));
  }
  // Beyond a whole turn nothing is new.
  CHECK(unseen_angles(spectrum, 4, 400).at({1}) == doctest::Approx(0.75));
}
