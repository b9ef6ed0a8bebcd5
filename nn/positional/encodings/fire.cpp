// FIRE: a small network maps the distance, as a fraction of the query's position, to a bias per head.
//
//   bias = network(psi(m - n) / psi(max(L, m))),   psi(x) = log(1 + |c x|),   for query m and key n
//
// Beyond L the fraction stays in [0, 1] however long the text, but depends on where the query stands: scores are not
// relative. A network 1 -> 32 -> heads with a ReLU, c = 0.1 at first, L = 512 times a learned factor, 1e-6 added to the
// denominator. Every layer has its own. The network ends without a bias: a number added to all scores of a query
// changes no softmax.
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

constexpr int64_t hidden = 32;
constexpr double initial_c = 0.1, initial_limit = 512, epsilon = 1e-6;

namespace {

struct Fire {
  Var c, factor, w1, b1, w2;

  Fire(const AttentionShape& s, Random& random, const std::string& layer, ParameterList& parameters) {
    const auto add = [&](const char* name, const Shape& shape, int64_t inputs) {
      const double bound = 1 / std::sqrt(static_cast<double>(inputs));  // PyTorch's start of a linear layer
      return parameters.add(layer + name, uniform(shape, -bound, bound, s.dtype, random),
                            {.weight_decay_factor = shape.rank() == 2 ? 1.0 : 0.0});
    };
    c = parameters.add(layer + "c", Tensor::full({1}, initial_c, s.dtype));
    factor = parameters.add(layer + "factor", Tensor::full({1}, 1, s.dtype));
    w1 = add("w1", {1, hidden}, 1), b1 = add("b1", {hidden}, 1);
    w2 = add("w2", {hidden, s.heads}, hidden);
  }

  Var psi(const Var& x) const { return log1p(abs(c * x)); }

  Var operator()(const PositionalContext& context) const {
    const Dtype dtype = c.dtype();
    const Tensor distance = distances(context, dtype), &q = context.q_positions;
    const Var position = q.to(dtype).reshape({q.extent(0), 1, q.extent(1), 1});
    const Var fraction = psi(distance) / (psi(maximum(abs(factor) * initial_limit, position)) + epsilon);
    const Var bias = matmul(relu(linear(reshape(fraction, {distance.size(), 1}), w1, b1)), w2);
    const Shape by_head = {distance.extent(0), distance.extent(2), distance.extent(3), w2.extent(1)};
    return transpose(transpose(reshape(bias, by_head), 2, 3), 1, 2);  // [batch or 1, heads, q_length, k_length]
  }
};

}  // namespace

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  Random random = parameter_random(s);
  std::vector<Fire> layers;
  for (int64_t i = 0; i < s.layers; ++i) layers.emplace_back(s, random, "layer." + std::to_string(i) + ".", parameters);
  PositionalEncoding encoding;
  encoding.bias_of_positions = [=](const PositionalContext& c) { return layers[static_cast<size_t>(c.layer)](c); };
  return encoding;
}

EncodingEntry fire() {
  return {.summary = "a learned function of the distance over the query's position",
          .paper = "Li et al., FIRE, arXiv:2310.04418",
          .claims = {Claim::preserves_norm},
          .unsure = "Sizes and starting values are those of the DAPE authors' code; FIRE's own was not at hand.",
          .make = make};
}

}  // namespace phasor::encoding
