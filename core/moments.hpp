// Mean and spread of a row that stays in the cache, to full precision also where the mean is large beside the spread.
#pragma once

#include "core/simd.hpp"

namespace phasor {

// The mean is center + rest: the center is rounded to T, and rest is what that rounding left out.
template <class T>
struct Moments {
  T center;
  double rest, squares;  // squares: sum of (x - mean)^2
};

// What is measured from a center c, d = x - c, gives the rest r = mean(d) and sum (x - mean)^2 = sum d^2 - n r^2: exact
// for any c, without cancellation for a c near the mean.
template <class T>
Moments<T> moments_about(int64_t n, T center, double sum, double sum_of_squares) {
  const double rest = sum / static_cast<double>(n), squares = sum_of_squares - sum * rest;
  return {center, rest, squares < 0 ? 0 : squares};
}

// Of x[i] for i < n, n >= 1, in two passes. The center is found from differences to x[0]: equal numbers have themselves
// as mean, and no spread.
template <class T>
Moments<T> moments(int64_t n, const T* x) {
  const simd::Vec<T> first = simd::set<T>(x[0]);
  const T center = x[0] + simd::sum<T>(
                              n, [&](auto v) { return v - first; }, x) /
                              static_cast<T>(n);
  const simd::Vec<T> middle = simd::set<T>(center);
  const auto [sum, squares] = simd::sum_pair<T>(
      n,
      [&](auto v) {
        const auto d = v - middle;
        return std::pair(d, d * d);
      },
      x);
  return moments_about(n, center, static_cast<double>(sum), static_cast<double>(squares));
}

}  // namespace phasor
