// Intervals against tables of Student's distribution and an example by hand.
#include <doctest/doctest.h>

#include <cmath>

#include "core/error.hpp"
#include "experiments/statistics.hpp"

using namespace phasor;

TEST_CASE("student_quantile: the values of printed tables") {
  const std::pair<int64_t, double> table[] = {{1, 12.7062}, {2, 4.3027},  {3, 3.1824},  {4, 2.7764},  {5, 2.5706},
                                              {9, 2.2622},  {10, 2.2281}, {20, 2.0860}, {30, 2.0423}, {100, 1.9840}};
  for (const auto& [degrees, quantile] : table) {
    CAPTURE(degrees);
    CHECK(std::abs(student_quantile(degrees) - quantile) <= 5.1e-5);
  }
  CHECK_THROWS_AS(student_quantile(0), ValueError);
}

TEST_CASE("interval_of_mean: mean and half width by hand; one value has no width") {
  // Deviation sqrt((4 + 1 + 9) / 2) = sqrt(7); with two degrees of freedom t = p sqrt(2 / (1 - p^2)), p = 0.95.
  const Interval three = interval_of_mean({1, 2, 6});
  CHECK(three.mean == doctest::Approx(3).epsilon(1e-14));
  CHECK(three.half_width ==
        doctest::Approx(0.95 * std::sqrt(2 / (1 - 0.95 * 0.95)) * std::sqrt(7.0 / 3)).epsilon(1e-12));
  CHECK(interval_of_mean({0.5, 0.5}).half_width == 0);
  CHECK(interval_of_mean({-3}).mean == -3);
  CHECK(std::isinf(interval_of_mean({-3}).half_width));
  CHECK_THROWS_AS(interval_of_mean({}), ValueError);
}
