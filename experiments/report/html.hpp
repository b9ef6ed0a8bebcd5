// The report of a run: one HTML file that needs nothing else, in light and dark, on screen and on paper.
#pragma once

#include <string>
#include <vector>

#include "experiments/report/chart.hpp"
#include "experiments/report/figure.hpp"
#include "experiments/report/table.hpp"

namespace phasor {

struct Section {
  std::string heading = {};
  std::string text = {};  // a blank line begins a paragraph
  std::vector<Table> tables = {};
  std::vector<Chart> charts = {};
  std::vector<Figure> figures = {};
  std::string listing = {};  // verbatim, such as the settings
};

struct Report {
  std::string title = {};
  std::string verdict = {};  // the answer in a sentence
  std::string banner = {};   // why the numbers are not final: set for unfinished or damaged runs
  std::vector<Section> sections = {};
};

// Everything in the report is text: no string in it can become markup. The page asks for nothing: its
// Content-Security-Policy forbids it. A page without figures holds no script; one with figures runs the script that
// draws them, allowed by its hash, and no other. ValueError for two figures of one name, or one that cannot be drawn.
std::string html(const Report& report);

}  // namespace phasor
