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
// dissect.layer or dissect.head are not the model's, or if dissect.lengths go beyond the positions that the encoding
// knows; ResourceError if the scores of the longest length do not fit into `available` bytes.
void require_dissectable(const Settings& settings, double available_bytes);

// The model of the run in `folder`, which was trained with `settings` on `corpus`, measured as settings.dissect says.
// What dissection.json holds already, made with the same settings, is taken from there; the file is written anew where
// it lacks something. FileError if there is no checkpoint; Interrupted.
Dissection dissect_run(const std::filesystem::path& folder, const Settings& trained, const DissectSettings& how,
                       const Corpus& corpus, Depth depth, bool quiet);

// dissect_run() for each model, in turn; each folder is locked meanwhile. BusyError if another process holds one.
void dissect_models(const std::vector<ModelFolder>& models, const DissectSettings& how, const Corpus& corpus,
                    Depth depth, bool quiet);

}  // namespace phasor
