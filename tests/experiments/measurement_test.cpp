// Measurements: values by index, and several of them as one.
#include "experiments/report/measurement.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "core/error.hpp"

using namespace phasor;

TEST_CASE("measurement: values lie row by row, and are nothing until they are measured") {
  Measurement m("share", {indices("layer", 2), {.name = "site", .words = {"q", "k", "v"}}});
  REQUIRE(m.values.size() == 6);
  for (const double value : m.values) CHECK(std::isnan(value));
  m.at({1, 0}) = 7;
  CHECK(m.values[3] == 7);
  const Measurement& constant = m;
  CHECK(constant.at({1, 0}) == 7);
  CHECK(Measurement("number", {}).values.size() == 1);
}

TEST_CASE("measurement: an index that is not there is refused with the dimension's name") {
  Measurement m("share", {indices("layer", 2), indices("head", 3)});
  CHECK_THROWS_WITH_AS(m.at({0}), doctest::Contains("share: an index of 1 numbers for 2 dimensions"), ValueError);
  CHECK_THROWS_WITH_AS(m.at({0, 3}), doctest::Contains("share: head 3 of 3"), ValueError);
  CHECK_THROWS_WITH_AS(m.at({-1, 0}), doctest::Contains("share: layer -1 of 2"), ValueError);
}

TEST_CASE("measurement: stacked along a new first dimension; others are refused") {
  Measurement a("share", {indices("head", 2)}), b = a;
  a.values = {1, 2};
  b.values = {3, 4};
  const Dimension steps{.name = "step", .numbers = {0, 10}};
  const Measurement both = stacked(steps, {a, b});
  CHECK(both.name == "share");
  CHECK(both.dimensions == std::vector<Dimension>{steps, indices("head", 2)});
  CHECK(both.at({1, 0}) == 3);
  CHECK_THROWS_AS(stacked(steps, {a}), ValueError);
  CHECK_THROWS_AS(stacked({.name = "step"}, {}), ValueError);
  Measurement other("share", {indices("head", 3)});
  CHECK_THROWS_WITH_AS(stacked(steps, {a, other}), doctest::Contains("does not have the dimensions"), ValueError);
}
