// phasor bench step: training steps, in one run with what they are compared with.
#include <fmt/format.h>

#include <algorithm>

#include "core/parallel.hpp"
#include "experiments/bench/bench.hpp"
#include "experiments/bench/torch.hpp"

namespace phasor {
namespace {

constexpr double mega = 1e-6;

std::string threads_text(int threads) { return fmt::format("{} {}", threads, threads == 1 ? "thread" : "threads"); }

// A forward pass over windows of at most 1024 tokens, about as many tokens as in a training step.
Subject evaluation_subject(const BenchStep& step) {
  const Settings& s = step.settings();
  const int64_t length = std::min<int64_t>(1024, step.model().encoding().position_limit);
  const int64_t windows = std::max<int64_t>(1, s.train.batch * s.train.length / length);
  const TokenWindows text = random_windows(windows, length);
  return {.name = fmt::format("evaluation at length {}", length),
          .run =
              [=] {
                const NoGradient scope;
                cross_entropy_by_row(step.model().logits(text.inputs), text.targets);
              },
          .work = forward_operations(s, step.model().parameters(), windows, length),
          .check =
              [=] {
                const NoGradient scope;
                const TokenWindows few = random_windows(2, std::min<int64_t>(100, length));
                const Observer stored{.sites = {Site::pattern}};  // attention that stores its scores
                require_close("bench step: evaluation", step.model().logits(few.inputs).value(),
                              step.model().logits(few.inputs, {.observer = &stored}).value());
              }};
}

double seconds_of_row(const BenchGroup& group, const std::string& name) {
  const auto found =
      std::find_if(group.rows.begin(), group.rows.end(), [&](const BenchRow& row) { return row.name == name; });
  return found->timing->seconds;
}

void tell_threads(BenchGroup& group, int threads) {
  const double gain = seconds_of_row(group, "step, 1 thread") / seconds_of_row(group, "step, " + threads_text(threads));
  group.remarks.push_back(fmt::format("{} threads are {:.2f} times as fast as one.", threads, gain));
  group.numbers.emplace_back("threads' gain", gain);
}

void tell_memory(BenchGroup& group, const BenchStep& step, const BenchStep::Trial& trial) {
  group.remarks.push_back(fmt::format(
      "{} parameters. At the peak of a step: {:.0f} MB of tensors, {:.0f} MB of the whole process. {} system "
      "allocations after the second step.",
      step.model().parameters().count(), static_cast<double>(trial.peak_bytes) * mega,
      static_cast<double>(trial.process_bytes) * mega, trial.system_allocations));
  group.numbers.insert(group.numbers.end(), {{"parameters", static_cast<double>(step.model().parameters().count())},
                                             {"tensor bytes at the peak", static_cast<double>(trial.peak_bytes)},
                                             {"process bytes at the peak", static_cast<double>(trial.process_bytes)},
                                             {"system allocations", static_cast<double>(trial.system_allocations)}});
}

// The better of PyTorch's thread counts, and its memory.
void tell_torch(BenchGroup& group, const std::vector<TorchStep>& torch, int threads) {
  double best = 0;
  for (const TorchStep& each : torch) {
    const double seconds = seconds_of_row(group, each.name());
    best = best == 0 ? seconds : std::min(best, seconds);
    const TorchStep::Memory memory = each.memory();
    group.remarks.push_back(
        fmt::format("{}: at most {:.0f} MB of its process, {:.0f} MB of which it had after its imports.", each.name(),
                    static_cast<double>(memory.peak_bytes) * mega, static_cast<double>(memory.imported_bytes) * mega));
    group.numbers.emplace_back(each.name() + ", process bytes at the peak", static_cast<double>(memory.peak_bytes));
    group.numbers.emplace_back(each.name() + ", process bytes after imports",
                               static_cast<double>(memory.imported_bytes));
  }
  const double ratio = best / seconds_of_row(group, "step, " + threads_text(threads));
  group.remarks.push_back(fmt::format("Phasor's step is {:.2f} times as fast as the better PyTorch.", ratio));
  group.numbers.emplace_back("times as fast as PyTorch", ratio);
}

BenchGroup group_of(const BenchSize& size, Against against, const BenchOptions& options) {
  const BenchStep step(size.settings);
  const BenchStep::Trial trial = step.check();

  std::vector<Subject> subjects = {
      {.name = "step, " + threads_text(options.threads), .run = [&] { step.run(); }, .work = step.operations()}};
  if (options.threads > 1)
    subjects.push_back(
        {.name = "step, 1 thread", .run = [&] { with_threads(1, [&] { step.run(); }); }, .work = step.operations()});
  const size_t steps = subjects.size();
  subjects.push_back(evaluation_subject(step));
  std::vector<TorchStep> torch;
  if (against == Against::torch) {
    torch.emplace_back(size.settings, 1);
    if (options.threads > 1) torch.emplace_back(size.settings, options.threads);
  }
  for (TorchStep& each : torch) {
    each.require_parameters(step.model().parameters().count());
    subjects.push_back({.name = each.name(), .work = step.operations(), .seconds = [&] { return each.run(); }});
  }

  BenchGroup group = time_operations(title_of(size), subjects, options);
  const double tokens = static_cast<double>(size.settings.train.batch * size.settings.train.length);
  for (size_t i = 0; i < steps + 1 + torch.size(); ++i)
    if (i != steps) group.rows[i].numbers.emplace_back("tokens/s", tokens / group.rows[i].timing->seconds);
  if (options.threads > 1) tell_threads(group, options.threads);
  tell_memory(group, step, trial);
  if (!torch.empty()) tell_torch(group, torch, options.threads);
  return group;
}

}  // namespace

BenchResult bench_step(const std::vector<BenchSize>& sizes, Against against, const BenchOptions& options) {
  if (options.device == Device::cuda) return bench_step_on_gpu(sizes, against, options);
  BenchResult result{.name = "step", .threads = options.threads};
  result.notes = {
      "Operations: 6 per parameter (without the token embedding) and token, and 6 per layer, channel, token "
      "and token of the length for causal attention; a third of that for evaluation.",
      ceiling_note(options)};
  for (const BenchSize& size : sizes) result.groups.push_back(group_of(size, against, options));
  return result;
}

}  // namespace phasor
