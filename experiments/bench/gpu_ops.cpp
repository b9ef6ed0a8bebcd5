// phasor bench ops --device cuda: single ops on tensors of 1 GiB, each beside the driver's own copy.
#include <fmt/format.h>

#include "core/allocator.hpp"
#include "core/device.hpp"
#include "experiments/bench/bench.hpp"
#include "experiments/bench/gpu.hpp"
#include "experiments/bench/op_list.hpp"
#include "nn/optimizer.hpp"

namespace phasor {
namespace {

constexpr int64_t width = 1024, tensor_bytes = int64_t{1} << 30, few_rows = 37;
constexpr const char* copy_name = "copy by the driver";

BenchOpSizes sizes_of(int64_t rows, Dtype dtype) {
  return {.rows = rows,
          .width = width,
          .dtype = dtype,
          .device = Device::cuda,
          .draw = [dtype](const Shape& shape, Random& random) { return random_on_gpu(shape, dtype, random); }};
}

// Reads and writes `bytes` / 2 each.
Subject driver_copy(int64_t bytes, double seconds) {
  const Tensor from = Tensor::full({bytes / 2 / 4}, 1.5, Dtype::f32, Device::cuda),
               to = Tensor::zeros(from.shape(), Dtype::f32, Device::cuda);
  return on_gpu(
      copy_name, [=] { copy_by_driver(to, from); }, static_cast<double>(bytes), seconds);
}

// Rows for the subjects, each with its part of the rate of a copy that is timed with them. The copy's own row, of the
// last call, stays at the end.
void time_beside_copy(BenchGroup& group, std::vector<Subject> subjects, const BenchOptions& options) {
  subjects.push_back(driver_copy(options.quick ? 1 << 16 : 2 * tensor_bytes, gpu_seconds_of(options)));
  const std::vector<Timing> timings = time_interleaved("bench ops", subjects, gpu_effort(options));
  if (!group.rows.empty() && group.rows.back().name == copy_name) group.rows.pop_back();
  const double ceiling = subjects.back().work / timings.back().seconds;
  for (size_t i = 0; i < subjects.size(); ++i) {
    group.rows.push_back(row_of(subjects[i], timings[i]));
    group.rows.back().percents.emplace_back("% of the copy", 100 * *group.rows.back().rate / ceiling);
  }
  release_cached_memory(Device::cuda);  // the next op has tensors of other sizes
}

std::vector<Subject> subjects_of(const BenchOp& op, const BenchOpSizes& sizes, double seconds) {
  const Tensor y = op.forward(op.inputs);
  std::vector<Subject> subjects = {on_gpu(
      op.name, [=] { op.forward(op.inputs); }, forward_bytes(op, y), seconds)};
  if (!op.backward) return subjects;
  const Tensor dy = bench_cotangent(y, sizes.draw), kept = op.reads_y ? y : Tensor();
  subjects.push_back(on_gpu(
      op.name + " backward", [=] { op.backward(op.inputs, kept, dy); }, backward_bytes(op, y, dy), seconds));
  return subjects;
}

struct Update {
  ParameterList parameters;
  GradientList gradients;
  Tensor loss;
  std::shared_ptr<AdamW> optimizer;
  std::shared_ptr<AdamWOnGpu> steps;
};

std::shared_ptr<Update> update_of(int64_t count) {
  Random random{.seed = 19};
  const auto update = std::make_shared<Update>();
  update->parameters.add("w", random_on_gpu({count}, Dtype::f32, random), {.weight_decay_factor = 1});
  update->gradients = {random_on_gpu({count}, Dtype::f32, random)};
  update->loss = Tensor::scalar(1, Dtype::f64, Device::cuda);
  update->optimizer = std::make_shared<AdamW>(update->parameters, AdamWOptions{});
  update->steps = std::make_shared<AdamWOnGpu>(update->parameters, *update->optimizer, 0);
  return update;
}

void check_adamw() {
  constexpr double rate = 0.01;
  constexpr int steps = 2;
  const auto update = update_of(1000);
  const Tensor w = update->parameters["w"].value().clone();
  for (int step = 0; step < steps; ++step) {
    update->steps->begin(rate);
    update->steps->take(update->gradients, update->loss);
  }
  require_close("bench ops: AdamW", update->parameters["w"].value(),
                adamw_by_formula(w, update->gradients[0], update->optimizer->options, rate, steps));
}

// Reads g for the norm, then w, g, m, v, and writes w, m, v.
Subject adamw_subject(int64_t count, double seconds) {
  const auto update = update_of(count);
  update->steps->begin(1e-6);
  return on_gpu(
      "clip + AdamW", [=] { update->steps->take(update->gradients, update->loss); },
      8.0 * sizeof(float) * static_cast<double>(count), seconds);
}

BenchGroup group_of(Dtype dtype, const BenchOptions& options) {
  const double seconds = gpu_seconds_of(options);
  const int64_t rows =
      options.quick ? few_rows : tensor_bytes / (width * static_cast<int64_t>(bytes_per_element(dtype)));
  const BenchOpSizes sizes = sizes_of(rows, dtype);
  BenchGroup group{.title = fmt::format("{}, {} rows of {}", dtype == Dtype::f32 ? "f32" : "bf16", rows, width),
                   .rate_unit = "GB/s"};
  const std::vector<BenchOp> checked = bench_op_list(sizes_of(few_rows, dtype)), timed = bench_op_list(sizes);
  for (size_t i = 0; i < timed.size(); ++i)
    if (holds([&] { check_bench_op(checked[i]); }, timed[i].name, group.remarks))
      time_beside_copy(group, subjects_of(timed[i], sizes, seconds), options);
  if (dtype == Dtype::f32 && holds(check_adamw, "AdamW", group.remarks))
    time_beside_copy(group, {adamw_subject(rows * width, seconds)}, options);
  return group;
}

}  // namespace

BenchResult bench_ops_on_gpu(const BenchOptions& options) {
  BenchResult result{.name = "ops", .device = Device::cuda};
  result.notes = {
      "Bytes: what an op must read and write, each tensor once, but the gradients of AdamW twice, since their norm "
      "comes first. 100 %: what the driver's own copy of 1 GiB reads and writes a second, timed with each op. Aim: "
      "85 %. Launches of recorded work between two waits; parameters and tables are f32."};
  for (const Dtype dtype : {Dtype::bf16, Dtype::f32}) result.groups.push_back(group_of(dtype, options));
  return result;
}

}  // namespace phasor
