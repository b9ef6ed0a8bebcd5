// KERPLE, logarithmic: scores fall with the logarithm of the distance, by two learned numbers per head.
//
//   bias = -p[h] * log(1 + a[h] * distance),   p, a > 0
//
// Start and bounds are those of the authors' code: p from U(0, 2), a from U(0, 1), both kept at 0.01 or more. All
// layers share p and a, which keeps the bias one of distances.
#include "core/ops/unary.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  constexpr double least = 0.01;
  Random random = parameter_random(s);
  const auto per_head = [&](const char* name, double high) {
    const Tensor drawn = uniform({s.heads, 1}, 0, high, Dtype::f64, random);
    return parameters.add(name, clamp(drawn, least, high).to(s.dtype), {.minimum = least});
  };
  const Var p = per_head("p", 2), a = per_head("a", 1);
  return PositionalEncoding::bias([=](const Var& distance) { return -(p * log1p(a * distance)); });
}

EncodingEntry kerple_log() {
  return {.summary = "a penalty logarithmic in the distance, learned per head",
          .paper = "Chi et al., KERPLE, arXiv:2205.09921",
          .claims = {Claim::relative, Claim::preserves_norm},
          .unsure = "Whether the layers share p and a in the paper is unknown; its text was not at hand.",
          .make = make};
}

}  // namespace phasor::encoding
