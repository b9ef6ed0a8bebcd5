// phasor bench memory: where the bytes of a training step go.
#include <fmt/format.h>

#include "core/allocator.hpp"
#include "experiments/bench/bench.hpp"

namespace phasor {
namespace {

// What a forward pass leaves for backward.
int64_t kept_bytes(const BenchStep& step) {
  const TokenWindows text = random_windows(step.settings().train.batch, step.settings().train.length);
  const int64_t before = memory_counts().bytes_in_use;
  const Var loss = cross_entropy(
      step.model().logits(text.inputs, {.recompute_blocks = step.settings().train.recompute_blocks}), text.targets);
  return memory_counts().bytes_in_use - before;
}

BenchRow row_of(const std::string& name, const Settings& settings) {
  const BenchStep step(settings);
  const BenchStep::Trial trial = step.check();
  const auto megabytes = [](int64_t bytes) { return static_cast<double>(bytes) * 1e-6; };
  return {.name = name,
          .numbers = {{"model MB", megabytes(trial.resting_bytes)},
                      {"activations MB", megabytes(kept_bytes(step))},
                      {"peak MB", megabytes(trial.peak_bytes)},
                      {"process MB", megabytes(trial.process_bytes)},
                      {"B/token", static_cast<double>(trial.peak_bytes - trial.resting_bytes) /
                                      static_cast<double>(settings.train.batch * settings.train.length)}}};
}

}  // namespace

BenchResult bench_memory(const std::vector<BenchSize>& sizes, const BenchOptions& options) {
  BenchResult result{.name = "memory", .threads = options.threads};
  result.notes = {
      "model: parameters and AdamW's two means. activations: what a forward pass keeps for backward. peak: the most "
      "tensors in use within a step. process: its largest resident size. B/token: peak less model."};
  for (const BenchSize& size : sizes) {
    Settings kept = size.settings, recomputed = size.settings;
    kept.train.recompute_blocks = false;
    recomputed.train.recompute_blocks = true;
    result.groups.push_back(
        {.title = title_of(size), .rows = {row_of("step", kept), row_of("recompute_blocks", recomputed)}});
  }
  return result;
}

}  // namespace phasor
