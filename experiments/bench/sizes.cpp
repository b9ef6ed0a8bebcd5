// Named sizes, and what a step does and takes.
#include "experiments/bench/sizes.hpp"

#include <fmt/format.h>
#include <malloc.h>

#include <cstdio>
#include <fstream>

#include "core/allocator.hpp"
#include "core/nearest_name.hpp"
#include "core/random.hpp"

namespace phasor {
namespace {

BenchSize size(const std::string& name, const ModelSettings& model, int64_t length, int64_t batch) {
  Settings s;
  s.model = model;
  s.train.length = length;
  s.train.batch = batch;
  s.train.steps = 1000;
  s.train.learning_rate = 1e-3;
  s.train.warmup_steps = 0;
  return {.name = name, .settings = s};
}

BenchSize gpt() {
  BenchSize gpt = size("124M", {.width = 768, .layers = 12, .heads = 12, .kv_heads = 0, .hidden = 2048}, 512, 64);
  gpt.settings.model.head = "tied";
  gpt.settings.train.precision = "bf16";
  gpt.vocabulary = 50304;  // 50257, rounded up to a multiple of 64
  gpt.is_for_gpu = true;
  return gpt;
}

// The largest resident size of this process since its start or the last forget_process_peak(), in bytes.
int64_t process_peak_bytes() {
  std::string word;
  for (std::ifstream status("/proc/self/status"); status >> word;)
    if (int64_t kib = 0; word == "VmHWM:" && status >> kib) return kib * 1024;
  return 0;
}

// Where the kernel does not allow it, the peak stays that of the whole process.
void forget_process_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace

const std::vector<BenchSize>& bench_sizes() {
  static const std::vector<BenchSize> sizes = {
      size("reference", {.width = 256, .layers = 6, .heads = 4, .kv_heads = 0, .hidden = 704}, 256, 16),
      size("small", {.width = 128, .layers = 4, .heads = 2, .kv_heads = 0, .hidden = 352}, 128, 32),
      size("tiny", {.width = 64, .layers = 2, .heads = 1, .kv_heads = 0, .hidden = 176}, 64, 8),
      size("large", {.width = 512, .layers = 8, .heads = 8, .kv_heads = 0, .hidden = 1408}, 512, 4), gpt()};
  return sizes;
}

const BenchSize& bench_size_named(const std::string& name) {
  std::vector<std::string> names;
  for (const BenchSize& known : bench_sizes()) {
    if (known.name == name) return known;
    names.push_back(known.name);
  }
  throw UsageError(unknown_name("size", name, names));
}

std::string title_of(const BenchSize& size) {
  const Settings& s = size.settings;
  const auto several = [](int64_t count, const char* what) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
  };
  return fmt::format("{}: width {}, {}, {}, hidden {}, length {}, batch {}", size.name, s.model.width,
                     several(s.model.layers, "layer"), several(s.model.heads, "head"), s.model.hidden, s.train.length,
                     s.train.batch);
}

double forward_operations(const Settings& s, const ParameterList& parameters, int64_t windows, int64_t length) {
  // A tied head multiplies by the embedding; otherwise the embedding is only looked up.
  const int64_t looked_up = s.model.head == "tied" ? 0 : parameters["embedding.weight"].size();
  const int64_t products = parameters.count() - looked_up;
  const double tokens = static_cast<double>(windows * length);
  return tokens * static_cast<double>(2 * products + 2 * s.model.layers * s.model.width * length);
}

double step_operations(const Settings& s, const ParameterList& parameters) {
  return 3 * forward_operations(s, parameters, s.train.batch, s.train.length);
}

int64_t ids_below(const BenchSize& size) { return size.vocabulary == byte_vocabulary ? 256 : size.vocabulary; }

TokenWindows random_windows(int64_t windows, int64_t length, int64_t bound) {
  Random random{.seed = 7};
  const Shape shape = {windows, length};
  TokenWindows result{Tensor::empty(shape, Dtype::i32), Tensor::empty(shape, Dtype::i32)};
  for (int64_t i = 0; i < shape.size(); ++i) {
    result.inputs.data<int32_t>()[i] = static_cast<int32_t>(random.below(bound));
    result.targets.data<int32_t>()[i] = static_cast<int32_t>(random.below(bound));
  }
  return result;
}

static Transformer model_of(const BenchSize& size) {
  ModelShape shape = model_shape(size.settings);
  shape.vocabulary = size.vocabulary;
  const Transformer model(shape, static_cast<uint64_t>(size.settings.train.seed));
  model.move_to(size.settings.device);
  return model;
}

BenchStep::State::State(const BenchSize& size)
    : settings(size.settings),
      model(model_of(size)),
      optimizer(model.parameters(), {}),
      batch(random_windows(settings.train.batch, settings.train.length, ids_below(size))),
      steps(model, optimizer, settings) {}

BenchStep::BenchStep(const BenchSize& size) {
  const Device device = size.settings.device;
  const int64_t before = memory_counts(device).bytes_in_use;
  state_ = std::make_shared<State>(size);
  own_bytes_ = memory_counts(device).bytes_in_use - before;
}

double BenchStep::run() const {
  state_->steps.start(state_->batch);
  return state_->steps.finish().loss;
}

void BenchStep::run(int64_t steps) const {
  TrainingSteps& s = state_->steps;
  for (int64_t step = 0; step < steps; ++step) {
    s.start(state_->batch);
    if (s.unfinished() > 1 || !s.runs_ahead()) s.finish();
  }
  while (s.unfinished() > 0) s.finish();
}

BenchStep::Trial BenchStep::check() const {
  constexpr int steps = 6;
  const Device device = settings().device;
  release_cached_memory(device);
  malloc_trim(0);  // blocks below glibc's threshold stay with the process otherwise
  reset_peak_memory(device);
  forget_process_peak();
  const int64_t before = memory_counts(device).bytes_in_use;
  const double first_loss = run();
  const int first_steps = device == Device::cuda ? 3 : 2;  // on a GPU the second step is recorded
  for (int step = 1; step < first_steps; ++step) run();
  const int64_t allocations = memory_counts(device).system_allocations;
  double loss = 0;
  for (int step = first_steps; step < steps; ++step) loss = run();
  require<NumericError>(loss < first_loss, "bench", "the loss on one batch went from ", first_loss, " to ", loss,
                        " in ", steps - 1, " training steps; a number that is not computed right is not timed");
  return {.resting_bytes = own_bytes_,
          .peak_bytes = own_bytes_ + memory_counts(device).peak_bytes - before,
          .process_bytes = process_peak_bytes(),
          .system_allocations = memory_counts(device).system_allocations - allocations};
}

}  // namespace phasor
