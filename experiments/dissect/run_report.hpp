// The page of one run, or of several side by side, from what their folders hold: results, dissections, or less.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/experiment.hpp"

namespace phasor {

// Title, verdict, tables, charts and figures. What is missing or damaged is left out, and the report's banner says what
// and why. Runs of different settings stand side by side; those that differ in the seed alone are averaged.
// FileError if a folder is no run.
Answer answer_of_runs(const std::vector<std::filesystem::path>& runs);

}  // namespace phasor
