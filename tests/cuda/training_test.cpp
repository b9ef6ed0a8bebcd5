// Training on the GPU: the same losses as on the CPU, the same bits every time, recorded or not.
#include <doctest/doctest.h>

#include <cmath>

#include "core/allocator.hpp"
#include "core/device.hpp"
#include "experiments/trainer.hpp"
#include "tests/support/comparison.hpp"

using namespace phasor;

namespace {

Settings small_settings() {
  Settings s;
  s.model = {.width = 32, .layers = 2, .heads = 2, .hidden = 40};
  s.train.batch = 4;
  s.train.length = 24;
  s.train.steps = 20;
  s.train.warmup_steps = 4;
  return s;
}

TokenWindows batch_of(const Settings& s, int64_t step) {
  Random random{.seed = 3, .stream = static_cast<uint64_t>(step)};
  std::vector<int32_t> ids(static_cast<size_t>(s.train.batch * (s.train.length + 1)));
  // A text with something to learn: each token follows from the one before, but for some noise.
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = random.uniform() < 0.2 || i == 0 ? static_cast<int32_t>(random.below(200)) : (ids[i - 1] * 5 + 3) % 200;
  const Tensor all = Tensor::of<int32_t>({s.train.batch, s.train.length + 1}, ids);
  return {all.slice(1, 0, s.train.length).contiguous(), all.slice(1, 1, s.train.length + 1).contiguous()};
}

struct Trained {
  std::vector<double> losses, norms;
  std::vector<std::vector<double>> weights;
  std::string why_not_recorded;
};

Trained trained(const Settings& s, Device device, int64_t steps) {
  const Transformer model(model_shape(s), 1);
  model.move_to(device);
  AdamW optimizer(model.parameters(), {});
  TrainingSteps taking(model, optimizer, s);
  Trained result;
  for (int64_t step = 0; step < steps; ++step) {
    if (taking.unfinished() == 0) taking.start(batch_of(s, step));
    if (taking.runs_ahead() && step + 1 < steps) taking.start(batch_of(s, step + 1));
    const StepResult of = taking.finish();
    result.losses.push_back(of.loss);
    result.norms.push_back(of.gradient_norm);
  }
  for (const Parameter& p : model.parameters().all())
    result.weights.push_back(p.var.value().to(Dtype::f64).to_vector<double>());
  result.why_not_recorded = taking.why_not_recorded();
  return result;
}

}  // namespace

TEST_CASE("cuda: training from one seed has the losses of the CPU, to 1e-4 over 20 steps") {
  const Settings s = small_settings();
  const Trained cpu = trained(s, Device::cpu, 20), gpu = trained(s, Device::cuda, 20);
  CHECK(gpu.why_not_recorded == "");
  CHECK(cpu.losses.back() < cpu.losses.front() - 0.05);
  for (size_t step = 0; step < 20; ++step) {
    CAPTURE(step);
    CHECK(std::abs(gpu.losses[step] - cpu.losses[step]) <= 1e-4);
    CHECK(std::abs(gpu.norms[step] / cpu.norms[step] - 1) <= 1e-3);
  }
}

TEST_CASE("cuda: GPT-2's shape, accumulation, recomputed blocks and clipping train as on the CPU") {
  Settings s = small_settings();
  s.model.norm = "layer", s.model.mlp = "gelu_tanh", s.model.bias = true, s.model.head = "tied";
  s.model.init = "depth_scaled";
  s.encoding.name = "learned";
  s.train.accumulate = 2;
  s.train.recompute_blocks = true;
  s.train.clip_norm = 0.5;
  const Trained cpu = trained(s, Device::cpu, 6), gpu = trained(s, Device::cuda, 6);
  CHECK(gpu.why_not_recorded == "");
  for (size_t step = 0; step < 6; ++step) CHECK(std::abs(gpu.losses[step] - cpu.losses[step]) <= 1e-4);
}

TEST_CASE("cuda: two trainings have the same bits, in f32 and in bf16") {
  for (const char* const precision : {"f32", "bf16"}) {
    CAPTURE(precision);
    Settings s = small_settings();
    s.train.precision = precision;
    const Trained once = trained(s, Device::cuda, 5), again = trained(s, Device::cuda, 5);
    CHECK(once.losses == again.losses);
    CHECK(once.norms == again.norms);
    CHECK(once.weights == again.weights);
  }
}

TEST_CASE("cuda: training in bf16 stays near f32" * doctest::test_suite("slow kernels")) {
  Settings s = small_settings();
  const Trained f32 = trained(s, Device::cuda, 12);
  s.train.precision = "bf16";
  const Trained bf16 = trained(s, Device::cuda, 12);
  CHECK(bf16.why_not_recorded == "");
  for (size_t step = 0; step < 12; ++step) CHECK(std::abs(bf16.losses[step] - f32.losses[step]) <= 0.02);
  CHECK(bf16.losses != f32.losses);
}

TEST_CASE("cuda: a recorded step does what the step does when it is not recorded") {
  Settings s = small_settings();
  const Trained recorded = trained(s, Device::cuda, 4);
  // The first step is never recorded: four trainings of one step, each from where the one before ended.
  const Transformer model(model_shape(s), 1);
  model.move_to(Device::cuda);
  AdamW optimizer(model.parameters(), {});
  for (int64_t step = 0; step < 4; ++step) {
    TrainingSteps taking(model, optimizer, s);
    taking.start(batch_of(s, step));
    CHECK(taking.finish().loss == recorded.losses[static_cast<size_t>(step)]);
  }
  size_t i = 0;
  for (const Parameter& p : model.parameters().all())
    CHECK(p.var.value().to(Dtype::f64).to_vector<double>() == recorded.weights[i++]);
}

TEST_CASE("cuda: a training that repeats asks the driver for no more memory") {
  Settings s = small_settings();
  const Transformer model(model_shape(s), 1);
  model.move_to(Device::cuda);
  AdamW optimizer(model.parameters(), {});
  TrainingSteps taking(model, optimizer, s);
  int64_t asked = 0;
  for (int64_t step = 0; step < 5; ++step) {
    taking.start(batch_of(s, step));
    taking.finish();
    if (step == 1) asked = memory_counts(Device::cuda).system_allocations;
  }
  CHECK(memory_counts(Device::cuda).system_allocations == asked);
}

TEST_CASE(
    "cuda: a loss that is not finite stops the training and changes no parameter, also of the steps begun since") {
  Settings s = small_settings();
  const Transformer model(model_shape(s), 1);
  model.move_to(Device::cuda);
  AdamW optimizer(model.parameters(), {});
  TrainingSteps taking(model, optimizer, s);
  for (int64_t step = 0; step < 3; ++step) {
    taking.start(batch_of(s, step));
    taking.finish();
  }
  const Parameter& poisoned = model.parameters().all().front();
  const Tensor before = poisoned.var.value().clone();
  const Tensor other = model.parameters().all().back().var.value().clone();
  fill(poisoned.var.value_to_change(), std::nan(""));
  taking.start(batch_of(s, 3));
  copy_into(poisoned.var.value_to_change(), before);
  taking.start(batch_of(s, 4));
  CHECK_THROWS_WITH_AS(taking.finish(), doctest::Contains("the loss is"), NumericError);
  CHECK(bit_mismatch(poisoned.var.value(), before) == "");
  CHECK(bit_mismatch(model.parameters().all().back().var.value(), other) == "");
}

TEST_CASE("cuda: an encoding that draws its positions trains without being recorded, as on the CPU") {
  Settings s = small_settings();
  s.encoding.name = "randomized";
  const Trained cpu = trained(s, Device::cpu, 4), gpu = trained(s, Device::cuda, 4);
  CHECK(gpu.why_not_recorded != "");
  for (size_t step = 0; step < 4; ++step) CHECK(std::abs(gpu.losses[step] - cpu.losses[step]) <= 1e-4);
}
