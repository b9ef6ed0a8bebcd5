// Figures of dissected models: whose intervals they draw.
#include "experiments/dissect/figures.hpp"

#include <doctest/doctest.h>

using namespace phasor;

namespace {

Dissection with_depth(double depth) {
  const Dimension layer = {.name = "layer", .words = {"0", "all"}};
  Measurement of_layer("u_depth", {layer}), error("u_depth_half_width", {layer});
  of_layer.values = {depth, depth};
  error.values = {0.1, 0.2};
  return {.step = 1, .settings = {}, .measurements = {of_layer, error}};
}

Group group(const std::string& encoding, const std::vector<Dissection>& seeds) {
  Group g{encoding, {}, seeds};
  g.settings.encoding.name = encoding;
  return g;
}

Figure depth_figure(const std::vector<Group>& groups) {
  const DissectionView view = dissection_view(groups);
  REQUIRE(view.sections.size() == 1);
  REQUIRE(view.sections[0].figures.size() == 1);
  return view.sections[0].figures[0];
}

}  // namespace

TEST_CASE("figures: bands are over the seeds, or over the windows of one; where some have one seed there are none") {
  const Group one = group("rope", {with_depth(1)}), two = group("hope", {with_depth(1), with_depth(3)});
  const Figure of_windows = depth_figure({one});
  REQUIRE(of_windows.half_widths.size() == 2);
  CHECK(of_windows.half_widths[1] == doctest::Approx(0.2));
  CHECK(of_windows.measured.ends_with("Intervals: 95 %, over windows, one seed."));
  const Figure of_seeds = depth_figure({two});
  REQUIRE(of_seeds.half_widths.size() == 2);
  CHECK(of_seeds.half_widths[0] == doctest::Approx(12.7062).epsilon(1e-5));  // t(1) of two values 2 apart
  CHECK(of_seeds.measured.ends_with("Intervals: 95 %, over seeds."));
  const Figure of_both = depth_figure({one, two});
  CHECK(of_both.half_widths.empty());
  CHECK(of_both.measured.find("Intervals") == std::string::npos);
}
