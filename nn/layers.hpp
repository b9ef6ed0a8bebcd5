// The layers of a transformer as plain structs with a typed call. Each constructor adds its parameters to a list under
// `name.` and draws its initial weights from `random`: normal with mean 0 and deviation `init_deviation`.
#pragma once

#include "autograd/ops.hpp"
#include "core/random.hpp"
#include "nn/parameters.hpp"

namespace phasor {

// Where a layer's parameters go and what they start from.
struct Build {
  ParameterList& parameters;
  Random& random;
  Dtype dtype = Dtype::f32;
  double init_deviation = 0.02;
};

// y = x W;  x [..., inputs], weight [inputs, outputs]. No bias.
struct Linear {
  Var weight;
  Linear(const std::string& name, int64_t inputs, int64_t outputs, Build build);
  Var operator()(const Var& x) const { return matmul(x, weight); }
};

// Rows of weight [vocabulary, width] by id.
struct Embedding {
  Var weight;
  Embedding(const std::string& name, int64_t vocabulary, int64_t width, Build build);
  Var operator()(const Tensor& ids) const { return embedding(weight, ids); }
};

// x / sqrt(mean(x^2) + epsilon) * weight, weight [width] starts at 1.
struct RmsNorm {
  Var weight;
  double epsilon = 1e-5;
  RmsNorm(const std::string& name, int64_t width, Build build);
  Var operator()(const Var& x) const { return rms_norm(x, weight, epsilon); }
};

// down(silu(gate(x)) * up(x))
struct SwigluMlp {
  Linear gate, up, down;
  SwigluMlp(const std::string& name, int64_t width, int64_t hidden, Build build);
  Var operator()(const Var& x) const { return down(swiglu(gate(x), up(x))); }
};

}  // namespace phasor
