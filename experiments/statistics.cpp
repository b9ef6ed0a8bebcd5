// Student's distribution in closed form for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).
#include "experiments/statistics.hpp"

#include <cmath>
#include <limits>
#include <numbers>

#include "core/error.hpp"

namespace phasor {

// The mass between -t and t.
static double student_mass(double t, int64_t degrees) {
  const double angle = std::atan(t / std::sqrt(static_cast<double>(degrees)));
  const double cosine = std::cos(angle);
  const bool odd = degrees % 2 == 1;
  double term = odd ? cosine : 1, sum = degrees == 1 ? 0 : term;
  for (int64_t i = odd ? 3 : 2; i < degrees; i += 2) {
    term *= cosine * cosine * static_cast<double>(i - 1) / static_cast<double>(i);
    sum += term;
  }
  return odd ? 2 / std::numbers::pi * (angle + std::sin(angle) * sum) : std::sin(angle) * sum;
}

double student_quantile(int64_t degrees_of_freedom) {
  require<ValueError>(degrees_of_freedom >= 1, "student_quantile", "degrees of freedom are ", degrees_of_freedom,
                      "; needs at least 1");
  double low = 0, high = 13;  // 12.7062 with one degree of freedom, less with more
  for (int halving = 0; halving < 60; ++halving) {
    const double middle = (low + high) / 2;
    (student_mass(middle, degrees_of_freedom) < 0.95 ? low : high) = middle;
  }
  return high;
}

Interval interval_of_mean(const std::vector<double>& values) {
  require<ValueError>(!values.empty(), "interval_of_mean", "no values");
  const auto count = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (const double value : values) mean += value / count;
  if (values.size() == 1) return {mean, std::numeric_limits<double>::infinity()};
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double deviation = std::sqrt(squares / (count - 1));
  return {mean, student_quantile(static_cast<int64_t>(values.size()) - 1) * deviation / std::sqrt(count)};
}

}  // namespace phasor
