// What a benchmark found: groups of rows, as tables for a terminal and as JSON.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiments/bench/measure.hpp"

namespace phasor {

struct BenchOptions {
  int threads = 1;
  bool quick = false;  // small sizes and few repetitions, to see what is printed; the numbers mean nothing
  Device device = Device::cpu;
  Effort effort() const { return quick ? Effort{.repetitions = 3, .seconds = 0} : Effort{}; }
};

// A number with what it counts: {"tokens/s", 6655}.
using NamedNumber = std::pair<std::string, double>;

struct BenchRow {
  std::string name;
  std::optional<Timing> timing = {};
  std::optional<double> rate = {};         // operations or bytes a second
  std::vector<NamedNumber> percents = {};  // of which ceiling
  std::vector<NamedNumber> numbers = {};   // the rest
};

struct BenchGroup {
  std::string title = {};
  std::string rate_unit = "GFLOP/s";
  std::vector<BenchRow> rows = {};
  std::vector<std::string> remarks = {};  // lines below the table
  std::vector<NamedNumber> numbers = {};  // for the JSON file; the remarks say them in words
};

struct BenchResult {
  std::string name;                     // of the benchmark, such as "step"
  std::vector<std::string> notes = {};  // how to read it: what is counted, what is 100 %
  std::vector<BenchGroup> groups = {};
  int threads = 1;
  Device device = Device::cpu;
};

// Times the subjects between the two ceilings of arithmetic, which become the last rows. A rate is work a second; its
// percentage is of `options.threads` times sgemm(1024^3) on one core, whatever the subject's own number of threads.
BenchGroup time_operations(const std::string& title, std::vector<Subject> subjects, const BenchOptions& options);

// The sentence about that percentage.
std::string ceiling_note(const BenchOptions& options);

// The rate and percentage of work done in the time of a row.
BenchRow row_of(const Subject& subject, const Timing& timing);

// Within 80 columns: processor and OpenBLAS's kernel, or the GPU; notes, then the tables.
std::string to_text(const BenchResult& result);
std::string to_json(const BenchResult& result);

}  // namespace phasor
