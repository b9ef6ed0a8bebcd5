// Draws a chart as SVG.
#include "experiments/report/chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <numeric>

#include "core/error.hpp"
#include "experiments/report/axis.hpp"
#include "experiments/report/text.hpp"

namespace phasor {
namespace {

// Okabe and Ito's palette (2008), told apart in all common forms of colour blindness; its yellow is too pale for lines
// on white and comes last.
constexpr std::array<const char*, 8> palette = {"#d55e00", "#0072b2", "#009e73", "#cc79a7",
                                                "#e69f00", "#56b4e9", "#7f7f7f", "#f0e442"};

constexpr double width = 760, height = 400;
constexpr double left = 56, top = 72, bottom = 350;
constexpr double label_step = 17;        // between the baselines of two series names
constexpr double character_width = 7.3;  // of the 13-pixel font, on average and a little more
constexpr size_t longest_label = 26;
constexpr size_t most_markers = 24;

using Output = std::back_insert_iterator<std::string>;

std::string color(size_t index) {
  index %= palette.size();
  return fmt::format("var(--series-{},{})", index, palette[index]);
}

struct Point {
  double x, y;    // in the drawing
  size_t source;  // index in the series
};

class Drawing {
 public:
  explicit Drawing(const Chart& chart)
      : chart_(chart),
        x_axis_(chart.log_x ? Scale::log2 : Scale::linear, values(&Series::x)),
        y_axis_(chart.log_y ? Scale::log10 : Scale::linear, values(&Series::y)) {
    size_t longest = 0;
    for (const Series& series : chart.series) {
      longest = std::max(longest, std::min(character_count(series.name), longest_label));
    }
    right_ = width - 26 - character_width * static_cast<double>(longest);
  }

  std::string text() {
    write(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" font-family=\"system-ui,sans-serif\" "
        "font-size=\"13\" "
        "fill=\"currentColor\">\n",
        width, height, escaped(chart_.title));
    write("<text x=\"0\" y=\"20\" font-size=\"16\" font-weight=\"600\">{}</text>\n", escaped(chart_.title));
    write("<text x=\"0\" y=\"42\" fill=\"var(--muted,#666)\">{}</text>\n", escaped(chart_.y_label));
    if (x_axis_.is_empty() || y_axis_.is_empty()) {
      write("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"var(--muted,#666)\">no data</text>\n", width / 2,
            (top + bottom) / 2);
    } else {
      axes();
      marks();
      std::vector<std::vector<std::vector<Point>>> runs;
      for (const Series& series : chart_.series) runs.push_back(runs_of(series));
      for (size_t i = 0; i < runs.size(); ++i) curve(i, runs[i]);
      names(runs);
    }
    return text_ + "</svg>\n";
  }

 private:
  template <class... Parts>
  void write(fmt::format_string<Parts...> format, Parts&&... parts) {
    fmt::format_to(Output(text_), format, std::forward<Parts>(parts)...);
  }

  double x_of(double value) const { return left + (right_ - left) * x_axis_.fraction(value); }
  double y_of(double value) const { return bottom - (bottom - top) * y_axis_.fraction(value); }

  // All x or all y of the points that can be drawn if the other axis shows them too: a NaN loss at position 4096 does
  // not stretch the axis of positions.
  std::vector<double> values(std::vector<double> Series::*part) const {
    const Axis any_x(chart_.log_x ? Scale::log2 : Scale::linear, {}),
        any_y(chart_.log_y ? Scale::log10 : Scale::linear, {});
    std::vector<double> all;
    for (const Series& series : chart_.series) {
      require<ValueError>(series.x.size() == series.y.size(), "svg", "series '", series.name, "' has ", series.x.size(),
                          " x and ", series.y.size(), " y");
      for (size_t i = 0; i < series.x.size(); ++i) {
        if (any_x.shows(series.x[i]) && any_y.shows(series.y[i])) all.push_back((series.*part)[i]);
      }
    }
    if (part == &Series::x && !all.empty()) {
      for (const Mark& mark : chart_.marks) all.push_back(mark.x);
    }
    return all;
  }

  std::vector<std::vector<Point>> runs_of(const Series& series) const {
    std::vector<std::vector<Point>> runs(1);
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (x_axis_.shows(series.x[i]) && y_axis_.shows(series.y[i])) {
        runs.back().push_back({x_of(series.x[i]), y_of(series.y[i]), i});
      } else if (!runs.back().empty()) {
        runs.emplace_back();
      }
    }
    if (runs.back().empty()) runs.pop_back();
    return runs;
  }

  void axes() {
    write("<g stroke=\"var(--grid,#ddd)\">\n");
    for (const Tick& tick : y_axis_.ticks()) {
      write("<path d=\"M{:.1f} {:.1f}H{:.1f}\"/>\n", left, y_of(tick.value), right_);
    }
    for (const Tick& tick : x_axis_.ticks()) {
      write("<path d=\"M{:.1f} {:.1f}V{:.1f}\"/>\n", x_of(tick.value), top, bottom);
    }
    write("</g>\n<g fill=\"var(--muted,#666)\" text-anchor=\"end\">\n");
    for (const Tick& tick : y_axis_.ticks()) {
      write("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", left - 8, y_of(tick.value) + 4.5, tick.label);
    }
    write("</g>\n<g fill=\"var(--muted,#666)\" text-anchor=\"middle\">\n");
    for (const Tick& tick : x_axis_.ticks()) {
      write("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", x_of(tick.value), bottom + 19, tick.label);
    }
    write("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", (left + right_) / 2, bottom + 42, escaped(chart_.x_label));
    write("</g>\n<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"var(--muted,#666)\"/>\n", left, bottom, right_);
  }

  void marks() {
    std::vector<Mark> sorted;
    for (const Mark& mark : chart_.marks) {
      if (x_axis_.shows(mark.x)) sorted.push_back(mark);
    }
    std::stable_sort(sorted.begin(), sorted.end(), [](const Mark& a, const Mark& b) { return a.x < b.x; });
    double free_from = -width;  // where the last label on the lower line ends
    for (const Mark& mark : sorted) {
      const double x = x_of(mark.x), half = character_width * static_cast<double>(character_count(mark.label)) / 2;
      const bool is_free = x - half > free_from;  // else one line higher
      if (is_free) free_from = x + half;
      write("<path d=\"M{:.1f} {:.1f}V{:.1f}\" stroke=\"currentColor\" stroke-dasharray=\"5 4\" opacity=\"0.75\"/>\n",
            x, top, bottom);
      write("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", x, top - (is_free ? 7 : 22),
            escaped(mark.label));
    }
  }

  // Shapes as well as colours tell the series apart: in print, and for who sees no colours.
  void marker(size_t index, const Point& p, const std::string& title) {
    const std::string tooltip = "<title>" + title + "</title>";
    switch (index % 4) {
      case 0:
        write("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\">{}</circle>\n", p.x, p.y, tooltip);
        break;
      case 1:
        write("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"7\" height=\"7\">{}</rect>\n", p.x - 3.5, p.y - 3.5, tooltip);
        break;
      case 2:
        write("<path d=\"M{:.1f} {:.1f}l4.8 8.4h-9.6z\">{}</path>\n", p.x, p.y - 5.4, tooltip);
        break;
      default:
        write("<path d=\"M{:.1f} {:.1f}l5 5l-5 5l-5 -5z\">{}</path>\n", p.x, p.y - 5, tooltip);
    }
  }

  void curve(size_t index, const std::vector<std::vector<Point>>& runs) {
    const Series& series = chart_.series[index];
    const std::string name = escaped(series.name);
    std::string path;
    size_t points = 0;
    for (const auto& run : runs) {
      points += run.size();
      for (size_t i = 0; i < run.size(); ++i) {
        fmt::format_to(Output(path), "{}{:.1f} {:.1f}", i ? 'L' : 'M', run[i].x, run[i].y);
      }
      if (run.size() == 1) path += "h0";  // with round caps, a point between two gaps is a dot
    }
    write("<g><title>{}</title>\n", name);
    const char* style = "fill=\"none\" stroke-linejoin=\"round\" stroke-linecap=\"round\"";
    write("<path d=\"{}\" stroke=\"{}\" stroke-width=\"2\" {}/>\n", path, color(index), style);
    if (points <= most_markers) {
      write("<g fill=\"{}\" stroke=\"var(--paper,#fff)\">\n", color(index));
      for (const auto& run : runs) {
        for (const Point& p : run) {
          marker(index, p, fmt::format("{}: {:.6g}, {:.6g}", name, series.x[p.source], series.y[p.source]));
        }
      }
      write("</g>\n");
    } else {
      // A wide invisible line, so that the name appears near the curve and not only on it.
      write("<path d=\"{}\" stroke=\"transparent\" stroke-width=\"12\" {}/>\n", path, style);
    }
    write("</g>\n");
  }

  // Each name stands right of the end of its curve, moved up or down where two would touch.
  void names(const std::vector<std::vector<std::vector<Point>>>& runs) {
    struct Label {
      size_t index;
      Point end;
      double y;
    };
    std::vector<Label> labels;
    for (size_t i = 0; i < runs.size(); ++i) {
      if (!runs[i].empty()) labels.push_back({i, runs[i].back().back(), runs[i].back().back().y});
    }
    std::stable_sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.y < b.y; });
    const double room = (bottom - top) / std::max<double>(static_cast<double>(labels.size()), 1);
    const double step = std::min(label_step, room);
    for (size_t i = 1; i < labels.size(); ++i) labels[i].y = std::max(labels[i].y, labels[i - 1].y + step);
    double limit = bottom;
    for (size_t i = labels.size(); i-- > 0; limit -= step) labels[i].y = std::min(labels[i].y, limit);
    for (const Label& label : labels) {
      const std::string& name = chart_.series[label.index].name;
      const bool moved = std::abs(label.y - label.end.y) > 3 || right_ - label.end.x > 40;
      if (moved) {
        write("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" stroke=\"{}\" opacity=\"0.5\" fill=\"none\"/>\n",
              label.end.x + 6, label.end.y, right_ + 6, label.y, color(label.index));
      }
      write("<text x=\"{:.1f}\" y=\"{:.1f}\" font-weight=\"600\" fill=\"{}\"><title>{}</title>{}</text>\n", right_ + 10,
            label.y + 4.5, color(label.index), escaped(name), escaped(shortened(name, longest_label)));
    }
  }

  const Chart& chart_;
  Axis x_axis_, y_axis_;
  double right_ = 0;
  std::string text_;
};

}  // namespace

std::string svg(const Chart& chart) { return Drawing(chart).text(); }

}  // namespace phasor
