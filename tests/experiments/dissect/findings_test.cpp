// Findings: measurements are planted, and the verdict is the one that they were planted for.
#include "experiments/dissect/findings.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "core/error.hpp"
#include "tests/support/text.hpp"

using namespace phasor;
using phasor::testing::holds;

namespace {

constexpr int64_t components = 8, layers = 2;

Measurement filled(const std::string& name, const std::vector<Dimension>& dimensions, double value) {
  Measurement m(name, dimensions);
  std::fill(m.values.begin(), m.values.end(), value);
  return m;
}

const Dimension layers_and_all = {.name = "layer", .words = {"0", "1", "all"}};

// A model of eight components with wavelengths of L / 8, L / 4, ..., 16 L, whose other measurements are 0.
Dissection blank() {
  Dissection d{.step = 100, .settings = {}, .measurements = {}};
  Measurement frequency("frequency", {indices("layer", layers), indices("head", 1), indices("component", components)});
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t c = 0; c < components; ++c)
      frequency.at({layer, 0, c}) = 2 * std::numbers::pi / (16.0 * std::pow(2.0, static_cast<double>(c)));
  const Dimension steps = {.name = "step", .numbers = {0, 10, 20, 40, 80}},
                  distances = {.name = "distance", .numbers = {1, 64, 128, 256}};
  d.measurements = {frequency,
                    filled("within_train_length", {}, 4),
                    filled("u_depth", {layers_and_all}, 0),
                    filled("u_depth_half_width", {layers_and_all}, 0.1),
                    filled("u_recency", {layers_and_all}, 0),
                    filled("u_bos", {layers_and_all}, 0.25),
                    filled("u_depth_by_step", {steps, layers_and_all}, 0),
                    filled("u_share", {layers_and_all, indices("component", components)}, 0),
                    filled("u_share_by_step", {steps, layers_and_all, indices("component", components)}, 0),
                    filled("beyond_range", {indices("layer", layers), indices("component", components), distances}, 0),
                    filled("score_beyond_range", {indices("layer", layers), distances}, 0),
                    filled("ablation",
                           {{.name = "kind", .words = {"stop", "remove"}},
                            {.name = "way", .words = {"alone", "from fast", "from slow"}},
                            indices("component", components),
                            {.name = "length", .numbers = {128, 512}}},
                           0),
                    filled("ablation_half_width",
                           {{.name = "kind", .words = {"stop", "remove"}},
                            {.name = "way", .words = {"alone", "from fast", "from slow"}},
                            indices("component", components),
                            {.name = "length", .numbers = {128, 512}}},
                           0.01)};
  return d;
}

double& planted(Dissection& d, const std::string& name, const std::vector<int64_t>& index) {
  for (Measurement& m : d.measurements)
    if (m.name == name) return m.at(index);
  FAIL("no " << name);
  return d.measurements[0].values[0];
}

Group group(const std::string& encoding, const std::vector<Dissection>& seeds) {
  Group g{encoding, {}, seeds};
  g.settings.encoding.name = encoding;
  return g;
}

Dissection with_depth(double depth, double recency = 1) {
  Dissection d = blank();
  planted(d, "u_depth", {2}) = depth;
  planted(d, "u_recency", {2}) = recency;
  return d;
}

}  // namespace

TEST_CASE("findings: a U is deep at both ends; within the error it is undecided") {
  const auto verdict = [](const std::vector<Dissection>& seeds) {
    return u_shape_finding({group("rope", seeds)}).verdict;
  };
  CHECK(verdict({with_depth(1)}) == Verdict::supported);
  CHECK(verdict({with_depth(-1)}) == Verdict::contradicted);
  CHECK(verdict({with_depth(0.05)}) == Verdict::undecided);
  CHECK(verdict({with_depth(1, -1)}) == Verdict::contradicted);
  CHECK(verdict({with_depth(1), with_depth(1.1)}) == Verdict::supported);
  CHECK(verdict({with_depth(1), with_depth(-0.5)}) == Verdict::undecided);
  CHECK(verdict({with_depth(1, 0.1), with_depth(1.1, 3)}) == Verdict::undecided);  // the recency is not sure
  // Rope is judged wherever it stands; all are shown.
  const Finding both = u_shape_finding({group("hope", {with_depth(-1)}), group("rope", {with_depth(1)})});
  CHECK(both.verdict == Verdict::supported);
  REQUIRE(both.numbers.size() == 2);
  CHECK(both.numbers[0].label == "hope");
  CHECK(both.numbers[0].value == -1);
  CHECK(both.numbers[0].half_width == doctest::Approx(0.1));
  CHECK(holds(both.measured, "first 4 % of the keys"));
  CHECK(holds(both.measured, "middle 50 %"));
}

TEST_CASE("findings: the activated components are those above the bar, judged by where their wavelengths are") {
  const auto finding = [](int64_t component, double share, double depth = 1) {
    Dissection d = with_depth(depth);
    planted(d, "u_share", {2, component}) = share;
    planted(d, "u_share", {0, 1}) = 0.5;
    return activated_finding({group("rope", {d})});
  };
  const Finding near = finding(4, 0.9);  // 2 L
  CHECK(near.verdict == Verdict::supported);
  CHECK(holds(near.measured, "rope, layer 0: 1 (wavelength 0.25 L); layer 1: none; all layers: 4 (wavelength 2.00 L)"));
  CHECK(holds(near.measured, "3 / 8 components = 0.375"));
  CHECK(finding(0, 0.9).verdict == Verdict::contradicted);     // L / 8
  CHECK(finding(7, 0.9).verdict == Verdict::contradicted);     // 16 L
  CHECK(finding(4, 0.3).verdict == Verdict::undecided);        // none is activated
  CHECK(finding(4, 0.9, 0.05).verdict == Verdict::undecided);  // there is no U to carry
}

TEST_CASE("findings: HoPE changes the U if its depth is below half of RoPE's") {
  const auto verdict = [](double rope, double hope) {
    return change_finding({group("rope", {with_depth(rope)}), group("hope", {with_depth(hope)})}).verdict;
  };
  CHECK(verdict(2, 0.1) == Verdict::supported);
  CHECK(verdict(2, 1.9) == Verdict::contradicted);
  CHECK(verdict(2, 1.05) == Verdict::undecided);
  CHECK(verdict(0.05, -2) == Verdict::undecided);  // RoPE itself has none
  CHECK(change_finding({group("rope", {with_depth(2)})}).verdict == Verdict::undecided);
}

TEST_CASE("findings: a shortcut peaks early and fades") {
  const auto finding = [](const std::vector<double>& band, const std::vector<double>& depth, double final_depth = 1) {
    Dissection d = with_depth(final_depth);
    for (int64_t step = 0; step < 5; ++step) {
      planted(d, "u_share_by_step", {step, 2, 4}) = band[static_cast<size_t>(step)];
      planted(d, "u_depth_by_step", {step, 2}) = depth[static_cast<size_t>(step)];
    }
    return shortcut_finding({group("rope", {d})});
  };
  const std::vector<double> always = {1, 1, 1, 1, 1};
  CHECK(finding({0, 0.2, 0.9, 0.8, 0.5}, always).verdict == Verdict::supported);
  CHECK(finding({0.99, 0.2, 0.3, 0.5, 0.8}, always).verdict == Verdict::contradicted);  // step 0 is before the training
  CHECK(finding({0, 0.2, 0.55, 0.5, 0.5}, always).verdict == Verdict::undecided);
  CHECK(finding({0, 0.2, 0.45, 0.2, 0.1}, always).verdict == Verdict::undecided);  // it never dominates
  // A share of what is no U yet does not count.
  CHECK(finding({0, 0.9, 0.2, 0.5, 0.8}, {0, 0.4, 0.6, 1, 1}).verdict == Verdict::contradicted);
  CHECK(finding({0, 0.9, 0.2, 0.5, 0.8}, {0, 0.4, 0.4, 1, 1}).verdict == Verdict::undecided);  // two snapshots
  CHECK(finding({0, 0.2, 0.9, 0.8, 0.5}, always, 0.05).verdict == Verdict::undecided);         // no clear U
}

TEST_CASE("findings: components that leave their range are slow ones, or not") {
  const auto finding = [](int64_t component, double share) {
    Dissection d = blank();
    planted(d, "beyond_range", {1, component, 3}) = share;
    planted(d, "beyond_range", {1, component, 1}) = 1;  // within L
    return beyond_range_finding({group("rope", {d})});
  };
  CHECK(finding(6, 0.2).verdict == Verdict::supported);
  CHECK(finding(2, 0.2).verdict == Verdict::contradicted);
  CHECK(finding(6, 0.005).verdict == Verdict::undecided);
  CHECK(holds(finding(6, 0.2).measured, "rope: 100 % of the parts outside"));
}

TEST_CASE("findings: the layer whose whole scores leave their range first") {
  const auto finding = [](double in_first, double in_second) {
    Dissection d = blank();
    planted(d, "score_beyond_range", {0, 3}) = in_first;
    planted(d, "score_beyond_range", {1, 2}) = in_second;
    return first_layer_finding({group("rope", {d})});
  };
  CHECK(finding(0.2, 0).verdict == Verdict::supported);
  CHECK(finding(0.2, 0.2).verdict == Verdict::contradicted);  // 128 tokens come before 256
  Dissection together = blank();
  for (const int64_t layer : {0, 1}) planted(together, "score_beyond_range", {layer, 2}) = 0.2;
  CHECK(first_layer_finding({group("rope", {together})}).verdict == Verdict::undecided);
  CHECK(finding(0.005, 0).verdict == Verdict::undecided);
  CHECK(holds(finding(0.2, 0).measured, "first in layer 0, at distance 256; in layer 0 at most 20.0 %"));
}

TEST_CASE("findings: what stopping the slow components costs at L and gains beyond") {
  const auto finding = [](double at_length, double beyond) {
    Dissection d = blank();
    planted(d, "ablation", {0, 2, 4, 0}) = at_length;
    planted(d, "ablation", {0, 2, 4, 1}) = beyond;
    return ablation_finding({group("rope", {d})});
  };
  CHECK(finding(0.01, -0.5).verdict == Verdict::supported);
  CHECK(finding(0.4, -0.5).verdict == Verdict::contradicted);
  CHECK(finding(0.01, 0.1).verdict == Verdict::contradicted);
  CHECK(finding(0.01, -0.01).verdict == Verdict::undecided);
  CHECK(holds(finding(0.4, -0.5).measured, "components 4 to 7 of rope"));
  CHECK(holds(finding(0.4, -0.5).measured, "+0.400 ±0.010 (over windows, one seed) at L, -0.500"));
  CHECK(finding(0.045, -0.5).verdict == Verdict::undecided);  // within the error of the bar
  // It takes L and more.
  Dissection short_one = blank();
  for (Measurement& m : short_one.measurements)
    if (m.name.starts_with("ablation")) m.dimensions[3].numbers = {64, 128};
  CHECK(ablation_finding({group("rope", {short_one})}).verdict == Verdict::undecided);
  CHECK_THROWS_AS(ablation_finding({group("rope", {{1, {}, {blank().measurements[0]}}})}), ValueError);
}

TEST_CASE("findings: claims about RoPE are judged on RoPE, and on components that have wavelengths") {
  CHECK(u_shape_finding({group("xpos", {with_depth(1)})}).verdict == Verdict::undecided);
  CHECK(holds(u_shape_finding({group("xpos", {with_depth(1)})}).measured, "no model here is trained with rope"));
  Group first = group("rope", {with_depth(1)}), second = group("rope", {with_depth(-1)});
  first.label = "rope (a)";
  second.label = "rope (b)";
  CHECK(holds(u_shape_finding({first, second}).measured, "Judged on rope (a)."));

  Dissection mixed = with_depth(1);
  planted(mixed, "frequency", {1, 0, 7}) = std::nan("");
  planted(mixed, "u_share", {2, 7}) = 0.9;
  planted(mixed, "beyond_range", {1, 6, 3}) = 0.5;
  const std::vector<Group> groups = {group("rope", {mixed})};
  for (const auto finding : {activated_finding, beyond_range_finding, ablation_finding})
    CHECK(finding(groups).verdict == Verdict::undecided);
}

TEST_CASE("findings: a fall of the curve over the distance is a decay; HoPE's claim needs both encodings") {
  // 128 tokens to L; the curve is `near` up to L and `far` beyond.
  const auto with_decay = [](double near, double far) {
    Dissection d = blank();
    Measurement decay("decay", {indices("distance", 512)});
    for (int64_t distance = 0; distance < 512; ++distance) decay.at({distance}) = distance < 128 ? near : far;
    for (const Measurement& m : {decay, filled("first_negative_distance", {}, std::nan("")),
                                 filled("smallest_base", {}, 123), filled("critical_dimension", {}, 8)})
      d.measurements.push_back(m);
    return d;
  };
  const auto finding = [&](const Dissection& rope, const Dissection& hope) {
    return frequencies_finding({group("rope", {rope}), group("hope", {hope})});
  };
  CHECK(finding(with_decay(0.7, 0.3), with_decay(0.6, 0.62)).verdict == Verdict::supported);
  CHECK(finding(with_decay(0.7, 0.65), with_decay(0.6, 0.62)).verdict == Verdict::contradicted);
  CHECK(finding(with_decay(0.7, 0.3), with_decay(0.6, 0.4)).verdict == Verdict::contradicted);
  const Finding both = finding(with_decay(0.7, 0.3), with_decay(0.6, 0.62));
  CHECK(holds(both.measured, "rope: 0.70 between L/4 and L/2, 0.30 from 256 to 512 tokens, never below 0; 8 of 16"));
  CHECK(holds(both.measured, "stays above 0 up to L is 123 (here: 10000)"));
  CHECK(frequencies_finding({group("rope", {with_decay(0.7, 0.3)})}).verdict == Verdict::undecided);
  CHECK(frequencies_finding({group("rope", {blank()})}).verdict == Verdict::undecided);  // no frequencies
}

TEST_CASE("findings: heads with more than 0.3 of the attention on [bos] are counted, for each length") {
  Dissection d = blank();
  Measurement sink("sink", {{.name = "length", .numbers = {128, 512}}, indices("layer", 2), indices("head", 2)});
  sink.values = {0.1, 0.31, 0.29, 0.9, 0, 0, 0, 0.5};
  d.measurements.push_back(sink);
  const Finding finding = sink_finding({group("rope", {d})});
  CHECK(finding.measured ==
        "rope: 2 of 4 heads at 128 tokens, 1 of 4 heads at 512 tokens. (More than 0.3 of the attention makes a sink.)");
  CHECK(finding.verdict == Verdict::shown);
}
