// The single ops that are benchmarked on tensors larger than any cache, and what each must compute.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "core/tensor.hpp"
#include "nn/optimizer.hpp"

namespace phasor {

struct BenchOp {
  using Tensors = std::vector<Tensor>;
  std::string name;
  Tensors inputs;                                              // those of floating point are differentiated
  std::function<Tensor(const Tensors&in)> forward, reference;  // the reference takes inputs of the CPU in f64
  // Gradients of the first inputs, as many as it returns; without one, forward alone is timed.
  std::function<Tensors(const Tensors& in, const Tensor& y, const Tensor& dy)> backward = {};
  std::vector<size_t> unread = {};  // inputs that backward does without
  bool reads_y = false;             // that backward reads the result
};

// Rows of `width` channels; rotary and cross_entropy take about as many numbers in shapes of their own. `draw` makes
// the large inputs. Parameters and tables are f32.
struct BenchOpSizes {
  int64_t rows, width;
  Dtype dtype = Dtype::f32;
  Device device = Device::cpu;
  std::function<Tensor(const Shape&, Random&)> draw;
};
std::vector<BenchOp> bench_op_list(const BenchOpSizes& sizes);

// A gradient of y, in its order of axes in memory.
Tensor bench_cotangent(const Tensor& y, const std::function<Tensor(const Shape&, Random&)>& draw);

// The kernel against the reference, and each gradient along a random direction against the reference's difference:
// NumericError. `op` has small inputs.
void check_bench_op(const BenchOp& op);

// What forward and backward must read and write, each tensor once.
double forward_bytes(const BenchOp& op, const Tensor& y);
double backward_bytes(const BenchOp& op, const Tensor& y, const Tensor& dy);

// What AdamW makes of w in so many steps with one gradient, number by number: f64.
Tensor adamw_by_formula(const Tensor& w, const Tensor& gradient, const AdamWOptions& options, double rate, int steps);

}  // namespace phasor
