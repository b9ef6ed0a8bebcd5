// Findings: what the measurements of some models say about the claims of the paper (Chen et al., arXiv:2410.21216).
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "experiments/dissect/groups.hpp"
#include "experiments/report/figure.hpp"

namespace phasor {

// A number that decides a finding, with half its 95 % interval; NaN where that is not known.
struct DecidingNumber {
  std::string label;
  double value;
  double half_width = std::numeric_limits<double>::quiet_NaN();
  bool operator==(const DecidingNumber&) const = default;
};

struct Finding {
  std::string claim = {};     // empty where nothing is claimed
  std::string measured = {};  // with the definitions and bars that decide
  Verdict verdict = Verdict::shown;
  std::vector<DecidingNumber> numbers = {};
};

// Each looks at the group of rope if there is one, else at the first, and compares it with the others where that is the
// question. All groups are dissected.
Finding u_shape_finding(const std::vector<Group>& groups);       // does it learn a U-shape?
Finding activated_finding(const std::vector<Group>& groups);     // which components carry it?
Finding change_finding(const std::vector<Group>& groups);        // what does HoPE change?
Finding shortcut_finding(const std::vector<Group>& groups);      // is it a shortcut of the early training?
Finding beyond_range_finding(const std::vector<Group>& groups);  // which scores leave their range, and where first?
Finding frequencies_finding(const std::vector<Group>& groups);   // what follows from the frequencies alone?
Finding sink_finding(const std::vector<Group>& groups);          // how many heads are sinks?
Finding ablation_finding(const std::vector<Group>& groups);      // what do the slow components do? Needs ablations.

}  // namespace phasor
