// Sandwich: the inner product of two sinusoidal position vectors, as a bias, weaker from head to head.
//
//   bias = (sum over i of cos(distance * 10000^(-2i / 128)) - 64) / (8 h / H),   i = 0 .. 63, head h = 1 .. H
//
// The sum is <PE(m), PE(n)> of sinusoidal vectors of 128 channels; minus 64 it is 0 at distance 0. NeMo's code counts i
// from 1; here i runs over all components of the vectors.
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

constexpr int64_t components = 64;

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  const Spectrum spectrum = Spectrum::geometric(components, 10000);
  std::vector<double> factors;
  for (int64_t h = 1; h <= s.heads; ++h) factors.push_back(static_cast<double>(s.heads) / (8.0 * h));
  const Var factor = Tensor::of<double>({s.heads, 1}, factors).to(s.dtype);
  return PositionalEncoding::bias([=](const Var& distance) {
    std::vector<double> sums;
    for (const double d : distance.value().to(Dtype::f64).to_vector<double>()) {
      double sum = -components;
      for (const Component& c : spectrum) sum += std::cos(c.frequency * d);
      sums.push_back(sum);
    }
    return factor * Var(Tensor::of<double>(distance.shape(), sums).to(distance.dtype()));
  });
}

EncodingEntry sandwich() {
  return {.summary = "a penalty from the inner product of sinusoidal vectors",
          .paper = "Chi et al., Sandwich, arXiv:2212.10356",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .unsure =
              "The 128 channels, the divisor 8 h / H and the 64 are those of NVIDIA NeMo's code; the "
              "paper's text was not at hand.",
          .make = make};
}

}  // namespace phasor::encoding
