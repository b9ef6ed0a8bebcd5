// The U-shape: whether there is one, what carries it, and when. Definitions and bars stand in the text of each finding.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/dissect/judged.hpp"

namespace phasor {
namespace {

constexpr double dominating_bar = 0.5;  // the band's share of the variance from which it dominates
constexpr double fading_bar = 0.1;      // by which that share must fall from its peak

std::string u_definition(const Group& group) {
  const DissectSettings& d = group.settings.dissect;
  return fmt::format(
      "depth: mean score of the first {:g} % of the keys after [bos] minus that of the middle {:g} %, in standard "
      "deviations over the keys; recency: the same for the last keys; scores of the last query for all keys, {} "
      "windows "
      "of random bytes",
      100 * d.edge, 100 * d.middle, d.sequences);
}

}  // namespace

Finding u_shape_finding(const std::vector<Group>& groups) {
  const Judged judged(groups);
  Finding finding{.claim =
                      "Trained with RoPE, scores form a U over the positions: high for the earliest and for the "
                      "nearest keys, low between."};
  for (const Group& group : groups) {
    const Estimate depth = of_all_layers(group, "u_depth"), recency = of_all_layers(group, "u_recency"),
                   bos = of_all_layers(group, "u_bos");
    finding.measured +=
        fmt::format("{}{}: depth {}, recency {}; [bos] itself stands at {}", finding.measured.empty() ? "" : ". ",
                    group.label, depth.text, recency.text, bos.text);
    finding.numbers.push_back({group.label, depth.interval.mean, depth.interval.half_width});
  }
  finding.measured += fmt::format(" ({}). A U needs both above 0.", u_definition(judged.group()));
  const Estimate depth = of_all_layers(judged.group(), "u_depth"), recency = of_all_layers(judged.group(), "u_recency");
  // Of the recency of one seed no error is measured: its mean decides.
  const bool is_sure = std::isfinite(recency.interval.half_width);
  const bool rises = is_sure ? recency.is_above(0) : recency.interval.mean > 0,
             falls = is_sure ? recency.is_below(0) : recency.interval.mean < 0;
  judged.decide(finding, depth.is_above(0) && rises   ? Verdict::supported
                         : depth.is_below(0) || falls ? Verdict::contradicted
                                                      : Verdict::undecided);
  return finding;
}

Finding activated_finding(const std::vector<Group>& groups) {
  const Judged judged(groups);
  const Group& group = judged.group();
  const Measurement share = judged.mean("u_share", 2);
  const int64_t components = share.dimensions[1].size(), all_layers = place_of(share.dimensions[0], "all");
  const double bar = group.settings.dissect.activated / static_cast<double>(components);
  Finding finding{.claim =
                      "A few activated components make the U; their wavelengths are near the training length or a "
                      "little longer, so that they can be told before the training."};
  double activated_share = 0, in_band = 0;
  for (int64_t layer = 0; layer < share.dimensions[0].size(); ++layer) {
    const std::string& name = share.dimensions[0].words[static_cast<size_t>(layer)];
    std::string activated;
    for (int64_t c = 0; c < components; ++c) {
      const double value = share.at({layer, c});
      if (!(value > bar)) continue;
      activated += (activated.empty() ? "" : ", ") + judged.component_text(c);
      if (layer != all_layers) continue;
      finding.numbers.push_back({"component " + judged.component_text(c), value});
      activated_share += value;
      if (judged.in_band(c)) in_band += value;
    }
    finding.measured +=
        fmt::format("{}{}: {}", layer == 0 ? group.label + ", " : "; ",
                    layer == all_layers ? "all layers" : "layer " + name, activated.empty() ? "none" : activated);
  }
  finding.measured +=
      fmt::format(". Activated: a share of the curve's variance over the keys above {:g} / {} components = {:.3f}.",
                  group.settings.dissect.activated, components, bar);
  if (activated_share > 0)
    finding.measured += fmt::format(" {:.0f} % of the activated share lies at {} (bar: more than half; {}).",
                                    100 * in_band / activated_share, Judged::band_text(), judged.seeds_text());
  const bool has_u = of_all_layers(group, "u_depth").is_above(0);
  if (!has_u) finding.measured += " Without a clear U nothing carries it.";
  judged.decide(finding, !has_u || activated_share == 0 || !judged.has_wavelengths() ? Verdict::undecided
                         : in_band / activated_share > 0.5                           ? Verdict::supported
                                                                                     : Verdict::contradicted);
  return finding;
}

Finding change_finding(const std::vector<Group>& groups) {
  const Judged judged(groups);
  const Group* const hope = group_of_hope(groups);
  Finding finding{.claim =
                      "The activated components make the U. It would follow that HoPE, which stops them, forms "
                      "none."};
  if (!hope || !judged.is_rope()) {
    finding.measured = "There is no pair of rope and hope to compare.";
    finding.verdict = Verdict::undecided;
    return finding;
  }
  const Estimate of_rope = of_all_layers(judged.group(), "u_depth"), of_hope = of_all_layers(*hope, "u_depth");
  const double half = of_rope.interval.mean / 2;
  finding.measured = fmt::format("Depth of the U: {} with rope, {} with hope (bar: below half of rope's, {:+.2f}).",
                                 of_rope.text, of_hope.text, half);
  finding.numbers = {{judged.group().label, of_rope.interval.mean, of_rope.interval.half_width},
                     {hope->label, of_hope.interval.mean, of_hope.interval.half_width}};
  judged.decide(finding, !of_rope.is_above(0)     ? Verdict::undecided
                         : of_hope.is_below(half) ? Verdict::supported
                         : of_hope.is_above(half) ? Verdict::contradicted
                                                  : Verdict::undecided);
  return finding;
}

Finding shortcut_finding(const std::vector<Group>& groups) {
  const Judged judged(groups);
  const Measurement share = judged.mean("u_share_by_step", 3), depth = judged.mean("u_depth_by_step", 2);
  const int64_t all_layers = place_of(share.dimensions[1], "all"), components = share.dimensions[2].size();
  const std::vector<double>& steps = share.dimensions[0].numbers;
  const auto final = static_cast<int64_t>(steps.size()) - 1;
  const double final_depth = depth.at({final, all_layers});
  Finding finding{.claim =
                      "The activated components are a shortcut: they dominate early in the training, and the model "
                      "damps them later."};
  // Where there is no U yet, or random weights make one by chance, nothing dominates it.
  std::vector<double> at, band;
  for (int64_t step = 1; step <= final; ++step) {
    if (!(depth.at({step, all_layers}) >= final_depth / 2)) continue;
    at.push_back(steps[static_cast<size_t>(step)]);
    band.push_back(0);
    for (int64_t c = 0; c < components; ++c)
      if (judged.in_band(c)) band.back() += share.at({step, all_layers, c});
    finding.numbers.push_back({fmt::format("step {:g}", at.back()), band.back()});
  }
  const bool has_u = of_all_layers(judged.group(), "u_depth").is_above(0);
  if (!has_u || at.size() < 3) {
    finding.measured = has_u ? "The U is at least half as deep as at the end in fewer than three snapshots of the "
                               "training (checkpoint.snapshots)."
                             : "There is no clear U to follow.";
    finding.numbers.clear();
    judged.decide(finding, Verdict::undecided);
    return finding;
  }
  const auto peak = std::max_element(band.begin(), band.end()) - band.begin();
  const double peak_step = at[static_cast<size_t>(peak)], fall = band[static_cast<size_t>(peak)] - band.back();
  finding.measured = fmt::format(
      "Components with {} have {:.2f} of the variance of {}'s U curve at the end, {:.2f} at most, after step {:g} of "
      "{:g} (bar: a peak above {:g} in the first half, and a fall by {:g} from it; {}; snapshots with a U at least "
      "half as deep "
      "as "
      "at the end).",
      Judged::band_text(), band.back(), judged.group().label, band[static_cast<size_t>(peak)], peak_step, at.back(),
      dominating_bar, fading_bar, judged.seeds_text());
  const bool early = peak_step <= at.back() / 2;
  judged.decide(finding, !judged.has_wavelengths() ? Verdict::undecided
                         : early && band[static_cast<size_t>(peak)] > dominating_bar && fall > fading_bar
                             ? Verdict::supported
                         : !early ? Verdict::contradicted
                                  : Verdict::undecided);
  return finding;
}

}  // namespace phasor
