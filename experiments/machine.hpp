// machine.json: what may differ between two runs of the same settings. Processor, cores, threads and compiler of the
// latest start; and for a training, which device took its steps. A training that changed devices is marked wherever its
// results stand.
#pragma once

#include <filesystem>
#include <string>

#include "core/dtype.hpp"

namespace phasor {

// Processor, cores, threads and compiler of this start, a JSON object.
std::string machine_json(int threads);
// Writes what this start runs on; keeps which devices took steps before.
void record_machine(const std::filesystem::path& folder, int threads);
// From this step on the training runs on `device`.
void record_device(const std::filesystem::path& folder, Device device, int64_t step);

// Of the trainings in the folder and its direct subfolders: a sentence about those that more than one device trained;
// empty if there is none. "cpu took the steps before 600, NVIDIA H200 those from there".
std::string mixed_devices(const std::filesystem::path& folder);

}  // namespace phasor
