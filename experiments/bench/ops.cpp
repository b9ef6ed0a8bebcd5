// phasor bench ops: single ops on tensors larger than the cache. What limits them is memory, so the ceiling is a copy.
#include <fmt/format.h>

#include <algorithm>

#include "core/allocator.hpp"
#include "experiments/bench/bench.hpp"
#include "experiments/bench/ceilings.hpp"
#include "experiments/bench/op_list.hpp"
#include "nn/optimizer.hpp"

namespace phasor {
namespace {

constexpr int64_t width = 512;

Tensor drawn(const Shape& shape, Random& random) { return normal(shape, 0, 1, Dtype::f32, random); }

void add_subjects(std::vector<Subject>& subjects, const BenchOp& op, const BenchOp& small) {
  const Tensor y = op.forward(op.inputs);
  subjects.push_back({.name = op.name,
                      .run = [=] { op.forward(op.inputs); },
                      .work = forward_bytes(op, y),
                      .check = [=] { check_bench_op(small); }});
  if (!op.backward) return;
  const Tensor dy = bench_cotangent(y, drawn), kept = op.reads_y ? y : Tensor();
  subjects.push_back({.name = op.name + " backward",
                      .run = [=] { op.backward(op.inputs, kept, dy); },
                      .work = backward_bytes(op, y, dy)});
}

struct Update {
  ParameterList parameters;
  GradientList gradients;
  std::shared_ptr<AdamW> optimizer;
};

Update update_of(int64_t count) {
  Random random{.seed = 19};
  Update update;
  update.parameters.add("w", normal({count}, 0, 1, Dtype::f32, random), {.weight_decay_factor = 1});
  update.gradients = {normal({count}, 0, 1, Dtype::f32, random)};
  update.optimizer = std::make_shared<AdamW>(update.parameters, AdamWOptions{});
  return update;
}

void check_adamw() {
  const Update update = update_of(1000);
  constexpr double rate = 0.01;
  constexpr int steps = 2;
  const Tensor w = update.parameters["w"].value().clone();
  for (int step = 0; step < steps; ++step) update.optimizer->step(update.parameters, update.gradients, rate);
  require_close("bench ops: AdamW", update.parameters["w"].value(),
                adamw_by_formula(w, update.gradients[0], update.optimizer->options, rate, steps));
}

// Reads w, g, m, v and writes w, m, v.
Subject adamw_subject(int64_t count) {
  const Update update = update_of(count);
  return {.name = "AdamW",
          .run = [=] { update.optimizer->step(update.parameters, update.gradients, 1e-6); },
          .work = 7.0 * sizeof(float) * static_cast<double>(count),
          .check = check_adamw};
}

// 192 MiB a tensor, so an op goes through 384 MiB and more (cross_entropy reads 96): also a server's cache is smaller.
// Not a multiple of the cache that the processor reports: a virtual machine may report that of its host, or a small
// part of what it has.
constexpr int64_t tensor_bytes = int64_t{192} << 20;
constexpr int64_t rows_larger_than_cache = tensor_bytes / (width * static_cast<int64_t>(sizeof(float)));

}  // namespace

BenchResult bench_ops(const BenchOptions& options) {
  if (options.device == Device::cuda) return bench_ops_on_gpu(options);
  constexpr int64_t few_rows = 37;
  const int64_t rows = options.quick ? few_rows : rows_larger_than_cache;
  const std::vector<BenchOp> timed = bench_op_list({.rows = rows, .width = width, .draw = drawn}),
                             checked = bench_op_list({.rows = few_rows, .width = width, .draw = drawn});
  std::vector<Subject> subjects;
  for (size_t i = 0; i < timed.size(); ++i) add_subjects(subjects, timed[i], checked[i]);
  subjects.push_back(adamw_subject(rows * width));

  // One copy for all ops that touch as many bytes, to within 1 %: the tables of rotary and a norm's weight are small.
  const size_t count = subjects.size();
  double most_bytes = 0;
  for (const Subject& subject : subjects) most_bytes = std::max(most_bytes, subject.work);
  const Shape half = {static_cast<int64_t>(most_bytes / 2 / sizeof(float)) + 1};
  const Tensor from = Tensor::full(half, 1.5, Dtype::f32), to = Tensor::zeros(half, Dtype::f32);
  std::vector<size_t> copy_of(count);
  for (size_t i = 0; i < count; ++i) {
    size_t copy = count;
    while (copy < subjects.size() && std::abs(subjects[copy].work / subjects[i].work - 1) > 0.01) ++copy;
    if (copy == subjects.size()) subjects.push_back(copy_ceiling(static_cast<int64_t>(subjects[i].work), from, to));
    copy_of[i] = copy;
  }

  release_cached_memory();  // what making the inputs left
  const std::vector<Timing> timings = time_interleaved("bench ops", subjects, options.effort());
  BenchGroup group{.title = fmt::format("f32, {} rows of {}", rows, width), .rate_unit = "GB/s"};
  for (size_t i = 0; i < subjects.size(); ++i) group.rows.push_back(row_of(subjects[i], timings[i]));
  for (size_t i = 0; i < count; ++i)
    group.rows[i].percents.emplace_back("% of a copy", 100 * *group.rows[i].rate / *group.rows[copy_of[i]].rate);
  return {
      .name = "ops",
      .notes = {"Bytes: what an op must read and write, each tensor once, none for what stays in the cache. 100 %: a "
                "loop of ordinary loads and stores on all threads that reads half as many bytes and writes as "
                "many. Such a store also reads the line it writes; an op that writes less than half of its bytes, "
                "or in place as AdamW does, may be faster than the copy."},
      .groups = {group},
      .threads = options.threads};
}

}  // namespace phasor
