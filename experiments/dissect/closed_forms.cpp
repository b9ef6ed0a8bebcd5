// Sums of cosines and arcs of circles.
#include "experiments/dissect/closed_forms.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/error.hpp"

namespace phasor {
namespace {

constexpr double none = std::numeric_limits<double>::quiet_NaN();
constexpr double turn = 2 * std::numbers::pi;

double decay_at(const Spectrum& spectrum, int64_t distance) {
  double sum = 0, weight = 0;
  for (const Component& c : spectrum) {
    sum += c.gain * c.gain * std::cos(static_cast<double>(distance) * c.frequency);
    weight += c.gain * c.gain;
  }
  return sum / weight;
}

// The share of the circle from angle 0 on.
double arc(const Component& c, int64_t length) {
  return std::min(1.0, static_cast<double>(length) * std::abs(c.frequency) / turn);
}

void require_gain(const char* what, const Spectrum& spectrum) {
  require<ValueError>(std::any_of(spectrum.begin(), spectrum.end(), [](Component c) { return c.gain != 0; }), what,
                      "all gains of the spectrum are 0; needs one that is not");
}

}  // namespace

Measurement decay(const Spectrum& spectrum, int64_t length) {
  require_gain("decay", spectrum);
  Measurement curve("decay", {indices("distance", length)});
  for (int64_t m = 0; m < length; ++m) curve.at({m}) = decay_at(spectrum, m);
  return curve;
}

double first_negative_distance(const Spectrum& spectrum, int64_t limit) {
  require_gain("first_negative_distance", spectrum);
  for (int64_t m = 0; m <= limit; ++m)
    if (decay_at(spectrum, m) < 0) return static_cast<double>(m);
  return none;
}

double smallest_base(int64_t components, int64_t length) {
  // Neighbouring bases fail at the same distance: it is tried first, and the others when it no longer fails.
  int64_t failing = 0;
  for (double base = 1.001; base <= 1e30; base *= 1.001) {
    const Spectrum spectrum = Spectrum::geometric(components, base);
    if (decay_at(spectrum, failing) < 0) continue;
    const double first = first_negative_distance(spectrum, length);
    if (std::isnan(first)) return base;
    failing = static_cast<int64_t>(first);
  }
  return none;
}

int64_t critical_dimension(int64_t head_dim, double base, int64_t train_length) {
  require<ValueError>(head_dim >= 2 && base > 1 && train_length >= 1, "critical_dimension", "head_dim ", head_dim,
                      ", base ", base, ", train_length ", train_length,
                      "; needs at least 2 channels, a base above 1 and a length of at least 1");
  const double turns = std::log(static_cast<double>(train_length) / turn) / std::log(base);
  const auto components = static_cast<int64_t>(std::ceil(static_cast<double>(head_dim) / 2 * turns));
  return std::clamp<int64_t>(2 * components, 0, head_dim);
}

Measurement angle_coverage(const Spectrum& spectrum, int64_t length) {
  Measurement coverage("angle_coverage", {indices("component", spectrum.size())});
  for (int64_t i = 0; i < spectrum.size(); ++i) coverage.at({i}) = arc(spectrum[i], length);
  return coverage;
}

Measurement unseen_angles(const Spectrum& spectrum, int64_t train_length, int64_t length) {
  Measurement unseen("unseen_angles", {indices("component", spectrum.size())});
  for (int64_t i = 0; i < spectrum.size(); ++i) {
    const double seen = arc(spectrum[i], train_length), met = arc(spectrum[i], length);
    unseen.at({i}) = met > seen ? (met - seen) / met : 0;
  }
  return unseen;
}

}  // namespace phasor
