// Checkpoints of a training run: one safetensors file holds everything that the next step depends on.
//
//   parameters     NAME                       optimizer   adamw.first.NAME, adamw.second.NAME
//   metadata       step, seed, metrics_bytes, corpus_sha256, settings (the whole settings.toml)
// Randomness needs no state beyond seed and step: every draw is a function of them, and so is the data position.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/settings.hpp"
#include "nn/model.hpp"
#include "nn/optimizer.hpp"

namespace phasor {

struct CheckpointPlace {
  std::filesystem::path path;
  int64_t step = 0;
};

// checkpoint-0000000900.safetensors ..., from the oldest to the newest step.
std::vector<CheckpointPlace> checkpoints(const std::filesystem::path& folder);

// What a run needs to go on besides parameters and optimizer.
struct RunPosition {
  int64_t metrics_bytes = 0;  // of metrics.jsonl when the checkpoint was made
  std::string corpus_sha256;
  int64_t step = 0;
};

// Written whole or not at all; optimizer.steps is the step.
void save_checkpoint(const std::filesystem::path& folder, const Settings& settings, const ParameterList& parameters,
                     const AdamW& optimizer, const RunPosition& position);

// Removes what the run would not have left had it never been interrupted, now that the checkpoint of step `newest` is
// written: later ones (damaged, or the run would have begun there), all but the newest `keep`, and those at a step that
// is neither a multiple of `every` nor the newest.
void prune_checkpoints(const std::filesystem::path& folder, int64_t newest, int64_t every, int64_t keep);

// Loads parameters and, if given, optimizer state into what exists; returns the position. UsageError naming the keys
// that differ if the checkpoint is of a run with other settings. FileError naming the file and the first thing that
// does not fit: damage, a parameter missing, extra, or of another shape or dtype.
RunPosition load_checkpoint(const std::filesystem::path& path, const Settings& settings,
                            const ParameterList& parameters, AdamW* optimizer);

}  // namespace phasor
