// phasor bench ops: single ops on tensors larger than the cache. What limits them is memory, so the ceiling is a copy.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/allocator.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/cross_entropy.hpp"
#include "core/ops/layer_norm.hpp"
#include "core/ops/rms_norm.hpp"
#include "core/ops/rotary.hpp"
#include "core/ops/softmax.hpp"
#include "core/ops/swiglu.hpp"
#include "core/ops/unary.hpp"
#include "core/random.hpp"
#include "experiments/bench/bench.hpp"
#include "experiments/bench/ceilings.hpp"

namespace phasor {
namespace {

using Tensors = std::vector<Tensor>;

struct Op {
  std::string name;
  Tensors inputs;  // those of floating point are differentiated
  std::function<Tensor(const Tensors&in)> forward, reference;
  // Gradients of the first inputs, as many as it returns; without one, forward alone is timed.
  std::function<Tensors(const Tensors& in, const Tensor& y, const Tensor& dy)> backward = {};
  std::vector<size_t> unread = {};  // inputs that backward does without
  bool reads_y = false;             // that backward reads the result
};

constexpr double epsilon = 1e-5;
constexpr int64_t width = 512, head_dim = 64, classes = 257;

// f of each element, and of each pair, in double.
Tensor mapped(const Tensor& x, double (*f)(double)) {
  std::vector<double> values = x.to(Dtype::f64).to_vector<double>();
  for (double& value : values) value = f(value);
  return Tensor::of<double>(x.shape(), values);
}
Tensor summed(const Tensor& a, const Tensor& b) {
  std::vector<double> values = a.to(Dtype::f64).to_vector<double>();
  const std::vector<double> more = b.to(Dtype::f64).to_vector<double>();
  for (size_t i = 0; i < values.size(); ++i) values[i] += more[i];
  return Tensor::of<double>(a.shape(), values);
}

double dot(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to(Dtype::f64).to_vector<double>(), y = b.to(Dtype::f64).to_vector<double>();
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

Tensor mean_of(const Tensor& x) {
  return Tensor::scalar(dot(x, Tensor::full(x.shape(), 1, Dtype::f64)) / static_cast<double>(x.size()), Dtype::f64);
}

// The ops on `rows` rows of 512 channels; rotary and cross_entropy on about as many numbers in shapes of their own.
std::vector<Op> ops(int64_t rows) {
  Random random{.seed = 11};
  const auto draw = [&](const Shape& shape) { return normal(shape, 0, 1, Dtype::f32, random); };
  const Tensor x = draw({rows, width}), x2 = draw({rows, width}), weight = draw({width}), bias = draw({width});

  // As in a model: a view of [batch, length, heads, head_dim] and tables for one sequence.
  const int64_t length = std::min<int64_t>(rows, 2048);
  const Tensor heads = x.slice(0, 0, rows / length * length)
                           .reshape({rows / length, length, width / head_dim, head_dim})
                           .transpose(1, 2);
  const Tensor angle = draw({1, 1, length, head_dim / 2});
  const Tensor logits = draw({rows * width / classes, classes}),
               targets = Tensor::empty({logits.extent(0)}, Dtype::i32);
  for (int64_t i = 0; i < targets.size(); ++i) targets.data<int32_t>()[i] = static_cast<int32_t>(random.below(classes));

  constexpr RotaryLayout layout = RotaryLayout::half_split;
  return {
      {.name = "rotary",
       .inputs = {heads, cos(angle), sin(angle)},
       .forward = [](const Tensors& in) { return rotary(in[0], in[1], in[2], layout); },
       .reference = [](const Tensors& in) { return reference::rotary(in[0], in[1], in[2], layout); },
       .backward = [](const Tensors& in, const Tensor&,
                      const Tensor& dy) { return Tensors{rotary_transposed(dy, in[1], in[2], layout)}; },
       .unread = {0}},
      {.name = "rms_norm",
       .inputs = {x, weight},
       .forward = [](const Tensors& in) { return rms_norm(in[0], in[1], epsilon); },
       .reference = [](const Tensors& in) { return reference::rms_norm(in[0], in[1], epsilon); },
       .backward =
           [](const Tensors& in, const Tensor&, const Tensor& dy) {
             const RmsNormGradients gradients = rms_norm_backward(in[0], in[1], epsilon, dy);
             return Tensors{gradients.dx, gradients.dweight};
           }},
      {.name = "swiglu",
       .inputs = {x, x2},
       .forward = [](const Tensors& in) { return swiglu(in[0], in[1]); },
       .reference = [](const Tensors& in) { return reference::swiglu(in[0], in[1]); },
       .backward =
           [](const Tensors& in, const Tensor&, const Tensor& dy) {
             const SwigluGradients gradients = swiglu_backward(in[0], in[1], dy);
             return Tensors{gradients.dgate, gradients.dup};
           }},
      {.name = "cross_entropy",
       .inputs = {logits, targets},
       .forward = [](const Tensors& in) { return cross_entropy(in[0], in[1]); },
       .reference = [](const Tensors& in) { return mean_of(reference::cross_entropy_by_row(in[0], in[1])); },
       .backward =
           [](const Tensors& in, const Tensor&, const Tensor& dy) {
             return Tensors{cross_entropy_backward(in[0], in[1], no_ignored_target, dy)};
           }},
      {.name = "softmax",
       .inputs = {x},
       .forward = [](const Tensors& in) { return softmax(in[0]); },
       .reference = [](const Tensors& in) { return reference::softmax(in[0]); },
       .backward = [](const Tensors&, const Tensor& y, const Tensor& dy) { return Tensors{softmax_backward(y, dy)}; },
       .unread = {0},
       .reads_y = true},
      {.name = "layer_norm",
       .inputs = {x, weight, bias},
       .forward = [](const Tensors& in) { return layer_norm(in[0], in[1], in[2], epsilon); },
       .reference = [](const Tensors& in) { return reference::layer_norm(in[0], in[1], in[2], epsilon); },
       .backward =
           [](const Tensors& in, const Tensor&, const Tensor& dy) {
             const LayerNormGradients gradients = layer_norm_backward(in[0], in[1], epsilon, dy);
             return Tensors{gradients.dx, gradients.dweight, gradients.dbias};
           },
       .unread = {2}},
      {.name = "silu",
       .inputs = {x},
       .forward = [](const Tensors& in) { return silu(in[0]); },
       .reference =
           [](const Tensors& in) { return mapped(in[0], [](double value) { return value / (1 + std::exp(-value)); }); },
       .backward = [](const Tensors& in, const Tensor&,
                      const Tensor& dy) { return Tensors{silu_backward(in[0], {}, dy)}; }},
      {.name = "gelu",
       .inputs = {x},
       .forward = [](const Tensors& in) { return gelu(in[0]); },
       .reference =
           [](const Tensors& in) {
             return mapped(in[0], [](double value) { return value / 2 * std::erfc(-value * std::sqrt(0.5)); });
           },
       .backward = [](const Tensors& in, const Tensor&,
                      const Tensor& dy) { return Tensors{gelu_backward(in[0], {}, dy)}; }},
      {.name = "add",
       .inputs = {x, x2},
       .forward = [](const Tensors& in) { return add(in[0], in[1]); },
       .reference = [](const Tensors& in) { return summed(in[0], in[1]); }},
  };
}

Tensor cotangent_of(const Tensor& y) {
  Random random{.seed = 13};
  const Tensor dy = Tensor::empty_like(y);
  copy_into(dy, normal(y.shape(), 0, 1, y.dtype(), random));
  return dy;
}

// The kernel against the reference, and each gradient along a random direction against the reference's difference.
void check(const Op& op) {
  const std::string name = "bench ops: " + op.name;
  const Tensor y = op.forward(op.inputs);
  require_close(name.c_str(), y, op.reference(op.inputs));
  if (!op.backward) return;
  const Tensor dy = cotangent_of(y);
  const Tensors gradients = op.backward(op.inputs, y, dy);
  Tensors exact = op.inputs;
  for (Tensor& x : exact)
    if (is_float(x.dtype())) x = x.to(Dtype::f64);
  Random random{.seed = 17};
  for (size_t i = 0; i < gradients.size(); ++i) {
    constexpr double step = 1e-5;
    const Tensor direction = normal(op.inputs[i].shape(), 0, 1, Dtype::f64, random);
    Tensors above = exact, below = exact;
    above[i] = add(exact[i], mul(direction, Tensor::scalar(step, Dtype::f64)));
    below[i] = add(exact[i], mul(direction, Tensor::scalar(-step, Dtype::f64)));
    const double expected = (dot(dy, op.reference(above)) - dot(dy, op.reference(below))) / (2 * step);
    const double got = dot(gradients[i], direction);
    const double size = std::sqrt(dot(gradients[i], gradients[i]));  // about that of `got`
    require<NumericError>(std::abs(got - expected) <= 1e-4 * size, name.c_str(), "the gradient of input ", i,
                          " along a random direction is ", got, ", differences say ", expected,
                          "; a wrong number is not timed");
  }
}

double bytes_of(const Tensors& tensors) {
  double bytes = 0;
  for (const Tensor& x : tensors)
    bytes += static_cast<double>(x.size()) * static_cast<double>(bytes_per_element(x.dtype()));
  return bytes;
}

void add_subjects(std::vector<Subject>& subjects, const Op& op, const Op& small) {
  const Tensor y = op.forward(op.inputs);
  Tensors touched = op.inputs;
  touched.push_back(y);
  subjects.push_back({.name = op.name,
                      .run = [=] { op.forward(op.inputs); },
                      .work = bytes_of(touched),
                      .check = [=] { check(small); }});
  if (!op.backward) return;
  const Tensor dy = cotangent_of(y), kept = op.reads_y ? y : Tensor();
  touched = op.backward(op.inputs, y, dy);
  touched.push_back(dy);
  if (op.reads_y) touched.push_back(y);
  for (size_t i = 0; i < op.inputs.size(); ++i)
    if (std::find(op.unread.begin(), op.unread.end(), i) == op.unread.end()) touched.push_back(op.inputs[i]);
  subjects.push_back(
      {.name = op.name + " backward", .run = [=] { op.backward(op.inputs, kept, dy); }, .work = bytes_of(touched)});
}

// ---- AdamW

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

// Two steps against the formula, number by number.
void check_adamw() {
  const Update update = update_of(1000);
  const AdamWOptions o = update.optimizer->options;
  constexpr double rate = 0.01;
  std::vector<double> w = update.parameters["w"].value().to(Dtype::f64).to_vector<double>(), m(w.size()), v(w.size());
  const std::vector<double> g = update.gradients[0].to(Dtype::f64).to_vector<double>();
  for (int step = 1; step <= 2; ++step) {
    update.optimizer->step(update.parameters, update.gradients, rate);
    for (size_t i = 0; i < w.size(); ++i) {
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
      const double mean = m[i] / (1 - std::pow(o.beta1, step)), square = v[i] / (1 - std::pow(o.beta2, step));
      w[i] = w[i] * (1 - rate * o.weight_decay) - rate * mean / (std::sqrt(square) + o.epsilon);
    }
  }
  require_close("bench ops: AdamW", update.parameters["w"].value(),
                Tensor::of<double>({static_cast<int64_t>(w.size())}, w));
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
  constexpr int64_t few_rows = 37;
  const int64_t rows = options.quick ? few_rows : rows_larger_than_cache;
  const std::vector<Op> timed = ops(rows), checked = ops(few_rows);
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
