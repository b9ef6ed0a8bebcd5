// The report of a run: one HTML file that needs nothing else, in light and dark, on screen and on paper.
#pragma once

#include <string>
#include <vector>

#include "experiments/report/chart.hpp"
#include "experiments/report/table.hpp"

namespace phasor {

struct Section {
  std::string heading = {};
  std::string text = {};  // a blank line begins a paragraph
  std::vector<Table> tables = {};
  std::vector<Chart> charts = {};
  std::string listing = {};  // verbatim, such as the settings
};

struct Report {
  std::string title = {};
  std::string verdict = {};  // the answer in a sentence
  std::string banner = {};   // why the numbers are not final: set for unfinished or damaged runs
  std::vector<Section> sections = {};
};

// Everything in the report is text: no string in it can become markup. The page asks for nothing (its
// Content-Security-Policy forbids it) and holds no script.
std::string html(const Report& report);

}  // namespace phasor
