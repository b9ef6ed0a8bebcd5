// The pass of AdamW on the GPU against the CPU's: values, clipping of single gradients and of all, bounds, and what is
// not finite.
#include <doctest/doctest.h>

#include <cmath>

#include "core/device.hpp"
#include "nn/optimizer.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

// Around a piece of the kernels and around 16 bytes; one without an element.
const std::vector<Shape> shapes = {{16384}, {16383}, {3, 7}, {1}, {129, 130}, {0, 4}, {5}};

struct Model {
  ParameterList parameters;
  GradientList gradients;

  explicit Model(Dtype dtype, double scale = 1) {
    Random random{.seed = 4};
    for (size_t i = 0; i < shapes.size(); ++i) {
      ParameterOptions options{.weight_decay_factor = i % 2 ? 1.0 : 0.0, .learning_rate_factor = i == 2 ? 3.0 : 1.0};
      if (i == 3) options.minimum = 0.4, options.maximum = 0.6;
      if (i == 4) options.gradient_clip = 0.5;
      const Tensor initial = i == 3 ? Tensor::full(shapes[i], 0.5, dtype) : normal(shapes[i], 0, 1, dtype, random);
      parameters.add("p" + std::to_string(i), initial, options);
      gradients.push_back(normal(shapes[i], 0, scale, dtype, random));
    }
  }
};

struct After {
  std::vector<Tensor> values;
  double norm = 0;
};

After on_cpu(Dtype dtype, int steps, double clip, double scale = 1) {
  Model model(dtype, scale);
  AdamW optimizer(model.parameters, {});
  After after;
  for (int step = 0; step < steps; ++step) {
    GradientList gradients = model.gradients;
    clip_each(model.parameters, gradients);
    after.norm = global_norm(gradients);
    optimizer.step(model.parameters, gradients, 0.1, clip_factor(after.norm, clip));
  }
  for (const Parameter& p : model.parameters.all()) after.values.push_back(p.var.value());
  for (const auto* states : {&optimizer.first, &optimizer.second})
    after.values.insert(after.values.end(), states->begin(), states->end());
  return after;
}

After on_gpu(Dtype dtype, int steps, double clip, double scale = 1, bool recorded = false) {
  Model model(dtype, scale);
  model.parameters.move_to(Device::cuda);
  AdamW optimizer(model.parameters, {});
  AdamWOnGpu pass(model.parameters, optimizer, clip);
  for (Tensor& gradient : model.gradients) gradient = gradient.to(Device::cuda);
  const Tensor loss = Tensor::scalar(1, Dtype::f64, Device::cuda);
  std::optional<DeviceGraph> graph;
  if (recorded) graph.emplace([&] { pass.take(model.gradients, loss); });
  for (int step = 0; step < steps; ++step) {
    pass.begin(0.1);
    if (graph)
      graph->launch();
    else
      pass.take(model.gradients, loss);
  }
  CHECK(optimizer.steps == steps);
  After after{{}, pass.numbers().to_vector<double>()[1]};
  for (const Parameter& p : model.parameters.all()) after.values.push_back(p.var.value());
  for (const auto* states : {&optimizer.first, &optimizer.second})
    after.values.insert(after.values.end(), states->begin(), states->end());
  return after;
}

void check_same(const After& got, const After& expected, Dtype dtype) {
  const double limit = dtype == Dtype::f64 ? tolerance::cuda_f64 : tolerance::f32(8, 0);
  CHECK(std::abs(got.norm / expected.norm - 1) <= limit);
  for (size_t i = 0; i < expected.values.size(); ++i) {
    CAPTURE(i);
    CHECK(mismatch(got.values[i], dtype, expected.values[i].to(Dtype::f64), limit) == "");
  }
}

}  // namespace

TEST_CASE("cuda: adamw is the CPU's, with and without clipping, recorded or not") {
  for (const Dtype dtype : {Dtype::f64, Dtype::f32})
    for (const double clip : {0.0, 1.0, 1e6}) {
      CAPTURE(dtype);
      CAPTURE(clip);
      const After cpu = on_cpu(dtype, 3, clip);
      check_same(on_gpu(dtype, 3, clip), cpu, dtype);
      check_same(on_gpu(dtype, 3, clip, 1, true), cpu, dtype);
    }
}

TEST_CASE("cuda: adamw of large finite gradients has a finite norm") {
  const After gpu = on_gpu(Dtype::f32, 1, 1, 1e30);
  CHECK(std::isfinite(gpu.norm));
  check_same(gpu, on_cpu(Dtype::f32, 1, 1, 1e30), Dtype::f32);
}

TEST_CASE("cuda: adamw changes nothing from the first loss or norm on that is not finite, and says whose it was") {
  for (const bool of_loss : {false, true}) {
    CAPTURE(of_loss);
    Model model(Dtype::f32);
    model.parameters.move_to(Device::cuda);
    AdamW optimizer(model.parameters, {});
    AdamWOnGpu pass(model.parameters, optimizer, 1);
    for (Tensor& gradient : model.gradients) gradient = gradient.to(Device::cuda);
    const Tensor right = Tensor::scalar(1, Dtype::f64, Device::cuda),
                 wrong = Tensor::scalar(std::nan(""), Dtype::f64, Device::cuda);
    std::vector<Tensor> before;
    for (const Parameter& p : model.parameters.all()) before.push_back(p.var.value().to(Device::cpu));
    GradientList spoiled = model.gradients;
    if (!of_loss) {
      spoiled[2] = spoiled[2].clone();
      fill(spoiled[2].select(0, 1).slice(0, 3, 4), std::numeric_limits<double>::infinity());
    }
    pass.begin(0.1);
    pass.take(spoiled, of_loss ? wrong : right);
    const std::vector<double> numbers = pass.numbers().to_vector<double>();
    CHECK(std::isfinite(numbers[0]) == !of_loss);
    CHECK(std::isfinite(numbers[1]) == of_loss);
    for (size_t i = 0; i < shapes.size(); ++i) CHECK(std::isfinite(numbers[2 + i]) == (of_loss || i != 2));
    pass.begin(0.1);
    pass.take(model.gradients, right);
    for (size_t i = 0; i < before.size(); ++i)
      CHECK(bit_mismatch(model.parameters.all()[i].var.value(), before[i]) == "");
  }
}

TEST_CASE("cuda: adamw refuses gradients that do not fit") {
  Model model(Dtype::f32);
  model.parameters.move_to(Device::cuda);
  AdamW optimizer(model.parameters, {});
  const AdamWOnGpu pass(model.parameters, optimizer, 1);
  const Tensor loss = Tensor::scalar(1, Dtype::f64, Device::cuda);
  CHECK_THROWS_AS(pass.take({}, loss), ShapeError);
  CHECK_THROWS_AS(pass.take(model.gradients, loss), DeviceError);
}
