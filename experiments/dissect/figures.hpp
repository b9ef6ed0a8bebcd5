// Figures of dissected models, and their verdicts for a terminal.
#pragma once

#include <string>
#include <vector>

#include "experiments/dissect/findings.hpp"
#include "experiments/report/html.hpp"

namespace phasor {

// What a page and a terminal show of dissected models.
struct DissectionView {
  std::vector<Section> sections;  // in the order of their questions; what was not measured has no figure
  std::string verdicts;           // the questions that were judged, their verdicts and bars, within 80 columns
};
DissectionView dissection_view(const std::vector<Group>& groups);

}  // namespace phasor
