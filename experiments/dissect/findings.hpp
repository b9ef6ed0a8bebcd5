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
};

struct Finding {
  std::string claim = {};     // empty where nothing is claimed
  std::string measured = {};  // with the definitions and bars that decide
  Verdict verdict = Verdict::shown;
  std::vector<DecidingNumber> numbers = {};
};

// Each judges rope's models, and compares them with hope's where that is the question. ValueError if something that it
// needs was not measured.
Finding u_shape_finding(const std::vector<Group>& groups);       // does it learn a U-shape?
Finding activated_finding(const std::vector<Group>& groups);     // which components carry it?
Finding change_finding(const std::vector<Group>& groups);        // what does HoPE change?
Finding shortcut_finding(const std::vector<Group>& groups);      // is it a shortcut of the early training?
Finding beyond_range_finding(const std::vector<Group>& groups);  // which components leave their range beyond L?
Finding first_layer_finding(const std::vector<Group>& groups);   // in which layer do whole scores leave it first?
Finding frequencies_finding(const std::vector<Group>& groups);   // what follows from the frequencies alone?
Finding ablation_finding(const std::vector<Group>& groups);      // what do the slow components do?
Finding sink_finding(const std::vector<Group>& groups);          // how many heads are sinks?

}  // namespace phasor
