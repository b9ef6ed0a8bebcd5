// Dissection: what was measured of one trained model, and its file, dissection.json in the folder of its run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/report/measurement.hpp"

namespace phasor {

struct Dissection {
  int64_t step = 0;                   // after which the weights were taken
  std::vector<std::string> settings;  // dissect.* that it was made with, as --set takes them
  std::vector<Measurement> measurements;

  const Measurement* find(const std::string& name) const;  // null if it was not measured
};

// Numbers in their shortest exact form, NaN as null; the same bytes for the same dissection. Written whole or not at
// all. ValueError for infinities, which the file cannot hold.
void save_dissection(const std::filesystem::path& file, const Dissection& dissection);

// FileError naming what is wrong: not there, damaged, or of another version.
Dissection load_dissection(const std::filesystem::path& file);

}  // namespace phasor
