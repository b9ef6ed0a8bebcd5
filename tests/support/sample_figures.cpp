// Numbers that look like a model's.
#include "tests/support/sample_figures.hpp"

#include <cmath>
#include <limits>
#include <numbers>

namespace phasor {

const std::string hostile_text =
    "</script><img src=x onerror=\"document.title='run'\"><!-- & \"quoted\" \u202Eright to left";

namespace {

// Calls visit(index, value) for each entry of a measurement.
template <class Visit>
void for_each(Measurement& measurement, const Visit& visit) {
  std::vector<int64_t> index(measurement.dimensions.size(), 0);
  for (double& value : measurement.values) {
    visit(index, value);
    for (size_t i = index.size(); i-- > 0;) {
      if (++index[i] < measurement.dimensions[i].size()) break;
      index[i] = 0;
    }
  }
}

const std::vector<double> steps = {0, 14, 28, 56, 112, 225, 450, 900, 1800};

}  // namespace

Figure contribution_figure() {
  std::vector<double> distances = {0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512};
  Measurement means("contribution", {{.name = "encoding", .words = {"rope", "hope"}},
                                     {.name = "step", .numbers = steps},
                                     indices("layer", 2),
                                     indices("head", 4),
                                     indices("component", 16),
                                     {.name = "distance", .numbers = distances}});
  for_each(means, [&](const std::vector<int64_t>& i, double& value) {
    const double frequency = i[0] == 1 && i[4] >= 6 ? 0 : std::pow(10000.0, -static_cast<double>(i[4]) / 16);
    const double distance = distances[static_cast<size_t>(i[5])];
    const double learned = 1 - std::exp(-steps[static_cast<size_t>(i[1])] / 400);
    const double size = std::exp(-std::pow((static_cast<double>(i[4]) - 5 - static_cast<double>(i[3])) / 3, 2));
    value = learned * size * std::cos(frequency * distance + static_cast<double>(i[2])) * 0.8;
    if (i[0] == 1 && distance > 400) value = std::numeric_limits<double>::quiet_NaN();
  });
  return {.name = "contribution",
          .question = "Which components make the scores of near tokens larger than those of far ones?",
          .claim = "The components whose wavelength is near the training length dominate; slower ones are constant.",
          .measured = "In layer 0 components 5 to 8 make 71 % of the scores' variance over distance, at step 1800.",
          .verdict = Verdict::supported,
          .command = "phasor dissect runs/hope --figure contribution",
          .means = means,
          .axes = {{.role = Role::panel, .label = "encoding"},
                   {.role = Role::slider, .label = "training step", .first_shown = -1},
                   {.role = Role::choice, .label = "layer"},
                   {.role = Role::choice, .label = "head"},
                   {.role = Role::y, .label = "component (0 is the fastest)"},
                   {.role = Role::x, .label = "distance (tokens)", .logarithmic = true}},
          .value_label = "contribution to the score",
          .diverging = true,
          .mark_dimension = "component",
          .marks = {{5.5, "wavelength = L"}}};
}

Figure u_shape_figure() {
  Measurement means("share", {{.name = "step", .numbers = steps}, indices("component", 16)});
  for_each(means, [&](const std::vector<int64_t>& i, double& value) {
    const double c = static_cast<double>(i[1]), step = static_cast<double>(i[0]);
    value = 0.02 + 0.3 * std::exp(-std::pow((c - 9) / 2, 2)) * (1 - step / 12) + 0.004 * step * std::abs(c - 7.5) / 3;
    if (i[0] == 0 && i[1] < 3) value = std::numeric_limits<double>::quiet_NaN();
  });
  return {.name = "u_shape",
          .question = "Does training damp the components that make the U?",
          .claim = "Activated components dominate early in training and are damped later.",
          .measured = "The share of components 8 to 10 falls from 0.32 to 0.13 between steps 14 and 1800.",
          .verdict = Verdict::undecided,
          .command = "phasor dissect runs/hope --figure u_shape",
          .means = means,
          .axes = {{.role = Role::series, .label = "step"}, {.role = Role::x, .label = "component"}},
          .value_label = "share of the variance over distance",
          .mark_dimension = "component",
          .marks = {{5.5, "wavelength = L"}, {6.5, "wavelength = 2L"}}};
}

Figure perplexity_figure() {
  const std::vector<double> lengths = {64, 128, 256, 512, 1024};
  Measurement means("perplexity", {{.name = "encoding", .words = {"rope", "hope", "nope", "alibi", "yarn"}},
                                   {.name = "length", .numbers = lengths}});
  const double growth[] = {1.9, 1.25, 1.5, 1.02, 1.1};
  std::vector<double> half_widths;
  for_each(means, [&](const std::vector<int64_t>& i, double& value) {
    const double beyond = std::max(0.0, std::log2(lengths[static_cast<size_t>(i[1])] / 128));
    value = (4.3 + 0.05 * static_cast<double>(i[0])) * std::pow(growth[i[0]], beyond) + (i[1] == 0 ? 0.12 : 0);
    half_widths.push_back(value * 0.02 * (1 + 2 * beyond));
  });
  return {.name = "perplexity",
          .question = "How do the models read beyond their training length?",
          .claim = "",
          .measured = "RoPE's perplexity grows 3.6 times from L to 4L, HoPE's 1.56 times.",
          .verdict = Verdict::shown,
          .command = "phasor dissect runs/hope --figure perplexity",
          .means = means,
          .half_widths = half_widths,
          .axes = {{.role = Role::series, .label = "encoding"},
                   {.role = Role::x, .label = "length of the window (tokens)", .logarithmic = true}},
          .value_label = "perplexity per byte",
          .logarithmic = true,
          .mark_dimension = "length",
          .marks = {{128, "L = 128"}}};
}

std::vector<Figure> unusual_figures() {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<Figure> figures;
  const auto add = [&](const std::string& name, const std::vector<Dimension>& dimensions,
                       const std::vector<FigureAxis>& axes) -> Figure& {
    Figure figure = {.name = name, .question = name, .axes = axes, .value_label = "value"};
    figure.means = Measurement("value", dimensions);
    for (size_t i = 0; i < dimensions.size(); ++i)
      if (figure.axes[i].label.empty()) figure.axes[i].label = dimensions[i].name;
    for_each(figure.means, [](const std::vector<int64_t>& index, double& value) {
      value = std::sin(static_cast<double>(index.back()) / 3);
      for (const int64_t i : index) value += std::sin(static_cast<double>(i)) / 4;
    });
    figures.push_back(figure);
    return figures.back();
  };
  const Dimension long_words = {
      .name = "task", .words = {"copying in context", "needle in a haystack", "few-shot", "a task whose name is long"}};
  add("many_curves", {indices("head", 40), indices("component", 9)}, {{.role = Role::series}, {.role = Role::x}});
  add("words", {{.name = "encoding", .words = {"rope", "hope", "a third encoding"}}, long_words},
      {{.role = Role::y}, {.role = Role::x}});
  add("panels", {indices("layer", 6), long_words, indices("distance", 300)},
      {{.role = Role::panel}, {.role = Role::series}, {.role = Role::x}});
  add("grid", {indices("layer", 12), indices("head", 16), indices("distance", 500)},
      {{.role = Role::choice}, {.role = Role::choice, .first_shown = -1}, {.role = Role::x, .logarithmic = true}});
  for (double& value : add("nothing", {indices("x", 5)}, {{.role = Role::x}}).means.values) value = nan;
  add("no_logarithm", {{.name = "x", .numbers = {-2, 0}}}, {{.role = Role::x, .logarithmic = true}});
  add("one_value", {{.name = "x", .numbers = {3}}}, {{.role = Role::x}});
  for (double& value :
       add("constant", {indices("y", 2), indices("x", 3)}, {{.role = Role::y}, {.role = Role::x}}).means.values)
    value = 7;
  for (double& value : add("large", {indices("x", 30)}, {{.role = Role::x}}).means.values) value *= 3e12;
  for (double& value : add("small", {indices("x", 5)}, {{.role = Role::x}}).means.values) value = 1e-3 + value * 1e-5;
  figures.back().half_widths.assign(5, 2.34e-6);
  add("categories",
      {{.name = "encoding", .words = {"rope", "hope", "yarn"}}, {.name = "layer", .words = {"0", "1", "all"}}},
      {{.role = Role::series}, {.role = Role::x}});
  figures.back().half_widths.assign(9, 0.1);
  add("many_encodings",
      {{.name = "encoding",
        .words = {"rope", "hope", "nope", "alibi", "yarn", "ntk", "xpos", "t5_bias", "fire", "cope", "kerple", "fope"}},
       indices("distance", 60)},
      {{.role = Role::series}, {.role = Role::x}});
  Figure& many_marks =
      add("many_marks", {indices("component", 16), indices("distance", 30)}, {{.role = Role::y}, {.role = Role::x}});
  many_marks.mark_dimension = "component";
  many_marks.marks = {{5.5, "rope: wavelength = L"}, {5.5, "yarn: wavelength = L"}, {6.5, "ntk: wavelength = L"}};
  Figure& decades = add("decades", {indices("x", 30)}, {{.role = Role::x}});
  decades.logarithmic = true;
  for_each(decades.means, [](const std::vector<int64_t>& i, double& value) { value = std::exp2(i[0] / 4.0) * 4; });
  return figures;
}

std::vector<Figure> sample_figures() { return {contribution_figure(), u_shape_figure(), perplexity_figure()}; }

}  // namespace phasor
