// One optimizer step on one batch, and a row of them: on a GPU a step is recorded once, launched many times, and the
// next one starts before the numbers of the last have come back.
#pragma once

#include <deque>
#include <optional>

#include "core/device.hpp"
#include "experiments/corpora/corpus.hpp"
#include "experiments/settings.hpp"
#include "nn/model.hpp"
#include "nn/optimizer.hpp"

namespace phasor {

// One step: loss, gradients (of settings.train.accumulate equal parts, each times 1 / accumulate, added in the order of
// the parts: ((g1 + g2) + g3) + ...), clipping of single gradients, then of their global norm, AdamW. Throws
// NumericError naming the step and what is not finite; the parameters are then unchanged.
struct StepResult {
  double loss, gradient_norm, learning_rate;
};
StepResult training_step(const Transformer& model, AdamW& optimizer, const TokenWindows& batch,
                         const Settings& settings);

// The steps of a training, in order. start() is to be followed by finish() for the same step; where it runs ahead, one
// more step may be started before. optimizer.steps counts those started.
class TrainingSteps {
 public:
  TrainingSteps(const Transformer& model, AdamW& optimizer, const Settings& settings);

  bool runs_ahead() const { return on_gpu_; }
  void start(const TokenWindows& batch);
  // Of the earliest step that is not finished. NumericError as training_step; the parameters are then those before it.
  StepResult finish();
  int64_t unfinished() const { return std::ssize(started_); }
  // Why steps are not recorded but asked for one by one; empty if they are, or it is too early to know.
  const std::string& why_not_recorded() const { return why_not_recorded_; }

 private:
  struct Started {
    int64_t step;
    double learning_rate;
    std::optional<Readback> numbers;  // of the GPU: loss, norm, and the norm of each gradient
    StepResult result;                // of the CPU
  };
  void run_on_gpu(const TokenWindows& batch, const Tensor& positions);
  void record();

  const Transformer& model_;
  AdamW& optimizer_;
  const Settings& settings_;
  bool on_gpu_;
  std::deque<Started> started_;
  TokenWindows batch_;                // on the GPU, where every step finds its windows
  std::optional<AdamWOnGpu> update_;  // of the GPU
  std::optional<DeviceGraph> graph_;
  int64_t taken_here_ = 0;
  std::string why_not_recorded_;
};

}  // namespace phasor
