// Decides by definitions and bars that stand in the text of each finding.
#include "experiments/dissect/findings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.hpp"

namespace phasor {
namespace {

// A component belongs to the claimed band if its wavelength is within these multiples of L.
constexpr double band_from = 0.5, band_to = 4;
constexpr double range_bar = 0.01;  // the share of pairs outside from which a component leaves its range
constexpr double fading_bar = 0.1;  // by which the band's share must fall from its peak
constexpr double decay_bar = 0.1;   // of the score of equal queries and keys, which is 1 at distance 0
constexpr double sink_bar = 0.3;    // of the attention (Gu et al., arXiv:2410.10781)
constexpr double cost_bar = 0.05;   // nats per byte

const Group& group_of_rope(const std::vector<Group>& groups) {
  for (const Group& group : groups)
    if (group.settings.encoding.name == "rope") return group;
  return groups.at(0);
}

const Group* group_of_hope(const std::vector<Group>& groups) {
  for (const Group& group : groups)
    if (group.settings.encoding.name == "hope") return &group;
  return nullptr;
}

int64_t last(const Dimension& dimension) { return dimension.size() - 1; }

int64_t place_of(const Dimension& dimension, const std::string& word) {
  const auto found = std::find(dimension.words.begin(), dimension.words.end(), word);
  require<ValueError>(found != dimension.words.end(), "dissect", "no '", word, "' among the ", dimension.name, "s");
  return found - dimension.words.begin();
}

// Wavelength of a component of head 0 as a multiple of L; infinity where it stands still.
double wavelength_in_lengths(const Group& group, int64_t layer, int64_t component) {
  const double frequency = mean_over_seeds(group, "frequency").at({layer, 0, component});
  return 2 * std::numbers::pi / std::abs(frequency) / static_cast<double>(group.settings.train.length);
}

bool in_band(const Group& group, int64_t component) {
  const double wavelength = wavelength_in_lengths(group, 0, component);
  return wavelength >= band_from && wavelength <= band_to;
}

std::string seeds_text(const Group& group) {
  return group.seeds.size() == 1 ? "one seed" : fmt::format("{} seeds", group.seeds.size());
}

std::string band_text() { return fmt::format("wavelengths from {} L to {} L", band_from, band_to); }

// The depth or recency of all layers together.
Estimate depth_of(const Group& group, const std::string& name) {
  const int64_t all = last(mean_over_seeds(group, name).dimensions[0]);
  std::optional<double> error;
  if (name == "u_depth" && group.seeds.size() == 1) error = over_seeds(group, "u_depth_error", {all})[0];
  return estimate(over_seeds(group, name, {all}), error);
}

std::string u_definition(const Group& group) {
  const DissectSettings& d = group.settings.dissect;
  return fmt::format(
      "depth: mean score of the first {:g} % of the keys after [bos] minus that of the middle {:g} %, in standard "
      "deviations over the keys; {} windows of random bytes, last query",
      100 * d.edge, 100 * d.middle, d.sequences);
}

std::string component_text(const Group& group, int64_t component) {
  const double wavelength = wavelength_in_lengths(group, 0, component);
  return std::isfinite(wavelength) ? fmt::format("{} (wavelength {:.2f} L)", component, wavelength)
                                   : fmt::format("{} (stands still)", component);
}

}  // namespace

Finding u_shape_finding(const std::vector<Group>& groups) {
  const Group& rope = group_of_rope(groups);
  Finding finding{.claim =
                      "Trained with RoPE, scores form a U over the positions: high for the earliest and for the "
                      "nearest keys, low between."};
  for (const Group& group : groups) {
    const Estimate depth = depth_of(group, "u_depth"), recency = depth_of(group, "u_recency");
    finding.measured += fmt::format("{}{}: depth {}, recency {}", finding.measured.empty() ? "" : "; ", group.label,
                                    depth.text, recency.text);
    finding.numbers.push_back({group.label, depth.interval.mean, depth.interval.half_width});
  }
  const Estimate depth = depth_of(rope, "u_depth"), recency = depth_of(rope, "u_recency");
  finding.measured +=
      fmt::format(" ({}; recency: the same for the last keys). A U needs both above 0.", u_definition(rope));
  finding.verdict = depth.is_above(0) && recency.interval.mean > 0   ? Verdict::supported
                    : depth.is_below(0) || recency.interval.mean < 0 ? Verdict::contradicted
                                                                     : Verdict::undecided;
  return finding;
}

Finding activated_finding(const std::vector<Group>& groups) {
  const Group& rope = group_of_rope(groups);
  const Measurement share = mean_over_seeds(rope, "u_share");
  const int64_t layers = share.dimensions[0].size(), components = share.dimensions[1].size();
  const double bar = rope.settings.dissect.activated / static_cast<double>(components);
  Finding finding{.claim =
                      "A few activated components make the U; their wavelengths are near the training length or a "
                      "little longer, so that they can be told before the training."};
  double all = 0, within = 0;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const std::string& name = share.dimensions[0].words[static_cast<size_t>(layer)];
    std::string activated;
    for (int64_t c = 0; c < components; ++c) {
      const double value = share.at({layer, c});
      if (!(value > bar)) continue;
      activated += (activated.empty() ? "" : ", ") + component_text(rope, c);
      if (layer < layers - 1) continue;
      finding.numbers.push_back({"component " + component_text(rope, c), value});
      all += value;
      if (in_band(rope, c)) within += value;
    }
    finding.measured +=
        fmt::format("{}{}: {}", layer == 0 ? rope.label + ", " : "; ", name == "all" ? "all layers" : "layer " + name,
                    activated.empty() ? "none" : activated);
  }
  finding.measured += fmt::format(
      ". Activated: a share of the curve's variance over the keys above {:g} / {} components = {:.3f}. {:.0f} % of the "
      "activated share lies at {} (bar: more than half; {}).",
      rope.settings.dissect.activated, components, bar, all > 0 ? 100 * within / all : 0.0, band_text(),
      seeds_text(rope));
  finding.verdict = all == 0 ? Verdict::undecided : within / all > 0.5 ? Verdict::supported : Verdict::contradicted;
  return finding;
}

Finding change_finding(const std::vector<Group>& groups) {
  const Group& rope = group_of_rope(groups);
  const Group* const hope = group_of_hope(groups);
  Finding finding{.claim = "The activated components make the U. HoPE, which stops them, should not form one."};
  if (!hope || hope == &rope) {
    finding.measured = "There is no pair of rope and hope to compare.";
    finding.verdict = Verdict::undecided;
    return finding;
  }
  const Estimate of_rope = depth_of(rope, "u_depth"), of_hope = depth_of(*hope, "u_depth");
  const double half = of_rope.interval.mean / 2;
  finding.measured = fmt::format("Depth of the U: {} with rope, {} with hope (bar: below half of rope's, {:+.2f}).",
                                 of_rope.text, of_hope.text, half);
  finding.numbers = {{rope.label, of_rope.interval.mean, of_rope.interval.half_width},
                     {hope->label, of_hope.interval.mean, of_hope.interval.half_width}};
  finding.verdict = !of_rope.is_above(0)     ? Verdict::undecided
                    : of_hope.is_below(half) ? Verdict::supported
                    : of_hope.is_above(half) ? Verdict::contradicted
                                             : Verdict::undecided;
  return finding;
}

Finding shortcut_finding(const std::vector<Group>& groups) {
  const Group& rope = group_of_rope(groups);
  const Measurement share = mean_over_seeds(rope, "u_share_by_step");
  const int64_t steps = share.dimensions[0].size(), all_layers = last(share.dimensions[1]),
                components = share.dimensions[2].size();
  const std::vector<double>& at_step = share.dimensions[0].numbers;
  Finding finding{.claim =
                      "The activated components are a shortcut: they dominate early in the training, and the model "
                      "damps them later."};
  std::vector<double> band(static_cast<size_t>(steps));
  for (int64_t step = 0; step < steps; ++step)
    for (int64_t c = 0; c < components; ++c)
      if (in_band(rope, c)) band[static_cast<size_t>(step)] += share.at({step, all_layers, c});
  int64_t peak = 1;  // the weights of step 0 are random
  for (int64_t step = 1; step < steps; ++step) {
    if (band[static_cast<size_t>(step)] > band[static_cast<size_t>(peak)]) peak = step;
    finding.numbers.push_back(
        {fmt::format("step {:g}", at_step[static_cast<size_t>(step)]), band[static_cast<size_t>(step)]});
  }
  if (steps < 4) {
    finding.measured = "Too few snapshots of the training were kept (checkpoint.snapshots).";
    finding.verdict = Verdict::undecided;
    return finding;
  }
  const double fall = band[static_cast<size_t>(peak)] - band.back();
  finding.measured = fmt::format(
      "Components with {} have {:.2f} of the variance of {}'s U curve at the end, {:.2f} at most, after step {:g} of "
      "{:g} (bar: a peak in the first half, and a fall by {:g} from it; {}).",
      band_text(), band.back(), rope.label, band[static_cast<size_t>(peak)], at_step[static_cast<size_t>(peak)],
      at_step.back(), fading_bar, seeds_text(rope));
  const bool early = at_step[static_cast<size_t>(peak)] <= at_step.back() / 2;
  finding.verdict = early && fall > fading_bar ? Verdict::supported
                    : !early                   ? Verdict::contradicted
                                               : Verdict::undecided;
  return finding;
}

Finding beyond_range_finding(const std::vector<Group>& groups) {
  const Group& rope = group_of_rope(groups);
  Finding finding{.claim =
                      "Beyond L, abnormal scores come from the components that have not turned once within L, and "
                      "appear in the first layer."};
  const Measurement parts = mean_over_seeds(rope, "beyond_range"), whole = mean_over_seeds(rope, "score_beyond_range");
  const int64_t layers = parts.dimensions[0].size(), components = parts.dimensions[1].size();
  const std::vector<double>& distances = parts.dimensions[2].numbers;
  double slow = 0, fast = 0;  // shares of the parts outside, summed over layers and distances from L on
  double first_distance = INFINITY, most_in_first_layer = 0;  // of whole scores that leave
  int64_t first_layer = -1;
  for (int64_t layer = 0; layer < layers; ++layer) {
    double most = 0;
    for (int64_t d = 0; d < std::ssize(distances); ++d) {
      const double distance = distances[static_cast<size_t>(d)], share = whole.at({layer, d});
      if (distance < static_cast<double>(rope.settings.train.length)) continue;
      for (int64_t c = 0; c < components; ++c)
        (wavelength_in_lengths(rope, layer, c) > 1 ? slow : fast) += parts.at({layer, c, d});
      most = std::max(most, share);
      if (share > range_bar && distance < first_distance) {
        first_distance = distance;
        first_layer = layer;
      }
    }
    if (layer == 0) most_in_first_layer = most;
    finding.numbers.push_back({fmt::format("layer {}, largest share outside", layer), most});
  }
  if (slow + fast == 0) {
    finding.measured = "No part of a score leaves its range.";
    finding.verdict = Verdict::undecided;
    return finding;
  }
  finding.measured = fmt::format(
      "{}: {:.0f} % of the parts outside belong to components with a wavelength above L. Of the whole scores, {} leave "
      "first{}; in layer 0 at most {:.1f} % are outside. (Range: the lowest and the highest within windows of L "
      "tokens, "
      "by head and component; they leave where more than {:g} % of the pairs at a distance are outside; "
      "{}.)",
      rope.label, 100 * slow / (slow + fast),
      first_layer < 0 ? std::string("none") : fmt::format("those of layer {}", first_layer),
      first_layer < 0 ? "" : fmt::format(", at distance {:g}", first_distance), 100 * most_in_first_layer,
      100 * range_bar, seeds_text(rope));
  finding.verdict = first_layer < 0                                  ? Verdict::undecided
                    : first_layer == 0 && slow / (slow + fast) > 0.5 ? Verdict::supported
                                                                     : Verdict::contradicted;
  return finding;
}

Finding frequencies_finding(const std::vector<Group>& groups) {
  Finding finding{.claim =
                      "RoPE's scores decay over long distances even without training. HoPE's, whose components all "
                      "turn within L or stand still, do not."};
  const auto number = [](const Group& group, const char* name) { return over_seeds(group, name, {}).at(0); };
  bool rope_decays = false, hope_stays = false;
  for (const Group& group : groups) {
    const Measurement decay = mean_over_seeds(group, "decay");
    if (decay.values.empty()) continue;  // its components have no single frequencies
    const int64_t size = std::ssize(decay.values), length = group.settings.train.length;
    const auto mean_between = [&](int64_t begin, int64_t end) {
      double sum = 0;
      for (int64_t d = begin; d < end; ++d) sum += decay.at({d});
      return sum / static_cast<double>(std::max<int64_t>(end - begin, 1));
    };
    const double near = mean_between(length / 4, length / 2), far = mean_between(size / 2, size);
    const double first_negative = number(group, "first_negative_distance");
    finding.measured += fmt::format(
        "{}{}: {:.2f} between L/4 and L/2, {:.2f} in the farther half, {}; {:g} of {} channels turn once within L",
        finding.measured.empty() ? "" : ". ", group.label, near, far,
        std::isnan(first_negative) ? std::string("never below 0")
                                   : fmt::format("below 0 first at distance {:g}", first_negative),
        2 * number(group, "within_train_length"), 2 * mean_over_seeds(group, "frequency").dimensions[2].size());
    finding.numbers.push_back({group.label + ", farther half minus nearer", far - near});
    if (group.settings.encoding.name == "rope") rope_decays = far - near < -decay_bar;
    if (group.settings.encoding.name == "hope") hope_stays = std::abs(far - near) <= decay_bar;
  }
  const Group& rope = group_of_rope(groups);
  if (!over_seeds(rope, "smallest_base", {}).empty())
    finding.measured += fmt::format(
        ". The smallest base whose RoPE curve stays above 0 up to L is {:.4g} (here: {:g}); the critical dimension is "
        "{:g}",
        number(rope, "smallest_base"), rope.settings.encoding.base, number(rope, "critical_dimension"));
  finding.measured += fmt::format(". (Bar: a fall by more than {:g} is a decay.)", decay_bar);
  const bool both = group_of_hope(groups) && rope.settings.encoding.name == "rope";
  finding.verdict = !both ? Verdict::undecided : rope_decays && hope_stays ? Verdict::supported : Verdict::contradicted;
  return finding;
}

Finding sink_finding(const std::vector<Group>& groups) {
  Finding finding;
  for (const Group& group : groups) {
    const Measurement sink = mean_over_seeds(group, "sink");
    if (sink.values.empty()) continue;
    const int64_t heads = std::ssize(sink.values) / sink.dimensions[0].size();
    finding.measured += (finding.measured.empty() ? "" : "; ") + group.label + ": ";
    for (int64_t i = 0; i < sink.dimensions[0].size(); ++i) {
      const auto first = sink.values.begin() + i * heads;
      const auto sinks = std::count_if(first, first + heads, [](double share) { return share > sink_bar; });
      finding.measured += fmt::format("{}{} of {} heads at {:g} tokens", i == 0 ? "" : ", ", sinks, heads,
                                      sink.dimensions[0].numbers[static_cast<size_t>(i)]);
    }
  }
  finding.measured += fmt::format(". (More than {:g} of the attention makes a sink.)", sink_bar);
  return finding;
}

Finding ablation_finding(const std::vector<Group>& groups) {
  const Group& rope = group_of_rope(groups);
  Finding finding{.claim = "The slow components are dispensable inside L and harmful beyond: HoPE does without them."};
  const Measurement loss = mean_over_seeds(rope, "ablation");
  const auto slowest_from = static_cast<int64_t>(over_seeds(rope, "within_train_length", {}).at(0));
  const int64_t components = loss.dimensions[2].size();
  const std::vector<double>& lengths = loss.dimensions[3].numbers;
  if (slowest_from >= components) {
    finding.measured = "Every component turns within L.";
    finding.verdict = Verdict::undecided;
    return finding;
  }
  const int64_t stop = place_of(loss.dimensions[0], "stop"), from_slow = place_of(loss.dimensions[1], "from slow");
  std::string changes;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const Estimate change =
        estimate(over_seeds(rope, "ablation", {stop, from_slow, slowest_from, static_cast<int64_t>(i)}),
                 rope.seeds.size() == 1
                     ? over_seeds(rope, "ablation_error", {stop, from_slow, slowest_from, static_cast<int64_t>(i)})[0]
                     : std::optional<double>());
    const std::string length = fmt::format("{:g} L", lengths[i] / static_cast<double>(rope.settings.train.length));
    changes += fmt::format("{}{} at {}", changes.empty() ? "" : ", ", change.text, length);
    finding.numbers.push_back({"change of the loss at " + length, change.interval.mean, change.interval.half_width});
  }
  const double at_length = loss.at({stop, from_slow, slowest_from, 0}),
               beyond = loss.at({stop, from_slow, slowest_from, last(loss.dimensions[3])});
  finding.measured = fmt::format(
      "Stopping the components {} to {} of {} (those with a wavelength above L) changes the loss, in nats per byte, by "
      "{}. (Bars: at most {:g} at L, below -{:g} at the longest.)",
      slowest_from, components - 1, rope.label, changes, cost_bar, cost_bar);
  finding.verdict = at_length <= cost_bar && beyond < -cost_bar ? Verdict::supported
                    : beyond > 0 || at_length > cost_bar        ? Verdict::contradicted
                                                                : Verdict::undecided;
  return finding;
}

}  // namespace phasor
