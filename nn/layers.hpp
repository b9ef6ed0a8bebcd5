// The layers of a transformer as plain structs with a typed call. Each constructor adds its parameters to a list under
// `name.` and draws its initial weights from `random`: normal with mean 0 and deviation `init_deviation`.
#pragma once

#include <optional>

#include "autograd/ops.hpp"
#include "core/random.hpp"
#include "nn/parameters.hpp"

namespace phasor {

// The variants of a block.
enum class NormKind { rms, layer };              // Llama's, GPT-2's
enum class MlpKind { swiglu, gelu, gelu_tanh };  // Llama's; up, gelu, down in either flavour (GPT-2's: gelu_tanh)
enum class LinearBias { no, yes };               // whether products add a bias, which starts at 0

// Where a layer's parameters go and what they start from.
struct Build {
  ParameterList& parameters;
  Random& random;
  Dtype dtype = Dtype::f32;
  double init_deviation = 0.02;
  LinearBias bias = LinearBias::no;

  Build with_deviation(double deviation) const {
    Build changed = *this;
    changed.init_deviation = deviation;
    return changed;
  }
};

// A parameter as the activations x are stored: products of bf16 read a bf16 copy, whose gradient comes back in f32.
inline Var stored_like(const Var& x, const Var& weight) {
  return weight.dtype() == x.dtype() ? weight : cast(weight, x.dtype());
}

// y = x W (+ b);  x [..., inputs], weight [inputs, outputs], bias [outputs] or undefined.
struct Linear {
  Var weight, bias;
  Linear(const std::string& name, int64_t inputs, int64_t outputs, Build build);
  Var operator()(const Var& x) const {
    const Var w = stored_like(x, weight);
    return bias.defined() ? linear(x, w, bias) : matmul(x, w);
  }
  // residual + y, in the same pass where there is no bias.
  Var onto(const Var& residual, const Var& x) const {
    return bias.defined() ? residual + (*this)(x) : linear(x, stored_like(x, weight), residual);
  }
};

// Rows of weight [vocabulary, width] by id.
struct Embedding {
  Var weight;
  Embedding(const std::string& name, int64_t vocabulary, int64_t width, Build build);
  Var operator()(const Tensor& ids) const { return embedding(weight, ids); }
};

// rms: x / sqrt(mean(x^2) + epsilon) * weight;  layer: (x - mean) / sqrt(variance + epsilon) * weight + bias.
// weight [width] starts at 1, bias [width] at 0 (layer only).
struct Norm {
  Var weight, bias;
  NormKind kind;
  double epsilon = 1e-5;
  Norm(const std::string& name, NormKind kind, int64_t width, Build build);
  Var operator()(const Var& x) const {
    return kind == NormKind::rms ? rms_norm(x, weight, epsilon) : layer_norm(x, weight, bias, epsilon);
  }
};

// swiglu: down(silu(gate(x)) * up(x));  gelu: down(gelu(up(x))). `down` starts with the deviation `down_deviation`.
struct Mlp {
  MlpKind kind;
  std::optional<Linear> gate;  // of swiglu
  Linear up, down;
  Mlp(const std::string& name, MlpKind kind, int64_t width, int64_t hidden, Build build, double down_deviation);
  Var hidden(const Var& x) const;  // what `down` reads, [..., hidden]
};

}  // namespace phasor
