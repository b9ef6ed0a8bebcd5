#include "experiments/bench/op_list.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/cross_entropy.hpp"
#include "core/ops/embedding.hpp"
#include "core/ops/layer_norm.hpp"
#include "core/ops/rms_norm.hpp"
#include "core/ops/rotary.hpp"
#include "core/ops/softmax.hpp"
#include "core/ops/swiglu.hpp"
#include "core/ops/unary.hpp"
#include "experiments/bench/measure.hpp"

namespace phasor {
namespace {

using Tensors = BenchOp::Tensors;

constexpr double epsilon = 1e-5;
constexpr int64_t head_dim = 64, classes = 257;

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

Tensor ids_below(int64_t bound, int64_t count, Random& random) {
  const Tensor ids = Tensor::empty({count}, Dtype::i32);
  for (int64_t i = 0; i < count; ++i) ids.data<int32_t>()[i] = static_cast<int32_t>(random.below(bound));
  return ids;
}

double bytes_of(const Tensors& tensors) {
  double bytes = 0;
  for (const Tensor& x : tensors)
    bytes += static_cast<double>(x.size()) * static_cast<double>(bytes_per_element(x.dtype()));
  return bytes;
}

}  // namespace

std::vector<BenchOp> bench_op_list(const BenchOpSizes& sizes) {
  const auto [rows, width, dtype, device, draw_large] = sizes;
  Random random{.seed = 11};
  const auto draw = [&](const Shape& shape) { return draw_large(shape, random); };
  const auto draw_parameter = [&](const Shape& shape) {
    return normal(shape, 0, 1, Dtype::f32, random).to(sizes.device);
  };
  const Tensor x = draw({rows, width}), x2 = draw({rows, width});
  const Tensor weight = draw_parameter({width}), bias = draw_parameter({width});

  // As in a model: a view of [batch, length, heads, head_dim] and tables for one sequence.
  const int64_t length = std::min<int64_t>(rows, 2048);
  const Tensor heads = x.slice(0, 0, rows / length * length)
                           .reshape({rows / length, length, width / head_dim, head_dim})
                           .transpose(1, 2);
  const Tensor angle = draw_parameter({1, 1, length, head_dim / 2});
  const Tensor logits = draw({rows * width / classes, classes});
  const Tensor targets = ids_below(classes, logits.extent(0), random).to(device);

  constexpr RotaryLayout layout = RotaryLayout::half_split;
  std::vector<BenchOp> list = {
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
  if (device == Device::cuda) {
    const Tensor table = draw_parameter({classes, width}).to(dtype), ids = ids_below(classes, rows, random).to(device);
    list.push_back({.name = "embedding",
                    .inputs = {table, ids},
                    .forward = [](const Tensors& in) { return embedding(in[0], in[1]); },
                    .reference = [](const Tensors& in) { return reference::embedding(in[0], in[1]); },
                    .backward = [](const Tensors& in, const Tensor&,
                                   const Tensor& dy) { return Tensors{embedding_backward(classes, in[1], dy)}; },
                    .unread = {0}});
    const auto add_copy = [&](const char* name, auto copied) {
      list.push_back({.name = name, .inputs = {x}, .forward = copied, .reference = copied});
    };
    const Dtype other = dtype == Dtype::f32 ? Dtype::bf16 : Dtype::f32;
    add_copy("copy", [](const Tensors& in) { return in[0].clone(); });
    add_copy(dtype == Dtype::f32 ? "cast to bf16" : "cast to f32",
             [other](const Tensors& in) { return in[0].to(other); });
    add_copy("transposed copy", [](const Tensors& in) { return in[0].transpose(0, 1).clone(); });
  }
  return list;
}

Tensor bench_cotangent(const Tensor& y, const std::function<Tensor(const Shape&, Random&)>& draw) {
  Random random{.seed = 13};
  const Tensor dy = Tensor::empty_like(y);
  copy_into(dy, draw(y.shape(), random));
  return dy;
}

void check_bench_op(const BenchOp& op) {
  const std::string name = "bench ops: " + op.name;
  Tensors exact = op.inputs;
  bool is_rounded = false;  // to 8 bits
  for (Tensor& x : exact) {
    is_rounded = is_rounded || x.dtype() == Dtype::bf16;
    x = x.to(Device::cpu);
    if (is_float(x.dtype())) x = x.to(Dtype::f64);
  }
  const Tensor y = op.forward(op.inputs);
  is_rounded = is_rounded || y.dtype() == Dtype::bf16;
  const double limit = is_rounded ? 2e-2 : 1e-4;
  require_close(name.c_str(), y, op.reference(exact), limit);
  if (!op.backward) return;
  const Tensor dy =
      bench_cotangent(y, [](const Shape& shape, Random& random) { return normal(shape, 0, 1, Dtype::f32, random); });
  const Tensors gradients = op.backward(op.inputs, y, dy);
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
    require<NumericError>(std::abs(got - expected) <= limit * size, name.c_str(), "the gradient of input ", i,
                          " along a random direction is ", got, ", differences say ", expected,
                          "; a wrong number is not timed");
  }
}

Tensor adamw_by_formula(const Tensor& w, const Tensor& gradient, const AdamWOptions& o, double rate, int steps) {
  std::vector<double> x = w.to(Dtype::f64).to_vector<double>(), m(x.size()), v(x.size());
  const std::vector<double> g = gradient.to(Dtype::f64).to_vector<double>();
  for (int step = 1; step <= steps; ++step)
    for (size_t i = 0; i < x.size(); ++i) {
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
      const double mean = m[i] / (1 - std::pow(o.beta1, step)), square = v[i] / (1 - std::pow(o.beta2, step));
      x[i] = x[i] * (1 - rate * o.weight_decay) - rate * mean / (std::sqrt(square) + o.epsilon);
    }
  return Tensor::of<double>(w.shape(), x);
}

double forward_bytes(const BenchOp& op, const Tensor& y) { return bytes_of(op.inputs) + bytes_of({y}); }

double backward_bytes(const BenchOp& op, const Tensor& y, const Tensor& dy) {
  Tensors touched = op.backward(op.inputs, y, dy);
  touched.push_back(dy);
  if (op.reads_y) touched.push_back(y);
  for (size_t i = 0; i < op.inputs.size(); ++i)
    if (std::find(op.unread.begin(), op.unread.end(), i) == op.unread.end()) touched.push_back(op.inputs[i]);
  return bytes_of(touched);
}

}  // namespace phasor
