// Names and initial weights of the layers.
#include "nn/layers.hpp"

namespace phasor {

Linear::Linear(const std::string& name, int64_t inputs, int64_t outputs, Build build)
    : weight(build.parameters.add(name + ".weight",
                                  normal({inputs, outputs}, 0, build.init_deviation, build.dtype, build.random),
                                  {.weight_decay_factor = 1})) {
  if (build.bias == LinearBias::yes) bias = build.parameters.add(name + ".bias", Tensor::zeros({outputs}, build.dtype));
}

Embedding::Embedding(const std::string& name, int64_t vocabulary, int64_t width, Build build)
    : weight(build.parameters.add(name + ".weight",
                                  normal({vocabulary, width}, 0, build.init_deviation, build.dtype, build.random))) {}

Norm::Norm(const std::string& name, NormKind kind_, int64_t width, Build build)
    : weight(build.parameters.add(name + ".weight", Tensor::full({width}, 1, build.dtype))), kind(kind_) {
  if (kind == NormKind::layer) bias = build.parameters.add(name + ".bias", Tensor::zeros({width}, build.dtype));
}

// The gate is made first: weights are drawn in the order of the parameters.
static std::optional<Linear> gate_of(const std::string& name, MlpKind kind, int64_t width, int64_t hidden,
                                     Build build) {
  if (kind != MlpKind::swiglu) return {};
  return Linear(name + ".gate", width, hidden, build);
}

Mlp::Mlp(const std::string& name, MlpKind kind_, int64_t width, int64_t hidden, Build build, double down_deviation)
    : kind(kind_),
      gate(gate_of(name, kind_, width, hidden, build)),
      up(name + ".up", width, hidden, build),
      down(name + ".down", hidden, width, build.with_deviation(down_deviation)) {}

Var Mlp::hidden(const Var& x) const {
  switch (kind) {
    case MlpKind::swiglu:
      return swiglu((*gate)(x), up(x));
    case MlpKind::gelu:
      return gelu(up(x));
    default:
      return gelu_tanh(up(x));
  }
}

}  // namespace phasor
