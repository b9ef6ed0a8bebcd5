// Figure: a question, numbers that answer it, and how they are looked at. One value makes the interactive figure of the
// page (figure_html.hpp; drawn by the scripts of page/), a CSV file and a Vega-Lite file (figure_files.hpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/report/chart.hpp"
#include "experiments/report/measurement.hpp"

namespace phasor {

// What the reader sees of a dimension. Each of x, y, series and panel is taken by one dimension at most, and y excludes
// series.
enum class Role {
  x,       // along the bottom
  y,       // upwards: a heat map. A figure without one shows curves, whose height is the value
  series,  // a curve for each entry
  panel,   // drawings side by side, on the same scales
  choice,  // buttons, one entry at a time; layer and head together are a grid to click in
  slider,  // one entry at a time, in their order: steps of the training
};

const char* name_of(Role role);  // "x"

struct FigureAxis {
  Role role = Role::x;
  std::string label = {};    // "distance (tokens)"
  bool logarithmic = false;  // ticks at powers of two; entries that are not positive are left out
  int64_t first_shown = 0;   // of choice and slider: the entry shown at first; -1: the last
};

enum class Verdict { supported, contradicted, undecided, shown };  // shown: there is no claim to judge
const char* name_of(Verdict verdict);                              // "supported"

struct Figure {
  std::string name = {};      // of its files, and its anchor in the page: "contribution"; of a-z, 0-9, _ and -
  std::string question = {};  // is its heading
  std::string claim = {};     // the paper's, in a sentence; empty where it makes none
  std::string measured = {};  // what was found, in a sentence or two
  Verdict verdict = Verdict::shown;
  std::string command = {};  // that draws it again

  Measurement means = {};                // over seeds
  std::vector<double> half_widths = {};  // of the 95 % intervals over seeds; as many as means.values, or none
  std::vector<FigureAxis> axes = {};     // one for each dimension of `means`, in order; one of them has Role::x
  std::string value_label = {};          // "contribution to the score"
  bool logarithmic = false;              // of curves: the value's ticks at 1, 2, 5 ... of each decade
  bool diverging = false;                // of a heat map: colours differ above and below 0
  // Lines across the drawing at a value of the x axis, or of the y axis in a heat map whose y is `mark_dimension`: such
  // as between which components the wavelength passes L.
  std::string mark_dimension = {};
  std::vector<Mark> marks = {};
};

// ValueError that names the figure and what is wrong with it: axes that do not fit the dimensions, roles taken twice,
// a logarithmic axis of words, entries of x or y that do not ascend, an entry shown at first or a mark that is not
// there, names that clash.
void check(const Figure& figure);

// Axes of this role, by their place in figure.axes; -1 where there is none.
int64_t axis_of(const Figure& figure, Role role);

}  // namespace phasor
