// The benchmarks. Each checks first, on small inputs, that what it is about to time computes the right numbers
// (NumericError), then times it against the machine's own ceilings, measured in the same run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/bench/result.hpp"
#include "experiments/bench/sizes.hpp"

namespace phasor {

enum class Against { nothing, torch };

// A training step of each size with all threads and with one, a forward pass at length 1024 without gradients, memory
// and system allocations; PyTorch's step in between, in processes of its own. UsageError if Python has no PyTorch.
BenchResult bench_step(const std::vector<BenchSize>& sizes, Against against, const BenchOptions& options);

// Fused attention forward and backward at several lengths, plain and with a bias of distance, and its memory.
BenchResult bench_attention(const BenchOptions& options);

// Single ops on tensors larger than the cache, against a copy of as many bytes.
BenchResult bench_ops(const BenchOptions& options);
constexpr double bytes_for_ops = 6e9;  // a little more than it takes, unless quick

// Matrix products of the sizes' models, forward and both gradients.
BenchResult bench_gemm(const std::vector<BenchSize>& sizes, const BenchOptions& options);

// What a training step of each size keeps in memory, with and without train.recompute_blocks.
BenchResult bench_memory(const std::vector<BenchSize>& sizes, const BenchOptions& options);

// Time and memory of a step against length, width, layers, batch and threads. `page` is HTML with the curves.
struct Scaling {
  BenchResult result;
  std::string page;
};
Scaling bench_scaling(const BenchOptions& options);

}  // namespace phasor
