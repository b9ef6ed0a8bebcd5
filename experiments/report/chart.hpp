// Line charts as inline SVG: readable in light and dark, without scripts, the same bytes for the same numbers.
#pragma once

#include <string>
#include <vector>

namespace phasor {

struct Series {
  std::string name;
  std::vector<double> x = {}, y = {};  // of one length
};

// A vertical line across the chart, such as the training length.
struct Mark {
  double x;
  std::string label;
};

struct Chart {
  std::string title = {};
  std::string x_label = {};
  std::string y_label = {};
  bool log_x = false;  // ticks at powers of two: lengths and positions
  bool log_y = false;  // ticks at 1, 2, 5 ... of each decade
  std::vector<Series> series = {};
  std::vector<Mark> marks = {};
};

// An <svg> element. Values that are not finite, or not positive on a logarithmic axis, leave a gap in their curve.
// Series of up to 24 points get a marker on each. ValueError for a series whose x and y differ in length.
// Colours are CSS variables with a default (--series-0 ..., --grid, --muted, --paper), so that a page can set its own.
std::string svg(const Chart& chart);

}  // namespace phasor
