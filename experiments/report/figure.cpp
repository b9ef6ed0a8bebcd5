// What makes a figure one that can be drawn.
#include "experiments/report/figure.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.hpp"

namespace phasor {
namespace {

bool is_file_name(const std::string& name) {
  return !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string::npos;
}

bool all_finite(const std::vector<double>& numbers) {
  return std::all_of(numbers.begin(), numbers.end(), [](double number) { return std::isfinite(number); });
}

bool ascend(const std::vector<double>& numbers) {
  return std::adjacent_find(numbers.begin(), numbers.end(), std::greater_equal<>()) == numbers.end();
}

void check_axis(const std::string& name, const Dimension& dimension, const FigureAxis& axis) {
  const auto needs = [&](bool ok, const auto&... parts) {
    require<ValueError>(ok, name.c_str(), "dimension '", dimension.name, "' ", parts...);
  };
  needs(dimension.numbers.empty() != dimension.words.empty(), "has ", dimension.numbers.size(), " numbers and ",
        dimension.words.size(), " words; needs one of the two");
  needs(all_finite(dimension.numbers), "has an entry that is not finite");
  needs(!axis.logarithmic || dimension.words.empty(), "has words; a logarithmic axis needs numbers");
  const bool is_scale = axis.role == Role::x || axis.role == Role::y;
  needs(!is_scale || ascend(dimension.numbers), "does not ascend; entries of x and y must");
  needs(axis.first_shown >= -1 && axis.first_shown < dimension.size(), "has ", dimension.size(),
        " entries; cannot show entry ", axis.first_shown, " first");
}

void check_names(const Figure& figure) {
  std::set<std::string> names = {figure.means.name, "low", "high"};
  require<ValueError>(!figure.means.name.empty() && names.size() == 3, figure.name.c_str(), "its values are named '",
                      figure.means.name, "'; need a name other than low and high");
  for (const Dimension& dimension : figure.means.dimensions) {
    require<ValueError>(!dimension.name.empty() && names.insert(dimension.name).second, figure.name.c_str(),
                        "a dimension is named '", dimension.name, "'; need a name that no other column has");
  }
}

void check_marks(const Figure& figure) {
  if (figure.marks.empty()) return;
  const char* const name = figure.name.c_str();
  const int64_t y = axis_of(figure, Role::y);
  bool found = false;
  for (const int64_t axis : {axis_of(figure, Role::x), y}) {
    if (axis < 0) continue;
    const Dimension& dimension = figure.means.dimensions[static_cast<size_t>(axis)];
    found = found || (dimension.name == figure.mark_dimension && dimension.words.empty());
  }
  require<ValueError>(found, name, "marks on dimension '", figure.mark_dimension, "'; need numbers along x or y");
  for (const Mark& mark : figure.marks)
    require<ValueError>(std::isfinite(mark.x), name, "mark '", mark.label, "' stands at a value that is not finite");
}

}  // namespace

const char* name_of(Role role) {
  static constexpr const char* names[] = {"x", "y", "series", "panel", "choice", "slider"};
  return names[static_cast<size_t>(role)];
}

const char* name_of(Verdict verdict) {
  static constexpr const char* names[] = {"supported", "contradicted", "undecided", "shown"};
  return names[static_cast<size_t>(verdict)];
}

int64_t axis_of(const Figure& figure, Role role) {
  for (size_t i = 0; i < figure.axes.size(); ++i)
    if (figure.axes[i].role == role) return static_cast<int64_t>(i);
  return -1;
}

void check(const Figure& figure) {
  const char* const name = figure.name.c_str();
  const std::vector<Dimension>& dimensions = figure.means.dimensions;
  require<ValueError>(is_file_name(figure.name), "figure", "is named '", figure.name, "'; need a-z, 0-9, _ and -");
  require<ValueError>(figure.axes.size() == dimensions.size(), name, figure.axes.size(), " axes for ",
                      dimensions.size(), " dimensions; needs one for each");
  size_t size = 1;
  for (size_t i = 0; i < dimensions.size(); ++i) {
    check_axis(figure.name, dimensions[i], figure.axes[i]);
    size *= static_cast<size_t>(dimensions[i].size());
  }
  require<ValueError>(figure.means.values.size() == size, name, figure.means.values.size(), " values; its dimensions ",
                      "need ", size);
  require<ValueError>(figure.half_widths.empty() || figure.half_widths.size() == size, name, figure.half_widths.size(),
                      " half widths for ", size, " values; needs as many, or none");
  for (const Role role : {Role::x, Role::y, Role::series, Role::panel}) {
    const auto taken = std::count_if(figure.axes.begin(), figure.axes.end(),
                                     [&](const FigureAxis& axis) { return axis.role == role; });
    require<ValueError>(taken <= 1 && (taken == 1 || role != Role::x), name, taken, " dimensions are ", name_of(role),
                        "; needs ", role == Role::x ? "one" : "one at most");
  }
  require<ValueError>(axis_of(figure, Role::y) < 0 || axis_of(figure, Role::series) < 0, name,
                      "has y and series; needs one of the two: a heat map, or curves");
  require<ValueError>(!figure.logarithmic || axis_of(figure, Role::y) < 0, name,
                      "is a heat map with logarithmic values; only curves have that");
  check_names(figure);
  check_marks(figure);
}

}  // namespace phasor
