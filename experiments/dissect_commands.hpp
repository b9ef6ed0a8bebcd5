// phasor dissect and phasor report.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/commands.hpp"

namespace phasor {

// phasor dissect RUN: all measurements of the run's models, into dissection.json of each; shows the verdicts and writes
// the page RUN/dissection.html. Only dissect.* may change.
struct DissectArguments {
  std::filesystem::path run;
  bool exports = false;            // every figure as CSV and Vega-Lite, into RUN/figures
  std::vector<std::string> sites;  // names of sites whose values go into RUN/figures/MODEL.npz
};
int dissect_command(const DissectArguments& arguments, const SettingsChanges& changes, const RunOptions& options);

// phasor report RUN...: the page of one run, or of several side by side, from what their folders hold; into
// options.out, or RUN/dissection.html for one, runs/report.html for several.
int report_command(const std::vector<std::filesystem::path>& runs, const RunOptions& options);

}  // namespace phasor
