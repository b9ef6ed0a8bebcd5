// A moving average over a window that grows with position.
#include "experiments/report/smooth.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/error.hpp"

namespace phasor {
namespace {

// The value at `center` of the least-squares line through the finite values of [begin, end).
double line_value(std::span<const double> values, int64_t begin, int64_t end, int64_t center) {
  double count = 0, offsets = 0, sum = 0;
  for (int64_t i = begin; i < end; ++i) {
    if (!std::isfinite(values[i])) continue;
    count += 1;
    offsets += static_cast<double>(i - center);
    sum += values[i];
  }
  const double mean_offset = offsets / count, mean = sum / count;
  double variance = 0, covariance = 0;
  for (int64_t i = begin; i < end; ++i) {
    if (!std::isfinite(values[i])) continue;
    const double offset = static_cast<double>(i - center) - mean_offset;
    variance += offset * offset;
    covariance += offset * (values[i] - mean);
  }
  return variance > 0 ? mean - mean_offset * covariance / variance : mean;
}

}  // namespace

std::vector<double> smoothed_by_position(std::span<const double> values, double reach) {
  require<ValueError>(reach >= 0 && reach < 1, "smoothed_by_position", "reach is ", reach,
                      "; needed is 0 <= reach < 1");
  const int64_t size = static_cast<int64_t>(values.size());
  std::vector<double> smooth(values.begin(), values.end());
  for (int64_t i = 0; i < size; ++i) {
    const int64_t half = static_cast<int64_t>(reach * static_cast<double>(i + 1));
    if (half == 0 || !std::isfinite(values[i])) continue;
    smooth[i] = line_value(values, std::max<int64_t>(i - half, 0), std::min(i + half + 1, size), i);
  }
  return smooth;
}

}  // namespace phasor
