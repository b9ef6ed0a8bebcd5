// Trains one model in one run folder: data order, steps, metrics, checkpoints. Killed at any moment and resumed, it
// ends with the same bytes as the run that was not.
#pragma once

#include "experiments/corpora/corpus.hpp"
#include "experiments/run_folder.hpp"
#include "experiments/settings.hpp"
#include "experiments/training_step.hpp"
#include "nn/model.hpp"

namespace phasor {

ModelShape model_shape(const Settings& settings);

// The encoding of the model with these settings, without the model: what it learns starts from the same numbers, which
// train.seed draws. UsageError where it cannot be made.
PositionalEncoding encoding_of(const Settings& settings, ParameterList& learned);

// Where the positions that it knows end.
int64_t position_limit(const Settings& settings);

struct TrainerOptions {
  std::string label;  // in front of the progress line
  bool quiet = false;
};

// Trains to settings.train.steps, from the newest good checkpoint of the folder if there is one, and returns the model.
// Stops on the first SIGINT or SIGTERM after the step at hand, with a checkpoint: throws Interrupted.
// FileError if a checkpoint was made on another text than `corpus`; ResourceError if the disk has no room for the
// checkpoints, before anything is written.
Transformer train(const Settings& settings, const Corpus& corpus, const RunFolder& folder,
                  const TrainerOptions& options);

// The model of a run folder's newest good checkpoint, for evaluation; `settings` are those of the run. It reads with
// `encoding`, which learns nothing if it is not the run's own. FileError if there is none.
struct TrainedModel {
  Transformer model;
  int64_t step;               // taken when the checkpoint was made
  std::string corpus_sha256;  // of the text it was trained on
};
TrainedModel load_model(const std::filesystem::path& folder, const Settings& settings,
                        const EncodingSettings& encoding);

}  // namespace phasor
