// The models that the benchmarks train, by name, and one training step of a model as something to time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiments/bench/measure.hpp"
#include "experiments/settings.hpp"
#include "experiments/trainer.hpp"

namespace phasor {

// A model and its batch.
struct BenchSize {
  std::string name;
  Settings settings;
  int64_t vocabulary = byte_vocabulary;
  bool is_for_gpu = false;  // hours of a CPU
};

// reference, small, tiny, large; 124M: GPT-2's smallest, with Llama's block.
const std::vector<BenchSize>& bench_sizes();
// UsageError with the nearest name if there is none.
const BenchSize& bench_size_named(const std::string& name);

// "reference: width 256, 6 layers, 4 heads, hidden 704, length 256, batch 16".
std::string title_of(const BenchSize& size);

// Floating point operations, with N = parameters without the token embedding:
//   a training step           6 N tokens + 6 layers width length tokens
//   a forward pass            a third of it
// The second term is causal attention: half of all pairs, 2 products forward and 4 backward.
double step_operations(const Settings& settings, const ParameterList& parameters);
double forward_operations(const Settings& settings, const ParameterList& parameters, int64_t windows, int64_t length);

// Ids that occur are below it: bytes, or all of a larger vocabulary.
int64_t ids_below(const BenchSize& size);
// Random ids: the time of a step does not depend on what the text says.
TokenWindows random_windows(int64_t windows, int64_t length, int64_t bound = 256);

// A model, its optimizer and one batch, on the device of the settings. Copies share them.
class BenchStep {
 public:
  explicit BenchStep(const BenchSize& size);
  explicit BenchStep(const Settings& settings) : BenchStep(BenchSize{.name = "", .settings = settings}) {}

  double run() const;  // one training step on the batch; returns the loss before it
  // So many in a row, as a training takes them: a GPU has the next one before the host waits for the last.
  void run(int64_t steps) const;
  // Why the steps on a GPU were not recorded; empty if they were.
  const std::string& why_not_recorded() const { return state_->steps.why_not_recorded(); }

  // Six steps. NumericError, naming `bench`, unless the loss on the batch falls. Tells what they took.
  struct Trial {
    int64_t resting_bytes = 0;       // of tensors between steps: parameters and optimizer
    int64_t peak_bytes = 0;          // of tensors within a step
    int64_t process_bytes = 0;       // the largest resident size of the process
    int64_t system_allocations = 0;  // after the second step, on a GPU the third
  };
  Trial check() const;

  const Settings& settings() const { return state_->settings; }
  const Transformer& model() const { return state_->model; }
  double operations() const { return step_operations(settings(), model().parameters()); }

 private:
  struct State {
    Settings settings;
    Transformer model;
    AdamW optimizer;
    TokenWindows batch;
    TrainingSteps steps;
    explicit State(const BenchSize& size);
  };
  std::shared_ptr<State> state_;
  int64_t own_bytes_ = 0;
};

}  // namespace phasor
