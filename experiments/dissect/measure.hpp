// All measurements of one trained model.
#pragma once

#include <filesystem>

#include "experiments/corpora/corpus.hpp"
#include "experiments/dissect/dissection.hpp"
#include "experiments/dissect/model_folders.hpp"
#include "experiments/settings.hpp"
#include "nn/model.hpp"

namespace phasor {

// probes: what a few readings of the model tell, in seconds; ablations: those and ablation_sweep.hpp, in minutes.
enum class Depth { probes, ablations };

// What a dissection may not ask of a run, before any work: UsageError if the encoding turns no components, if
// dissect.layer or dissect.head are not the model's, or if dissect.lengths end before L or go beyond the positions that
// the encoding knows, or L holds no repeated text; ResourceError if the scores of the longest length do not fit into
// `available` bytes.
void require_dissectable(const Settings& settings, double available_bytes);

// Measures the models of a run, one after the other, as `how` says; `corpus` is the text they were trained on. Each
// folder gets a dissection.json. What it holds already, of the same weights and made in the same way, is not measured
// again; it is written anew where it lacks something. Ablations are kept in ablations.jsonl until all of them are done.
// Folders are locked meanwhile. FileError if one holds no checkpoint or was trained on another text; BusyError if
// another process holds one; Interrupted: what is in the files stays, and the next call goes on.
void dissect_models(const std::vector<ModelFolder>& models, const DissectSettings& how, const Corpus& corpus,
                    Depth depth, bool quiet);

}  // namespace phasor
