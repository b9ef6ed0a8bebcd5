// An axis of a chart: its range, where its ticks stand, and where a value falls.
#pragma once

#include <string>
#include <vector>

namespace phasor {

enum class Scale { linear, log2, log10 };  // log2: ticks at powers of two; log10: at 1, 2, 5 ... of each decade

struct Tick {
  double value;
  std::string label;
};

class Axis {
 public:
  // Covers the values that the scale can show (finite; > 0 on a logarithmic one), with a little room at both ends.
  Axis(Scale scale, const std::vector<double>& values);

  bool shows(double value) const;           // finite, and > 0 on a logarithmic scale
  double fraction(double value) const;      // 0 at the low end, 1 at the high end
  bool is_empty() const { return empty_; }  // no value to show
  std::vector<Tick> ticks() const;

 private:
  double measure(double value) const;  // the value, or its logarithm
  std::vector<Tick> linear_ticks() const;
  std::vector<Tick> decade_ticks() const;

  Scale scale_;
  bool empty_ = true;
  double low_ = 0, high_ = 1;  // in measures
};

}  // namespace phasor
