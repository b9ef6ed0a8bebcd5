// The trainings that make up a run.
#pragma once

#include <filesystem>
#include <vector>

#include "experiments/settings.hpp"

namespace phasor {

// The folder of one training: a run of phasor train, or a part of a question's run.
struct ModelFolder {
  std::filesystem::path path;
  Settings settings;
};

// The trainings of a run: itself, or for a question one for each encoding and seed, whether they have begun or not.
// FileError if the folder is no run.
std::vector<ModelFolder> models_of(const std::filesystem::path& run);

}  // namespace phasor
