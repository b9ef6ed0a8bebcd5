// phasor bench step --device cuda: training steps as a training takes them, recorded once, beside PyTorch's in the same
// run.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/device.hpp"
#include "core/error.hpp"
#include "experiments/bench/bench.hpp"
#include "experiments/bench/gpu.hpp"
#include "experiments/bench/torch_gpu.hpp"

namespace phasor {
namespace {

constexpr double mega = 1e-6;

Subject step_subject(const BenchStep& step, double least_seconds) {
  return {.name = "step", .work = step.operations(), .seconds = [=] {
            const auto seconds_of = [&](int64_t steps) {
              synchronize(Device::cuda);
              const auto start = std::chrono::steady_clock::now();
              step.run(steps);
              synchronize(Device::cuda);
              return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() /
                     static_cast<double>(steps);
            };
            seconds_of(1);
            const double once = seconds_of(1);
            return seconds_of(static_cast<int64_t>(std::clamp(std::ceil(least_seconds / once), 1.0, 1000.0)));
          }};
}

struct Rival {
  const char *name, *kind;
  bool has_graphs;
};
constexpr Rival rivals[] = {{"eager", "eager", false},
                            {"compiled", "compiled", false},
                            {"compiled, its own CUDA graphs", "graphs", true},
                            {"compiled, whole step in a CUDA graph", "captured", true}};

std::string task_of(const BenchSize& size, const char* kind) {
  const Settings& s = size.settings;
  return nlohmann::json{{"task", "step"},
                        {"kind", kind},
                        {"width", s.model.width},
                        {"layers", s.model.layers},
                        {"heads", s.model.heads},
                        {"hidden", s.model.hidden},
                        {"vocabulary", size.vocabulary},
                        {"ids", ids_below(size)},
                        {"tied", s.model.head == "tied"},
                        {"length", s.train.length},
                        {"batch", s.train.batch}}
      .dump();
}

// Llama's block with rope, in bf16, is what torch_gpu.py has.
std::string why_not_against_torch(const Settings& s) {
  if (s.encoding.name != "rope" || s.model.norm != "rms" || s.model.mlp != "swiglu" || s.model.bias ||
      s.model.kv_heads != 0 || s.train.accumulate != 1)
    return "--against torch knows Llama's block with rope";
  return s.train.precision == "bf16" ? "" : "--against torch trains in bf16 on a GPU: add --set train.precision=bf16";
}

// How many times as fast as the fastest of PyTorch's with CUDA graphs, and of those without.
void tell_ratio(BenchGroup& group, const std::vector<std::pair<double, bool>>& torch_seconds, double own,
                bool has_graphs, const char* words) {
  double best = 0;
  for (const auto& [seconds, graphs] : torch_seconds)
    if (graphs == has_graphs) best = best == 0 ? seconds : std::min(best, seconds);
  if (best == 0) return;
  group.remarks.push_back(
      fmt::format("Phasor's step is {:.2f} times as fast as the fastest PyTorch {} CUDA graphs.", best / own, words));
  group.numbers.emplace_back(fmt::format("times as fast as PyTorch {} CUDA graphs", words), best / own);
}

BenchGroup group_of(const BenchSize& size, std::optional<TorchOnGpu>& torch, const BenchOptions& options) {
  BenchGroup group{.title = title_of(size) + ", " + size.settings.train.precision};
  const BenchStep step(size);
  BenchStep::Trial trial;
  if (!holds([&] { trial = step.check(); }, "step", group.remarks)) return group;

  std::vector<Subject> subjects = {step_subject(step, 10 * gpu_seconds_of(options))};
  std::vector<bool> has_graphs;
  for (const Rival& rival : rivals) {
    if (!torch) continue;
    const auto subject = torch->subject(rival.name, task_of(size, rival.kind), step.operations());
    if (!subject) continue;
    subjects.push_back(*subject);
    has_graphs.push_back(rival.has_graphs);
  }
  const std::vector<Timing> timings = time_interleaved("bench step", subjects, gpu_effort(options));
  const double tokens = static_cast<double>(size.settings.train.batch * size.settings.train.length);
  std::vector<std::pair<double, bool>> torch_seconds;
  for (size_t i = 0; i < subjects.size(); ++i) {
    group.rows.push_back(row_of(subjects[i], timings[i]));
    group.rows.back().numbers.emplace_back("tokens/s", tokens / timings[i].seconds);
    if (i > 0) torch_seconds.emplace_back(timings[i].seconds, has_graphs[i - 1]);
  }
  tell_ratio(group, torch_seconds, timings[0].seconds, true, "with");
  tell_ratio(group, torch_seconds, timings[0].seconds, false, "without");
  group.remarks.push_back(fmt::format(
      "{} parameters. At the peak of a step: {:.0f} MB of tensors on the GPU. {} allocations from the driver after the "
      "third step.",
      step.model().parameters().count(), static_cast<double>(trial.peak_bytes) * mega, trial.system_allocations));
  group.numbers.emplace_back("parameters", static_cast<double>(step.model().parameters().count()));
  group.numbers.emplace_back("tensor bytes at the peak", static_cast<double>(trial.peak_bytes));
  if (!step.why_not_recorded().empty())
    group.remarks.push_back("Steps were asked for one by one, not recorded: " + step.why_not_recorded());
  if (torch) torch->tell_refusals(group.remarks);
  return group;
}

}  // namespace

BenchResult bench_step_on_gpu(const std::vector<BenchSize>& sizes, Against against, const BenchOptions& options) {
  std::optional<TorchOnGpu> torch;
  if (against == Against::torch) {
    for (const BenchSize& size : sizes) {
      const std::string why = why_not_against_torch(size.settings);
      require<UsageError>(why.empty(), "bench", why);
    }
    torch.emplace();
  }
  BenchResult result{.name = "step", .device = Device::cuda};
  result.notes = {
      "Operations: 6 per parameter (without the token embedding, unless it is the head too) and token, and 6 per "
      "layer, "
      "channel, token and token of the length for causal attention. Steps follow one another as in a training; the "
      "host "
      "reads the loss of each while the next one runs."};
  if (torch)
    result.notes.push_back("PyTorch " + torch->version() +
                           ": the same model under bf16 autocast, fused AdamW and clipping; it does not read the loss. "
                           "Aims: at 124M as fast "
                           "as PyTorch with CUDA graphs; at width 256, 1.5 times as fast, and 3 times without them.");
  for (const BenchSize& size : sizes) result.groups.push_back(group_of(size, torch, options));
  return result;
}

}  // namespace phasor
