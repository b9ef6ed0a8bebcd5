// Ranges and ticks of chart axes.
#include "experiments/report/axis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/report/text.hpp"

namespace phasor {
namespace {

constexpr double room = 0.04;  // of the range, at both ends
constexpr int fewest_ticks = 4;
constexpr int most_ticks = 12;

// 3 * 10^-1 is 0.30000000000000004 to the machine and 0.3 to the reader.
std::string rounded_text(double value) { return fmt::format("{:.6g}", value); }

}  // namespace

Axis::Axis(Scale scale, const std::vector<double>& values) : scale_(scale) {
  for (const double value : values) {
    if (!shows(value)) continue;
    const double m = measure(value);
    low_ = empty_ ? m : std::min(low_, m);
    high_ = empty_ ? m : std::max(high_, m);
    empty_ = false;
  }
  if (empty_) return;
  double margin = room * (high_ - low_);
  // One value, or values that differ by rounding only: a range around them that ticks can divide.
  const double smallest = 1e-9 * std::max({std::abs(low_), std::abs(high_), 1e-6});
  if (!(margin > smallest)) margin = scale == Scale::linear ? std::max(std::abs(high_) * 0.1, 1e-6) : 1;
  low_ -= margin;
  high_ += margin;
}

bool Axis::shows(double value) const {
  // Beyond 1e300 the range itself would overflow.
  return std::isfinite(value) && std::abs(value) < 1e300 && (scale_ == Scale::linear || value > 0);
}

double Axis::measure(double value) const {
  if (scale_ == Scale::log2) return std::log2(value);
  if (scale_ == Scale::log10) return std::log10(value);
  return value;
}

double Axis::fraction(double value) const { return (measure(value) - low_) / (high_ - low_); }

std::vector<Tick> Axis::ticks() const {
  if (empty_) return {};
  if (scale_ == Scale::linear) return linear_ticks();
  if (scale_ == Scale::log10) return decade_ticks();
  const int first = static_cast<int>(std::ceil(low_)), last = static_cast<int>(std::floor(high_));
  const int step = (last - first) / most_ticks + 1;
  std::vector<Tick> ticks;
  for (int power = (first + step - 1) / step * step; power <= last; power += step) {
    const double value = std::exp2(power);
    ticks.push_back({value, number_text(value)});
  }
  return ticks;
}

std::vector<Tick> Axis::linear_ticks() const {
  const double low = scale_ == Scale::linear ? low_ : std::pow(10, low_);
  const double high = scale_ == Scale::linear ? high_ : std::pow(10, high_);
  // The largest step of 1, 2 or 5 times a power of ten that still gives enough ticks.
  const double magnitude = std::floor(std::log10((high - low) / fewest_ticks));
  double step = std::pow(10, magnitude);
  for (const double factor : {2, 5}) {
    if (factor * std::pow(10, magnitude) * fewest_ticks <= high - low) step = factor * std::pow(10, magnitude);
  }
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  const double largest = std::max(std::abs(low), std::abs(high));
  std::vector<Tick> ticks;
  // A tick that rounding puts just outside the range is still on its edge.
  for (double multiple = std::ceil(low / step - 1e-9); multiple <= high / step + 1e-9; ++multiple) {
    const double value = multiple * step;
    const bool is_plain = decimals <= 6 && largest < 1e7;
    ticks.push_back({value, is_plain ? fixed_text(value == 0 ? 0 : value, decimals) : rounded_text(value)});
  }
  return ticks;
}

std::vector<Tick> Axis::decade_ticks() const {
  const std::vector<std::vector<double>> choices = {{1}, {1, 2, 5}, {1, 1.5, 2, 3, 4, 5, 7}};
  for (const auto& mantissas : choices) {
    std::vector<Tick> ticks;
    const int first = static_cast<int>(std::floor(low_)), last = static_cast<int>(std::floor(high_));
    const int step = (last - first) / most_ticks + 1;
    for (int decade = first; decade <= last; decade += step) {
      for (const double mantissa : mantissas) {
        const double value = mantissa * std::pow(10, decade);
        if (measure(value) >= low_ && measure(value) <= high_) ticks.push_back({value, rounded_text(value)});
      }
    }
    if (static_cast<int>(ticks.size()) >= fewest_ticks) return ticks;
  }
  return linear_ticks();  // less than about half a decade: even steps read better
}

}  // namespace phasor
