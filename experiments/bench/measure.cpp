// Google Benchmark without its own output: it chooses how often to run a subject and in which order.
#include "experiments/bench/measure.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>

#include "core/error.hpp"

namespace phasor {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double quantile(const std::vector<double>& sorted, double q) {
  return sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5)];
}

Timing timing_of(std::vector<double> seconds) {
  if (seconds.empty()) return {};
  std::sort(seconds.begin(), seconds.end());
  const double median = quantile(seconds, 0.5);
  return {median, (quantile(seconds, 0.75) - quantile(seconds, 0.25)) / median, static_cast<int>(seconds.size())};
}

// A line that is rewritten in place; nothing where stderr is no terminal.
class Countdown {
 public:
  Countdown(std::string label, size_t runs) : label_(std::move(label)), runs_(runs) {}
  ~Countdown() {
    if (is_shown_) std::fputs("\r\x1b[K", stderr);
  }

  // Before each run. Google Benchmark begins with trial runs, which are not counted beforehand.
  void next() {
    const double elapsed = seconds_since(start_);
    done_ = std::min(done_ + 1, runs_);
    if (!isatty(STDERR_FILENO) || done_ < 2) return;
    const double left = elapsed / static_cast<double>(done_ - 1) * static_cast<double>(runs_ - done_ + 1);
    const auto whole = static_cast<int64_t>(left + 0.5);
    fmt::print(stderr, "\r{}: {}/{}  ETA {}:{:02}\x1b[K", label_, done_, runs_, whole / 60, whole % 60);
    std::fflush(stderr);
    is_shown_ = true;
  }

 private:
  std::string label_;
  size_t runs_, done_ = 0;
  bool is_shown_ = false;
  Clock::time_point start_ = Clock::now();
};

class Collector : public benchmark::BenchmarkReporter {
 public:
  explicit Collector(size_t subjects) : seconds(subjects) {}
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs)
      if (run.run_type == Run::RT_Iteration && !run.error_occurred)
        seconds[std::stoul(run.run_name.function_name)].push_back(run.real_accumulated_time /
                                                                  static_cast<double>(run.iterations));
  }
  std::vector<std::vector<double>> seconds;  // of each subject
};

void interleave_randomly() {
  static const bool once = [] {
    std::string program = "phasor", option = "--benchmark_enable_random_interleaving=true";
    char* words[] = {program.data(), option.data(), nullptr};
    int count = 2;
    benchmark::Initialize(&count, words);
    return true;
  }();
  (void)once;
}

}  // namespace

std::vector<Timing> time_interleaved(const std::string& label, const std::vector<Subject>& subjects,
                                     const Effort& effort) {
  for (const Subject& subject : subjects)
    if (subject.check) subject.check();

  interleave_randomly();
  Countdown countdown(label, subjects.size() * static_cast<size_t>(effort.repetitions));
  std::exception_ptr failure;  // must not pass through the library, which would skip its own cleaning up
  const auto body = [&](benchmark::State& state, const Subject& subject) {
    countdown.next();
    try {
      for ([[maybe_unused]] auto iteration : state) {
        if (failure) return state.SkipWithError("stopped");
        if (subject.seconds)
          state.SetIterationTime(subject.seconds());
        else
          subject.run();
      }
    } catch (...) {
      failure = std::current_exception();
      state.SkipWithError("failed");
    }
  };
  for (size_t i = 0; i < subjects.size(); ++i) {
    benchmark::internal::Benchmark* const entry =
        benchmark::RegisterBenchmark(std::to_string(i).c_str(), body, subjects[i])
            ->Repetitions(effort.repetitions)
            ->MinTime(std::max(effort.seconds, 1e-9));
    subjects[i].seconds ? entry->UseManualTime() : entry->UseRealTime();
  }
  Collector collector(subjects.size());
  benchmark::RunSpecifiedBenchmarks(&collector, ".");
  benchmark::ClearRegisteredBenchmarks();
  if (failure) std::rethrow_exception(failure);

  std::vector<Timing> timings;
  for (const std::vector<double>& seconds : collector.seconds) timings.push_back(timing_of(seconds));
  return timings;
}

void require_close(const char* what, const Tensor& got, const Tensor& expected, double limit) {
  require<NumericError>(got.shape() == expected.shape(), what, "got ", got.shape(), ", expected ", expected.shape());
  const std::vector<double> a = got.to(Dtype::f64).to_vector<double>(), b = expected.to(Dtype::f64).to_vector<double>();
  double largest = 0;
  for (const double value : b) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < a.size(); ++i)
    require<NumericError>(std::abs(a[i] - b[i]) <= limit * largest, what, "wrong at element ", i, ": got ", a[i],
                          ", expected ", b[i], "; a wrong number is not timed");
}

}  // namespace phasor
