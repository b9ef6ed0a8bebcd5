// Checkpoints of a training run: one safetensors file holds everything that the next step depends on.
//
//   parameters     NAME                       optimizer   adamw.first.NAME, adamw.second.NAME
//   metadata       step, seed, metrics_bytes, corpus_sha256, settings (the whole settings.toml)
// Snapshots are the weights alone, as they were on the way: what the training has done is measured on them.
//   parameters     NAME                       metadata    step, settings
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

// After which steps a training keeps a snapshot: 1/2, 1/4, ... of all, checkpoint.snapshots of them, in rising order;
// fewer where they would meet. The weights before the first step are those that the seed draws.
std::vector<int64_t> snapshot_steps(const Settings& settings);
// weights-0000000600.safetensors ..., in the order of their steps.
std::vector<CheckpointPlace> snapshots(const std::filesystem::path& folder);
void save_snapshot(const std::filesystem::path& folder, const Settings& settings, const ParameterList& parameters,
                   int64_t step);
// Removes those after `step`, where a training begins or goes on: it will make them again.
void remove_later_snapshots(const std::filesystem::path& folder, int64_t step);
// Errors: those of load_checkpoint().
void load_snapshot(const std::filesystem::path& path, const Settings& settings, const ParameterList& parameters);

}  // namespace phasor
