// What a few paired measurements say: a mean and how far it may be off.
#pragma once

#include <cstdint>
#include <vector>

namespace phasor {

struct Interval {
  double mean = 0;
  double half_width = 0;  // of the 95 % interval of the mean; infinite for one value, which tells nothing of the spread
};

// Of values that are normal and independent, such as differences between two encodings over seeds that both trained
// with: mean -+ t s / sqrt(n), t the 0.975 quantile of Student's distribution with n - 1 degrees of freedom, s the
// standard deviation with n - 1 in its denominator. ValueError for no values.
Interval interval_of_mean(const std::vector<double>& values);

// The t below which Student's distribution has 0.975 of its mass, for at least one degree of freedom.
double student_quantile(int64_t degrees_of_freedom);

}  // namespace phasor
