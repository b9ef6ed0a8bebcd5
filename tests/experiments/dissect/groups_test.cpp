// Groups: means and intervals over seeds, and encodings with different dimensions side by side.
#include "experiments/dissect/groups.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "core/error.hpp"

using namespace phasor;

namespace {

Dissection with_share(const std::vector<double>& values, const std::string& name = "share") {
  Measurement share(name, {indices("component", static_cast<int64_t>(values.size()))});
  share.values = values;
  return {.step = 1, .settings = {}, .measurements = {share}};
}

}  // namespace

TEST_CASE("groups: means and 95 % intervals over the seeds") {
  const Group rope{"rope", {}, {with_share({1, 5}), with_share({2, 5}), with_share({6, 5})}};
  const std::optional<Stacked> all = stacked({rope}, "share");
  REQUIRE(all);
  CHECK(all->means.dimensions[0] == Dimension{.name = "encoding", .words = {"rope"}});
  CHECK(all->means.values == std::vector<double>{3, 5});
  // s = sqrt(7), t(2) = 4.302653: 4.302653 sqrt(7 / 3).
  REQUIRE(all->half_widths.size() == 2);
  CHECK(all->half_widths[0] == doctest::Approx(6.5724).epsilon(1e-4));
  CHECK(all->half_widths[1] == 0);
  CHECK(over_seeds(rope, "share", {0}) == std::vector<double>{1, 2, 6});
  CHECK(mean_over_seeds(rope, "share").at({0}) == 3);
  CHECK(mean_over_seeds(rope, "nothing").values.empty());
}

TEST_CASE("groups: one seed has no interval; a group without the measurement has no place") {
  const Group rope{"rope", {}, {with_share({1, 2})}}, alibi{"alibi", {}, {with_share({1}, "other")}};
  const std::optional<Stacked> all = stacked({rope, alibi}, "share");
  REQUIRE(all);
  CHECK(all->means.dimensions[0].words == std::vector<std::string>{"rope"});
  CHECK(all->half_widths.empty());
  CHECK(!stacked({rope, alibi}, "nothing"));
}

TEST_CASE("groups: where they differ in entries, each has NaN at those of the other") {
  Measurement near("decay", {{.name = "distance", .numbers = {0, 1, 4}}}),
      far("decay", {{.name = "distance", .numbers = {0, 2, 4}}});
  near.values = {1, 2, 3};
  far.values = {4, 5, 6};
  const Group a{"a", {}, {{1, {}, {near}}}}, b{"b", {}, {{1, {}, {far}}}};
  const std::optional<Stacked> all = stacked({a, b}, "decay");
  REQUIRE(all);
  CHECK(all->means.dimensions[1].numbers == std::vector<double>{0, 1, 2, 4});
  const std::vector<double> expected = {1, 2, NAN, 3, 4, NAN, 5, 6};
  for (size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK((all->means.values[i] == expected[i] || (std::isnan(all->means.values[i]) && std::isnan(expected[i]))));
  }
  Measurement other("decay", {indices("component", 3)});
  CHECK_THROWS_WITH_AS(stacked({a, {"c", {}, {{1, {}, {other}}}}}, "decay"), doctest::Contains("do not go together"),
                       ValueError);
}

TEST_CASE("groups: an estimate says how sure it is, and by what") {
  CHECK(estimate({2.5}).text == "+2.50 (one seed)");
  CHECK(!estimate({2.5}).is_above(0));
  const Estimate windows = estimate({-1}, 0.25);
  CHECK(windows.text == "-1.00 ±0.25 (over windows, one seed)");
  CHECK(windows.is_below(-0.7));
  CHECK(!windows.is_below(-0.8));
  const Estimate seeds = estimate({1, 2, 6}, 0.01);  // a standard error within a seed says nothing of the seeds
  CHECK(seeds.text == "+3.00 ±6.57 (3 seeds)");
  CHECK(!seeds.is_above(0));
  CHECK(estimate({1, 1.01, 1.02}).is_above(0.9));
}

TEST_CASE("groups: angles are averaged as directions") {
  const auto with_angle = [](double angle) { return with_share({angle}, "offset_angle"); };
  const std::optional<Stacked> all = stacked({{"rope", {}, {with_angle(3), with_angle(-3)}}}, "offset_angle");
  REQUIRE(all);
  CHECK(std::abs(all->means.values[0]) == doctest::Approx(3.14159265358979));
  CHECK(std::isnan(all->half_widths[0]));
}
