// Times a training step between sgemm runs of the same minute, so that the ratio survives a noisy machine.
#include "experiments/bench/step.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/allocator.hpp"
#include "core/blas.hpp"
#include "core/parallel.hpp"
#include "core/random.hpp"
#include "experiments/trainer.hpp"

namespace phasor {
namespace {

double seconds_of(FunctionRef<void()> f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

// Random bytes: the time of a step does not depend on what the text says.
TokenWindows random_batch(const Settings& s) {
  Random random{.seed = 7};
  const Shape shape = {s.train.batch, s.train.length};
  TokenWindows windows{Tensor::empty(shape, Dtype::i32), Tensor::empty(shape, Dtype::i32)};
  for (int64_t i = 0; i < shape.size(); ++i) {
    windows.inputs.data<int32_t>()[i] = static_cast<int32_t>(random.below(256));
    windows.targets.data<int32_t>()[i] = static_cast<int32_t>(random.below(256));
  }
  return windows;
}

}  // namespace

Settings step_bench_defaults() {
  Settings s;
  s.model = {.width = 256, .layers = 6, .heads = 4, .kv_heads = 0, .hidden = 704};
  s.train.length = 256;
  s.train.batch = 16;
  s.train.steps = 1000;
  s.train.learning_rate = 1e-3;
  s.train.warmup_steps = 0;
  return s;
}

StepBench bench_step(const Settings& s, int threads) {
  StepBench result;
  result.threads = threads;
  const Transformer model(model_shape(s), static_cast<uint64_t>(s.train.seed));
  AdamW optimizer(model.parameters(), {});
  const TokenWindows batch = random_batch(s);

  const double first_loss = training_step(model, optimizer, batch, s).loss;
  for (int warm = 0; warm < 2; ++warm) training_step(model, optimizer, batch, s);
  const double later_loss = training_step(model, optimizer, batch, s).loss;
  require<NumericError>(later_loss < first_loss, "bench step", "the loss on one batch went from ", first_loss, " to ",
                        later_loss, " in three steps; a number that is not computed right is not timed");

  constexpr int64_t n = 1024;
  const Tensor a = Tensor::full({n, n}, 0.5, Dtype::f32), b = Tensor::full({n, n}, 0.25, Dtype::f32),
               c = Tensor::empty({n, n}, Dtype::f32);
  const auto gemm_seconds = [&] {
    return seconds_of([&] {
      gemm<float>(Trans::no, Trans::no, n, n, n, 1, a.data<float>(), n, b.data<float>(), n, 0, c.data<float>(), n);
    });
  };
  gemm_seconds();

  reset_peak_memory();
  const int64_t allocations_before = memory_counts().system_allocations;
  std::vector<double> steps, gemms;
  double total = 0;
  while (steps.size() < 11 || (total < 3 && steps.size() < 1000)) {
    steps.push_back(seconds_of([&] { training_step(model, optimizer, batch, s); }));
    gemms.push_back(gemm_seconds());
    total += steps.back();
  }
  result.repetitions = static_cast<int>(steps.size());
  result.seconds = quantile(steps, 0.5);
  result.spread = (quantile(steps, 0.75) - quantile(steps, 0.25)) / result.seconds;
  result.peak_bytes = memory_counts().peak_bytes;
  result.system_allocations = memory_counts().system_allocations - allocations_before;

  result.parameters = model.parameters().count() - model.parameters()["embedding.weight"].size();
  const double tokens = static_cast<double>(s.train.batch * s.train.length);
  const double operations = 6 * static_cast<double>(result.parameters) * tokens +
                            6 * static_cast<double>(s.model.layers * s.model.width * s.train.length) * tokens;
  result.tokens_per_second = tokens / result.seconds;
  result.gflops = operations / result.seconds * 1e-9;
  result.gemm_gflops = 2.0 * n * n * n / quantile(gemms, 0.5) * 1e-9;
  result.percent_of_gemm = 100 * result.gflops / (threads * result.gemm_gflops);
  return result;
}

std::string to_text(const StepBench& r, const Settings& s) {
  return fmt::format(
      "training step, f32, {} threads: width {}, {} layers, {} heads, hidden {}, length {}, batch {}\n"
      "  {:.1f} ms a step (median of {}, quartiles {:.1f} % apart{})\n"
      "  {:.0f} tokens/s, {:.1f} GFLOP/s = {:.1f} % of {} x sgemm(1024^3) at {:.1f} GFLOP/s a core\n"
      "  {} parameters without the token embedding, {:.0f} MB of tensors at the peak, {} system allocations\n",
      r.threads, s.model.width, s.model.layers, s.model.heads, s.model.hidden, s.train.length, s.train.batch,
      r.seconds * 1e3, r.repetitions, r.spread * 100, r.spread > 0.1 ? ": noisy, do not quote" : "",
      r.tokens_per_second, r.gflops, r.percent_of_gemm, r.threads, r.gemm_gflops, r.parameters,
      static_cast<double>(r.peak_bytes) * 1e-6, r.system_allocations);
}

std::string to_json(const StepBench& r) {
  return nlohmann::ordered_json{{"tokens_per_second", r.tokens_per_second},
                                {"gflops", r.gflops},
                                {"gemm_gflops", r.gemm_gflops},
                                {"percent_of_gemm", r.percent_of_gemm},
                                {"seconds", r.seconds},
                                {"spread", r.spread},
                                {"repetitions", r.repetitions},
                                {"parameters", r.parameters},
                                {"peak_bytes", r.peak_bytes},
                                {"system_allocations", r.system_allocations},
                                {"threads", r.threads}}
             .dump(2) +
         "\n";
}

}  // namespace phasor
