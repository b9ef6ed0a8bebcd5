// phasor bench step: one training step of a model, timed against the matrix-product rate of the same machine in the
// same run.
#pragma once

#include <filesystem>
#include <string>

#include "experiments/settings.hpp"

namespace phasor {

struct StepBench {
  double seconds = 0;  // median of one step
  double spread = 0;   // (upper quartile - lower quartile) / median
  double tokens_per_second = 0;
  // 6 * parameters * tokens, without the token embedding, + 6 * layers * width * length * tokens for causal attention
  // (half of all pairs; forward 2 products, backward 4).
  double gflops = 0;
  double gemm_gflops = 0;      // sgemm(1024^3) on one thread: median over measurements between the steps
  double percent_of_gemm = 0;  // of twice that rate, or of as many times as there are threads
  int64_t parameters = 0;
  int64_t peak_bytes = 0;          // tensors in use at once
  int64_t system_allocations = 0;  // in the timed steps
  int threads = 0, repetitions = 0;
};

// The reference model: width 256, 6 layers, 4 heads, hidden 704, length 256, batch 16.
Settings step_bench_defaults();

// Checks first that a step lowers the loss on its own batch, then times at least 11 steps. NumericError if it does not.
StepBench bench_step(const Settings& settings, int threads);

std::string to_text(const StepBench& result, const Settings& settings);
std::string to_json(const StepBench& result);

}  // namespace phasor
