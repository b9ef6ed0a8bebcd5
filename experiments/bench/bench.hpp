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

// Fused attention forward and backward at several lengths, plain and with a bias of distance, and its memory. PyTorch's
// beside it on a GPU only.
BenchResult bench_attention(Against against, const BenchOptions& options);

// Single ops on tensors larger than the cache, against a copy of as many bytes.
BenchResult bench_ops(const BenchOptions& options);
constexpr double bytes_for_ops = 6e9;  // a little more than it takes, unless quick

// Matrix products of the sizes' models, forward and both gradients.
BenchResult bench_gemm(const std::vector<BenchSize>& sizes, const BenchOptions& options);

// What a training step of each size keeps in memory, with and without train.recompute_blocks.
BenchResult bench_memory(const std::vector<BenchSize>& sizes, const BenchOptions& options);

// The same on a GPU, which the three above call if the options name it. There a number that is wrong is told and not
// timed, the others are: a GPU may be there for minutes only.
BenchResult bench_step_on_gpu(const std::vector<BenchSize>& sizes, Against against, const BenchOptions& options);
BenchResult bench_attention_on_gpu(Against against, const BenchOptions& options);
BenchResult bench_ops_on_gpu(const BenchOptions& options);
// What the largest of them takes there, unless quick.
constexpr double gpu_bytes_for_ops = 14e9;

// Time and memory of a step against length, width, layers, batch and threads. `page` is HTML with the curves.
struct Scaling {
  BenchResult result;
  std::string page;
};
Scaling bench_scaling(const BenchOptions& options);

}  // namespace phasor
