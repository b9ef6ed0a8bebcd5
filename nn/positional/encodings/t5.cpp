// T5: a learned number per head and bucket of distances, the same in all layers.
//
//   bucket = distance                                                     below 16: one bucket each
//          = min(31, 16 + floor(16 log(distance / 16) / log(128 / 16)))   then wider and wider, one from 113 on
//
// 32 buckets up to distance 128 are T5's defaults, for a decoder, which looks back only. The table starts with
// deviation width^-1/2. The scores keep their scale 1 / sqrt(head_dim).
#include <algorithm>
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

constexpr int64_t buckets = 32, exact = buckets / 2, last_distance = 128;

static int64_t bucket_of(double distance) {
  const double whole = std::floor(distance);  // positions may be real numbers
  if (whole < exact) return static_cast<int64_t>(whole);
  const double logarithm = std::log(whole / exact) / std::log(static_cast<double>(last_distance) / exact);
  return static_cast<int64_t>(std::min<double>(buckets - 1, exact + std::floor(logarithm * (buckets - exact))));
}

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  Random random = parameter_random(s);
  const double deviation = 1 / std::sqrt(static_cast<double>(s.width));
  const Var table = parameters.add("weight", normal({buckets, s.heads}, 0, deviation, s.dtype, random));
  return PositionalEncoding::bias([=](const Var& distance) {
    const std::vector<double> of = distance.value().to(Dtype::f64).to_vector<double>();
    const Tensor ids = Tensor::empty({static_cast<int64_t>(of.size())}, Dtype::i64);
    std::transform(of.begin(), of.end(), ids.data<int64_t>(), bucket_of);
    return transpose(embedding(table, ids), 0, 1);
  });
}

EncodingEntry t5() {
  return {.summary = "a learned number per head and bucket of distances",
          .paper = "Raffel et al., arXiv:1910.10683",
          .claims = {Claim::relative, Claim::preserves_norm},
          .unsure =
              "Two things rest on memory: the initial deviation width^-1/2, and that T5 leaves out the "
              "scale 1 / sqrt(head_dim) of the scores, which stays here.",
          .make = make};
}

}  // namespace phasor::encoding
