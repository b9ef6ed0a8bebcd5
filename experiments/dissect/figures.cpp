// Which measurement is drawn how, and under which question.
#include "experiments/dissect/figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/error.hpp"
#include "experiments/report/text.hpp"

namespace phasor {
namespace {

// ---- axes

FigureAxis encodings_as(Role role) { return {.role = role, .label = "encoding"}; }
FigureAxis choose(const std::string& label, int64_t first_shown = 0) {
  return {.role = Role::choice, .label = label, .first_shown = first_shown};
}
FigureAxis last_of(const std::string& label) { return choose(label, -1); }
FigureAxis components_as(Role role) { return {.role = role, .label = "component (0 is the fastest)"}; }
FigureAxis distances() { return {.role = Role::x, .label = "distance (tokens)", .logarithmic = true}; }
FigureAxis training_steps() { return {.role = Role::slider, .label = "step of the training", .first_shown = -1}; }

// ---- marks

// A line for each group, or one for all where they agree; groups without a place have none.
std::vector<Mark> marks_at(const std::vector<Group>& groups, const std::string& label,
                           const std::function<std::optional<double>(const Group&)>& place_of) {
  std::vector<Mark> marks;
  for (const Group& group : groups) {
    const std::optional<double> place = place_of(group);
    if (!place) continue;
    const auto same = std::find_if(marks.begin(), marks.end(), [&](const Mark& mark) { return mark.x == *place; });
    if (same == marks.end())
      marks.push_back({*place, group.label});
    else
      same->label += ", " + group.label;
  }
  const bool agree = marks.size() == 1;
  for (Mark& mark : marks) mark.label = agree ? label : label + " of " + mark.label;
  return marks;
}

// Where on an axis of components the wavelength passes L: between two of them, if any turns within L.
std::vector<Mark> at_train_length(const std::vector<Group>& groups) {
  return marks_at(groups, "wavelength = L", [](const Group& group) -> std::optional<double> {
    const std::optional<double> within = number_of(group, "within_train_length");
    if (!within || !(*within > 0)) return {};  // NaN: no single wavelengths
    return *within - 0.5;
  });
}

std::vector<Mark> train_lengths(const std::vector<Group>& groups) {
  return marks_at(groups, "L", [](const Group& group) -> std::optional<double> {
    return static_cast<double>(group.settings.train.length);
  });
}

// Which keys the depth of a U compares, where all groups were measured alike.
std::vector<Mark> u_regions(const std::vector<Group>& groups) {
  const Settings& s = groups.at(0).settings;
  for (const Group& group : groups)
    if (group.settings.train.length != s.train.length || !(group.settings.dissect == s.dissect)) return {};
  const auto keys = static_cast<double>(s.train.length - 1);
  const double half_middle = keys * s.dissect.middle / 2;
  return {{1 + keys * s.dissect.edge, "first"},
          {1 + keys / 2 - half_middle, "middle"},
          {1 + keys / 2 + half_middle, "middle"},
          {1 + keys * (1 - s.dissect.edge), "last"}};
}

// ---- figures

std::string command_of(const Group& group, const std::vector<std::string>& keys) {
  std::string command = "./phasor dissect RUN";
  for (const std::string& key : keys)
    for (const std::string& assignment : assignments_of(group.settings, key)) {
      const bool is_list = assignment.ends_with(']');  // which a shell takes for a pattern, and takes apart at blanks
      command += " --set " + (is_list ? "'" + assignment + "'" : assignment);
    }
  return command;
}

struct Sight {
  std::string name;  // of the measurement and of the figure
  std::string question;
  std::vector<FigureAxis> axes;  // of encoding and then of the measurement's dimensions
  std::string value_label;
  std::vector<std::string> keys = {};  // settings that it depends on
  bool diverging = false;
  bool with_intervals = true;  // where there are several seeds
  std::string about = {};      // what is seen, where no finding says it
};

// 20 columns for the largest.
std::string bar(double value, double largest) {
  constexpr double columns = 20;
  if (!std::isfinite(value)) return "nothing to measure";
  const auto full = static_cast<int64_t>(largest > 0 ? std::lround(columns * std::abs(value) / largest) : 0);
  std::string text;
  for (int64_t i = 0; i < full; ++i) text += value < 0 ? "▒" : "█";
  return text;
}

// A question with its verdict, and what it was decided by.
std::string verdict_text(const std::string& question, const Finding& finding) {
  constexpr size_t label_columns = 34;
  std::string text = wrapped(fmt::format("{} {}", question, name_of(finding.verdict)), 80) + "\n";
  double largest = 0;
  for (const DecidingNumber& number : finding.numbers) largest = std::max(largest, std::abs(number.value));
  const int decimals = largest < 0.1 ? 3 : 2;
  for (const auto& [label, value, half_width] : finding.numbers) {
    const std::string shown = shortened(label, label_columns);
    text += fmt::format("  {}{} {:>7.{}f} {:6}  {}\n", shown, std::string(label_columns - character_count(shown), ' '),
                        value, decimals, std::isfinite(half_width) ? fmt::format("±{:.{}f}", half_width, decimals) : "",
                        bar(value, largest));
  }
  return text;
}

std::string seeds_text(const std::vector<Group>& groups) {
  const size_t seeds = groups.at(0).seeds.size();
  return seeds == 1 ? "one seed (±: 95 % over the windows of a probe)"
                    : fmt::format("{} seeds (±: 95 % over seeds)", seeds);
}

class Gallery {
 public:
  explicit Gallery(const std::vector<Group>& groups) : groups_(groups) {}

  void section(const std::string& heading, const std::string& text = "") {
    sections_.emplace_back();
    sections_.back().heading = heading;
    sections_.back().text = text;
  }

  // Nothing if no group has the measurement.
  void add(const Sight& sight, Finding (*find)(const std::vector<Group>&) = nullptr) {
    const std::optional<Stacked> measured = stacked(groups_, sight.name);
    if (!measured || measured->means.dimensions.size() != sight.axes.size()) return;
    const Finding finding = find ? found(find) : Finding();
    if (finding.verdict != Verdict::shown)
      verdicts_ += (verdicts_.empty() ? "" : "\n") + verdict_text(sight.question, finding);
    Figure figure{.name = sight.name,
                  .question = sight.question,
                  .claim = finding.claim,
                  .measured = finding.measured.empty() ? sight.about : finding.measured,
                  .verdict = finding.verdict,
                  .command = command_of(groups_[0], sight.keys),
                  .means = measured->means,
                  .half_widths = {},
                  .axes = sight.axes,
                  .value_label = sight.value_label};
    figure.diverging = sight.diverging;
    const bool heat_map =
        std::any_of(sight.axes.begin(), sight.axes.end(), [](const FigureAxis& axis) { return axis.role == Role::y; });
    if (sight.with_intervals && !heat_map) add_intervals(figure, measured->half_widths);
    for (size_t i = 0; i < figure.axes.size(); ++i) {
      const Dimension& dimension = figure.means.dimensions[i];
      const Role role = figure.axes[i].role;
      if (dimension.name == "component" && (role == Role::x || role == Role::y)) {
        figure.mark_dimension = dimension.name;
        figure.marks = at_train_length(groups_);
      } else if (dimension.name == "distance" && role == Role::x && figure.mark_dimension.empty()) {
        figure.mark_dimension = dimension.name;
        figure.marks = train_lengths(groups_);
      } else if (figure.name == "u_curve" && role == Role::x) {
        figure.mark_dimension = dimension.name;
        figure.marks = u_regions(groups_);
      }
    }
    sections_.back().figures.push_back(figure);
  }

  DissectionView view() const {
    DissectionView view{.sections = sections_,
                        .verdicts = "Claims of the paper, judged on " + seeds_text(groups_) + "\n\n" + verdicts_};
    std::erase_if(view.sections, [](const Section& section) { return section.figures.empty(); });
    return view;
  }

 private:
  // A measurement may be missing where a dissection was made without ablations, or its file was changed.
  Finding found(Finding (*find)(const std::vector<Group>&)) const {
    try {
      return find(groups_);
    } catch (const ValueError& error) {
      return {.claim = {},
              .measured = std::string("Not all that the answer needs is there: ") + error.what(),
              .verdict = Verdict::undecided};
    }
  }

  // Over seeds where each group has several; over windows where each has one, if such intervals were measured.
  void add_intervals(Figure& figure, const std::vector<double>& over_seeds) const {
    const bool one_each = std::ranges::all_of(groups_, [](const Group& group) { return group.seeds.size() == 1; });
    figure.half_widths = over_seeds;
    if (!over_seeds.empty()) {
      figure.measured += " Intervals: 95 %, over seeds.";
    } else if (const std::optional<Stacked> within = stacked(groups_, figure.name + "_half_width");
               within && one_each && within->means.dimensions == figure.means.dimensions) {
      figure.half_widths = within->means.values;
      figure.measured += " Intervals: 95 %, over windows, one seed.";
    }
  }

  const std::vector<Group>& groups_;
  std::vector<Section> sections_;
  std::string verdicts_;
};

const std::vector<std::string> probe_keys = {"dissect.sequences", "dissect.edge", "dissect.middle"};

void u_shape_figures(Gallery& gallery) {
  gallery.add({.name = "u_curve",
               .question = "Does the model learn a U-shape?",
               .axes = {encodings_as(Role::series), last_of("layer"), {Role::x, "position of the key (tokens)"}},
               .value_label = "normalised score of the last query",
               .keys = probe_keys},
              u_shape_finding);
  std::vector<std::string> activated_keys = probe_keys;
  activated_keys.push_back("dissect.activated");
  gallery.add({.name = "u_share",
               .question = "Which components carry the U?",
               .axes = {encodings_as(Role::series), last_of("layer"), components_as(Role::x)},
               .value_label = "share of the curve's variance over the keys",
               .keys = activated_keys},
              activated_finding);
  gallery.add({.name = "u_component",
               .question = "What does each component add to the U?",
               .axes = {encodings_as(Role::panel),
                        last_of("layer"),
                        components_as(Role::y),
                        {Role::x, "position of the key (tokens)"}},
               .value_label = "part of the normalised score",
               .keys = probe_keys,
               .diverging = true,
               .about = "Each row is a component's part of the curve above, around its own mean."});
  gallery.add({.name = "u_depth",
               .question = "What does HoPE change?",
               .axes = {encodings_as(Role::series), {Role::x, "layer"}},
               .value_label = "depth of the U (standard deviations)",
               .keys = probe_keys},
              change_finding);
  gallery.add({.name = "u_share_by_step",
               .question = "Are the activated components a shortcut of the early training?",
               .axes = {encodings_as(Role::panel),
                        {Role::x, "step of the training", true},
                        last_of("layer"),
                        components_as(Role::y)},
               .value_label = "share of the curve's variance over the keys",
               .keys = probe_keys,
               .diverging = true},
              shortcut_finding);
}

void score_figures(Gallery& gallery) {
  gallery.add({.name = "contribution_by_step",
               .question = "What does each component add to the scores, by distance?",
               .axes = {encodings_as(Role::panel), training_steps(), choose("layer"), choose("head"),
                        components_as(Role::y), distances()},
               .value_label = "mean part of the score",
               .keys = {"dissect.windows"},
               .diverging = true,
               .about = "Means over held-out windows of L tokens. The sum of a column is the mean score at "
                        "that distance, before biases."});
  gallery.add({.name = "contribution_share",
               .question = "Which components shape the scores over the distance?",
               .axes = {encodings_as(Role::series), choose("layer"), choose("head"), components_as(Role::x)},
               .value_label = "share of the variance over the distance",
               .keys = {"dissect.windows"},
               .about = "Covariance of the component's curve with the total over the variance of the total; "
                        "the shares of a head add up to 1. Every distance counts once, from 0 on."});
  gallery.add(
      {.name = "cumulative_contribution",
       .question = "How do the scores build up from the fastest component to the slowest?",
       .axes = {encodings_as(Role::panel), choose("layer"), choose("head"), components_as(Role::y), distances()},
       .value_label = "sum of the components up to this one",
       .keys = {"dissect.windows"},
       .diverging = true,
       .about = "The top row is the whole mean score at each distance."});
  gallery.add({.name = "beyond_range",
               .question = "Which components leave their range beyond L?",
               .axes = {encodings_as(Role::panel), choose("layer"), components_as(Role::y), distances()},
               .value_label = "share of pairs outside the range seen within L",
               .keys = {"dissect.lengths", "dissect.windows"}},
              beyond_range_finding);
  gallery.add({.name = "score_beyond_range",
               .question = "In which layer do whole scores leave their range first?",
               .axes = {encodings_as(Role::panel), {Role::series, "layer"}, distances()},
               .value_label = "share of pairs outside the range seen within L",
               .keys = {"dissect.lengths", "dissect.windows"}},
              first_layer_finding);
  gallery.add({.name = "leaves_range_at",
               .question = "At which distance does each component leave its range?",
               .axes = {encodings_as(Role::series), choose("layer"), components_as(Role::x)},
               .value_label = "first distance outside (tokens)",
               .keys = {"dissect.lengths", "dissect.windows"},
               .with_intervals = false,
               .about = "The first distance from L on where more than 1 % of the pairs are outside; components without "
                        "a point never leave."});
  gallery.add({.name = "angle_coverage",
               .question = "How much of a turn does each component show within L?",
               .axes = {encodings_as(Role::series), components_as(Role::x)},
               .value_label = "share of the circle",
               .about = "From the frequencies alone; 1: a whole turn or more, 0: it stands still."});
  gallery.add(
      {.name = "unseen_angles",
       .question = "Which angles has training never shown?",
       .axes = {encodings_as(Role::series), components_as(Role::x)},
       .value_label = "share of its angles never seen within L",
       .keys = {"dissect.lengths"},
       .about =
           "Of the angles that a component meets within the longest length, the share that it "
           "never sees within L: from the frequencies alone. The longest length is that of dissect.lengths, 4 L."});
  gallery.add({.name = "decay",
               .question = "Do the frequencies alone make scores decay?",
               .axes = {encodings_as(Role::series), distances()},
               .value_label = "mean of cos over the components"},
              frequencies_finding);
}

void vector_figures(Gallery& gallery) {
  gallery.add(
      {.name = "norm",
       .question = "Into which components do queries and keys put their length?",
       .axes = {encodings_as(Role::series), choose("of"), choose("layer"), choose("head"), components_as(Role::x)},
       .value_label = "mean length of the two channels",
       .keys = {"dissect.windows"},
       .about = "v, which no rotation touches, is the control."});
  gallery.add(
      {.name = "offset",
       .question = "Which components hold a static offset?",
       .axes = {encodings_as(Role::series), choose("of"), choose("layer"), choose("head"), components_as(Role::x)},
       .value_label = "length of the mean vector / mean length",
       .keys = {"dissect.windows"},
       .about = "0: the vectors point everywhere; 1: they are all the same."});
  gallery.add({.name = "offset_angle",
               .question = "At which angle do the offsets of q and k stand?",
               .axes = {encodings_as(Role::series), choose("layer"), choose("head"), components_as(Role::x)},
               .value_label = "angle from k's mean vector to q's (rad)",
               .keys = {"dissect.windows"},
               .with_intervals = false,
               .about = "As far as a score rests on the offsets, it peaks where angle + frequency x distance "
                        "= 0."});
  gallery.add({.name = "massive",
               .question = "Which channels hold massive values?",
               .axes = {encodings_as(Role::series),
                        choose("of"),
                        choose("layer"),
                        choose("head"),
                        {Role::x, "channel of the head"}},
               .value_label = "norm of the channel / mean over the head's channels",
               .keys = {"dissect.windows"},
               .about = "Above 5 a channel is called massive (Jin et al., arXiv:2502.01563)."});
}

void attention_figures(Gallery& gallery) {
  const FigureAxis lengths = choose("length of the text");
  gallery.add({.name = "sink",
               .question = "How much attention goes to [bos]?",
               .axes = {encodings_as(Role::panel), lengths, {Role::y, "layer"}, {Role::x, "head"}},
               .value_label = "share of the attention",
               .keys = {"dissect.lengths"}},
              sink_finding);
  gallery.add(
      {.name = "normalised_entropy",
       .question = "Does attention widen with the length of the text?",
       .axes = {encodings_as(Role::series),
                choose("layer"),
                choose("head"),
                {Role::x, "position of the query (tokens)", true}},
       .value_label = "entropy / log(visible keys)",
       .keys = {"dissect.lengths"},
       .about = "1: spread evenly over all keys; 0: on one. Means over 8 held-out windows of the longest length."});
  gallery.add({.name = "attended_distance",
               .question = "How far do the heads look?",
               .axes = {encodings_as(Role::panel), lengths, {Role::y, "layer"}, {Role::x, "head"}},
               .value_label = "mean distance (tokens)",
               .keys = {"dissect.lengths"},
               .about = "Weighted by attention, over 8 held-out windows of each length."});
  gallery.add({.name = "head_score",
               .question = "Which heads copy, and which look at the token before?",
               .axes = {encodings_as(Role::panel), choose("score"), {Role::y, "layer"}, {Role::x, "head"}},
               .value_label = "attention on the pattern",
               .about = "On 32 texts of random bytes, each twice: a previous-token head looks at the token before; a "
                        "duplicate-token head at the same token in the first half; an induction head at the token that "
                        "came after it."});
}

void ablation_figures(Gallery& gallery) {
  const std::vector<std::string> keys = {"dissect.lengths", "dissect.bytes", "dissect.layer", "dissect.head"};
  const FigureAxis lengths = choose("length of the text");
  gallery.add({.name = "ablation",
               .question = "What does stopping components of a trained model cost inside L, and gain beyond?",
               .axes = {encodings_as(Role::series), choose("what is done"), choose("to which components", 2),
                        components_as(Role::x), lengths},
               .value_label = "change of the loss (nats per byte)",
               .keys = keys},
              ablation_finding);
  gallery.add({.name = "ablation_of_head",
               .question = "In which heads are the components needed?",
               .axes = {encodings_as(Role::series), choose("layer"), choose("head"), components_as(Role::x), lengths},
               .value_label = "change of the loss (nats per byte)",
               .keys = keys,
               .about = "One component stopped in one head."});
  gallery.add({.name = "ablation_u_depth",
               .question = "What becomes of the U without a component?",
               .axes = {encodings_as(Role::series), choose("what is done"), components_as(Role::x), last_of("layer")},
               .value_label = "change of the depth of the U",
               .keys = probe_keys,
               .about = "Below 0: the component had made it deeper."});
  gallery.add({.name = "ablation_head_score",
               .question = "Which components do the copying heads need?",
               .axes = {encodings_as(Role::series), choose("what is done"), components_as(Role::x), choose("score"),
                        choose("layer"), choose("head")},
               .value_label = "change of the attention on the pattern",
               .about = "Of one component alone."});
}

}  // namespace

DissectionView dissection_view(const std::vector<Group>& groups) {
  Gallery gallery(groups);
  gallery.section(
      "Scores and positions",
      "Claims are those of Chen et al. (HoPE, arXiv:2410.21216) as its abstract and second-hand accounts give "
      "them. Definitions and bars are Phasor's own; they stand with each verdict, and settings change them. "
      "A component is a pair of channels that turns together; L is the training length.\n\n"
      "Judged on " +
          seeds_text(groups) +
          (groups.at(0).seeds.size() == 1 ? ": another seed may say otherwise (run.seeds)." : "."));
  u_shape_figures(gallery);
  gallery.section("Scores by component and distance");
  score_figures(gallery);
  gallery.section("Without a component");
  ablation_figures(gallery);
  gallery.section("Queries, keys and values by component");
  vector_figures(gallery);
  gallery.section("Where the heads look");
  attention_figures(gallery);
  return gallery.view();
}

}  // namespace phasor
