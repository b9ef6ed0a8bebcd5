// Groups: dissections of models that differ in nothing but the seed, and what several groups have in common.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/dissect/dissection.hpp"
#include "experiments/settings.hpp"
#include "experiments/statistics.hpp"

namespace phasor {

struct Group {
  std::string label;  // of its curves: "rope"
  Settings settings;  // of its first seed; settings.dissect is how it was measured
  std::vector<Dissection> seeds;
};

// A measurement of all groups that have it, means over their seeds. Of angles ("offset_angle") the mean is that of
// their directions, without an interval.
struct Stacked {
  Measurement means;                // [encoding, ...]; where groups differ in the entries of a dimension, all of them
  std::vector<double> half_widths;  // of the 95 % intervals over seeds; empty unless each group has several
};
// Nothing if no group has it.
std::optional<Stacked> stacked(const std::vector<Group>& groups, const std::string& name);

// One number of each seed that has the measurement.
std::vector<double> over_seeds(const Group& group, const std::string& name, const std::vector<int64_t>& index);

// A number without dimensions that depends on the encoding alone, of the first seed; nothing if it was not measured.
std::optional<double> number_of(const Group& group, const std::string& name);

// The measurement, means over the seeds of one group; an empty one if it was not measured.
Measurement mean_over_seeds(const Group& group, const std::string& name);

// An estimate of a number of a group, with its 95 % interval: over seeds where there are several, else the one that
// was measured within the one seed, else unknown.
struct Estimate {
  Interval interval;
  std::string text;  // "+2.31 ±0.40 (3 seeds)"
  bool is_above(double bound) const { return interval.mean - interval.half_width > bound; }
  bool is_below(double bound) const { return interval.mean + interval.half_width < bound; }
};
Estimate estimate(const std::vector<double>& seeds, std::optional<double> half_width = {}, int decimals = 2);

}  // namespace phasor
