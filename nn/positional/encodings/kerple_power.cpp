// KERPLE, power: scores fall with a power of the distance, factor and exponent learned per head.
//
//   bias = -a[h] * distance^p[h],   a > 0, 0 < p <= 2: beyond 2 the kernel is no longer conditionally positive definite
//
// Start and bounds are those of the authors' code: a from U(0, 1), kept at 0.01 or more; p from U(0, 2), kept in
// [0.01, 2]. All layers share a and p, as in kerple_log. Their variants with a factor on the weights are left out.
#include "core/ops/unary.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  constexpr double least = 0.01;
  Random random = parameter_random(s);
  const auto per_head = [&](double high) {
    return clamp(uniform({s.heads, 1}, 0, high, Dtype::f64, random), least, high).to(s.dtype);
  };
  const Var a = parameters.add("a", per_head(1), {.minimum = least});
  const Var p = parameters.add("p", per_head(2), {.minimum = least, .maximum = 2});
  return PositionalEncoding::bias([=](const Var& distance) { return -(a * pow(distance, p)); });
}

EncodingEntry kerple_power() {
  return {.summary = "a penalty by a power of the distance, learned per head",
          .paper = "Chi et al., KERPLE, arXiv:2205.09921",
          .claims = {Claim::relative, Claim::preserves_norm},
          .unsure = "Whether the layers share a and p in the paper is unknown; its text was not at hand.",
          .make = make};
}

}  // namespace phasor::encoding
