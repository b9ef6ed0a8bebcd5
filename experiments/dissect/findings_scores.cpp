// Scores beyond the training length: ranges, decay, and what stopping components does.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "experiments/dissect/judged.hpp"
#include "experiments/dissect/score_range.hpp"

namespace phasor {
namespace {

constexpr double decay_bar = 0.1;  // of the score of equal queries and keys, which is 1 at distance 0
constexpr double sink_bar = 0.3;   // of the attention (Gu et al., arXiv:2410.10781)
constexpr double cost_bar = 0.05;  // nats per byte

std::string range_definition(const Judged& judged) {
  return fmt::format(
      "range: the lowest and the highest of {} held-out windows of L tokens, by head; left where more than {:g} % of "
      "the "
      "pairs at a distance are outside; {}",
      judged.group().settings.dissect.windows, 100 * left_range, judged.seeds_text());
}

}  // namespace

Finding beyond_range_finding(const std::vector<Group>& groups) {
  const Judged judged(groups);
  Finding finding{.claim = "Beyond L, abnormal scores come from the components that have not turned once within L."};
  const Measurement parts = judged.mean("beyond_range", 3);
  const int64_t layers = parts.dimensions[0].size(), components = parts.dimensions[1].size();
  const std::vector<double>& distances = parts.dimensions[2].numbers;
  double slow = 0, all = 0, most = 0;  // shares of pairs outside, over layers and distances from L on
  for (int64_t layer = 0; layer < layers; ++layer) {
    double most_in_layer = 0;
    for (int64_t d = 0; d < std::ssize(distances); ++d) {
      if (distances[static_cast<size_t>(d)] < static_cast<double>(judged.group().settings.train.length)) continue;
      for (int64_t c = 0; c < components; ++c) {
        const double share = parts.at({layer, c, d});
        all += share;
        if (judged.wavelength(layer, c) > 1) slow += share;
        most_in_layer = std::max(most_in_layer, share);
      }
    }
    most = std::max(most, most_in_layer);
    finding.numbers.push_back({fmt::format("layer {}, largest share outside", layer), most_in_layer});
  }
  if (most <= left_range) {
    finding.measured =
        fmt::format("{}: no component leaves its range ({}).", judged.group().label, range_definition(judged));
    judged.decide(finding, Verdict::undecided);
    return finding;
  }
  finding.measured = fmt::format(
      "{}: {:.0f} % of the parts outside belong to components with a wavelength above L; bar: more than half "
      "({}).",
      judged.group().label, 100 * slow / all, range_definition(judged));
  judged.decide(finding, !judged.has_wavelengths() ? Verdict::undecided
                         : slow / all > 0.5        ? Verdict::supported
                                                   : Verdict::contradicted);
  return finding;
}

Finding first_layer_finding(const std::vector<Group>& groups) {
  const Judged judged(groups);
  Finding finding{.claim = "Beyond L, abnormal scores appear in the first layer."};
  const Measurement whole = judged.mean("score_beyond_range", 2);
  const std::vector<double>& distances = whole.dimensions[1].numbers;
  double first_distance = INFINITY;
  std::vector<int64_t> first_layers;  // several where they leave in the same bin of distances
  for (int64_t layer = 0; layer < whole.dimensions[0].size(); ++layer) {
    double most = 0;
    for (int64_t d = 0; d < std::ssize(distances); ++d) {
      const double distance = distances[static_cast<size_t>(d)], share = whole.at({layer, d});
      if (distance < static_cast<double>(judged.group().settings.train.length)) continue;
      most = std::max(most, share);
      if (!(share > left_range) || distance > first_distance) continue;
      if (distance < first_distance) first_layers.clear();
      first_distance = distance;
      first_layers.push_back(layer);
    }
    finding.numbers.push_back({fmt::format("layer {}, largest share outside", layer), most});
  }
  std::string layers;
  for (const int64_t layer : first_layers) layers += (layers.empty() ? "" : " and ") + std::to_string(layer);
  finding.measured =
      layers.empty()
          ? fmt::format("{}: no whole scores leave their range ({}).", judged.group().label, range_definition(judged))
          : fmt::format(
                "{}: whole scores leave their range first in layer {}, at distance {:g}; in layer 0 at most "
                "{:.1f} % are outside ({}).",
                judged.group().label, layers, first_distance, 100 * finding.numbers[0].value, range_definition(judged));
  judged.decide(finding, first_layers.empty()       ? Verdict::undecided
                         : first_layers[0] != 0     ? Verdict::contradicted
                         : first_layers.size() == 1 ? Verdict::supported
                                                    : Verdict::undecided);
  return finding;
}

Finding frequencies_finding(const std::vector<Group>& groups) {
  const Judged judged(groups);
  Finding finding{.claim =
                      "RoPE's scores decay over long distances even without training. HoPE's, whose components all "
                      "turn within L or stand still, do not."};
  const auto number = [](const Group& group, const char* name) {
    const std::optional<double> value = number_of(group, name);
    require<ValueError>(value.has_value(), "dissect", name, " of ", group.label, " was not measured");
    return *value;
  };
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
        "{}{}: {:.2f} between L/4 and L/2, {:.2f} from {} to {} tokens, {}; {:g} of {} channels turn once within L",
        finding.measured.empty() ? "" : ". ", group.label, near, far, size / 2, size,
        std::isnan(first_negative) ? std::string("never below 0")
                                   : fmt::format("below 0 first at distance {:g}", first_negative),
        2 * number(group, "within_train_length"), 2 * mean_over_seeds(group, "frequency").dimensions.at(2).size());
    const Measurement frequency = mean_over_seeds(group, "frequency");
    const int64_t components = frequency.dimensions.at(2).size();
    for (int64_t i = components; i < std::ssize(frequency.values); ++i)
      if (frequency.values[static_cast<size_t>(i)] != frequency.values[static_cast<size_t>(i % components)]) {
        finding.measured += ", of layer 0 and head 0";
        break;
      }
    finding.numbers.push_back({group.label + ", far minus near", far - near});
    if (group.settings.encoding.name == "rope") rope_decays = far - near < -decay_bar;
    if (group.settings.encoding.name == "hope") hope_stays = std::abs(far - near) <= decay_bar;
  }
  const Group& group = judged.group();
  if (number_of(group, "smallest_base"))
    finding.measured += fmt::format(
        ". The smallest base whose RoPE curve stays above 0 up to L is {:.4g} (here: {:g}); the critical dimension is "
        "{:g}",
        number(group, "smallest_base"), group.settings.encoding.base, number(group, "critical_dimension"));
  finding.measured +=
      fmt::format(". (Mean of cos(frequency x distance); bar: a fall by more than {:g} is a decay.)", decay_bar);
  judged.decide(finding, !group_of_hope(groups)      ? Verdict::undecided
                         : rope_decays && hope_stays ? Verdict::supported
                                                     : Verdict::contradicted);
  return finding;
}

Finding ablation_finding(const std::vector<Group>& groups) {
  const Judged judged(groups);
  const Group& group = judged.group();
  const DissectSettings& how = group.settings.dissect;
  Finding finding{.claim =
                      "HoPE does without the slow components. It would follow that they are dispensable inside L "
                      "and harmful beyond."};
  const Measurement loss = judged.mean("ablation", 4);
  const std::vector<double>& lengths = loss.dimensions[3].numbers;
  const int64_t components = loss.dimensions[2].size();
  int64_t slow = 0;  // the first component slower than L
  while (slow < components && judged.wavelength(0, slow) <= 1) ++slow;
  const auto train_length = static_cast<double>(group.settings.train.length);
  const auto inside = std::find(lengths.begin(), lengths.end(), train_length);
  if (slow == components || !judged.has_wavelengths() || inside == lengths.end() || lengths.back() <= train_length) {
    finding.measured = slow == components          ? "Every component turns within L."
                       : !judged.has_wavelengths() ? "Its components have no single wavelengths."
                                                   : "It takes a measurement at L and at a greater length "
                                                     "(dissect.lengths).";
    judged.decide(finding, Verdict::undecided);
    return finding;
  }
  const int64_t stop = place_of(loss.dimensions[0], "stop"), from_slow = place_of(loss.dimensions[1], "from slow");
  const auto change_at = [&](int64_t length) {
    const std::vector<int64_t> at = {stop, from_slow, slow, length};
    std::optional<double> error;
    if (group.seeds.size() == 1) error = judged.mean("ablation_half_width", 4).at(at);
    return estimate(over_seeds(group, "ablation", at), error, 3);
  };
  std::string changes;
  for (int64_t i = 0; i < std::ssize(lengths); ++i) {
    const Estimate change = change_at(i);
    const double multiple = lengths[static_cast<size_t>(i)] / train_length;
    const std::string length = multiple == 1 ? "L" : fmt::format("{:g} L", multiple);
    changes += fmt::format("{}{} at {}", changes.empty() ? "" : ", ", change.text, length);
    finding.numbers.push_back({"change of the loss at " + length, change.interval.mean, change.interval.half_width});
  }
  const Estimate cost = change_at(inside - lengths.begin()), beyond = change_at(std::ssize(lengths) - 1);
  finding.measured = fmt::format(
      "Stopping the components {} to {} of {} (those with a wavelength above L){}{} changes the loss, in nats per "
      "byte, "
      "by {}. (Bars: below {:g} at L, below -{:g} at the longest; here under stop, from slow, component {}.)",
      slow, components - 1, group.label, how.layer < 0 ? "" : fmt::format(" in layer {}", how.layer),
      how.head < 0 ? "" : fmt::format(" in head {}", how.head), changes, cost_bar, cost_bar, slow);
  judged.decide(finding, cost.is_below(cost_bar) && beyond.is_below(-cost_bar) ? Verdict::supported
                         : cost.is_above(cost_bar) || beyond.is_above(0)       ? Verdict::contradicted
                                                                               : Verdict::undecided);
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

}  // namespace phasor
