// ALiBi: scores fall linearly with the distance, in every head by a fixed slope of its own.
//
//   bias = -slope[h] * distance,   slope[h] = 2^(-8 h / H) for h = 1 .. H, where H is a power of two
//
// For another H, as in the authors' code: the slopes of the power of two below it, followed by the first, third,
// fifth, ... slope of the power of two above it.
#include <bit>
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static std::vector<double> slopes_of(int64_t heads) {
  const int64_t below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  std::vector<double> slopes;
  for (int64_t h = 1; h <= below; ++h) slopes.push_back(std::exp2(-8.0 * static_cast<double>(h) / below));
  for (int64_t h = 1; below + h <= heads; ++h) slopes.push_back(std::exp2(-8.0 * (2.0 * h - 1) / (2.0 * below)));
  return slopes;
}

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const Var slopes = Tensor::of<double>({s.heads, 1}, slopes_of(s.heads)).to(s.dtype);
  return PositionalEncoding::bias([=](const Var& distance) { return -(slopes * distance); });
}

EncodingEntry alibi() {
  return {.summary = "a penalty linear in the distance, a fixed slope per head",
          .paper = "Press et al., arXiv:2108.12409",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .make = make};
}

}  // namespace phasor::encoding
