// HARPE: every head turns with a base of its own, so that some look nearby and others far.
//
// base_h = low + h (high - low) / (N - 1), eq. 9, for the N key heads: the query heads that share a key turn with it,
// or their scores would not depend on distances alone. low = encoding.base, high = 5 low: the paper's 1 and 5 million
// (for 128k tokens) keep their ratio. Its main result uses bases picked by a search between the two instead (table 2).
#include <cmath>

#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList&) {
  constexpr double high = 5;
  require<UsageError>(s.kv_heads >= 2, "harpe", "different bases need different keys: there is ", s.kv_heads,
                      " key head; needs at least 2 (model.heads, model.kv_heads)");
  const Tensor frequencies = Tensor::empty({s.kv_heads, s.components()}, Dtype::f64);
  for (int64_t head = 0; head < s.kv_heads; ++head) {
    const double along = static_cast<double>(head) / static_cast<double>(s.kv_heads - 1);
    for (const Component& c : Spectrum::geometric(s.components(), s.rope_base * (1 + along * (high - 1))))
      frequencies.view<double>()(head, c.index) = c.frequency;
  }
  PositionalEncoding encoding;
  encoding.rotation.emplace();
  encoding.rotation->tables = [=, heads = s.heads](const PositionalContext& c) {
    const LearnedCosSin q = learned_table(frequencies, c.q_positions, c.q.dtype());
    const LearnedCosSin k = learned_table(frequencies, c.k_positions, c.q.dtype());
    return RotaryTables{for_query_heads(q.cos, heads), for_query_heads(q.sin, heads), k.cos, k.sin};
  };
  return encoding;
}

EncodingEntry harpe() {
  return {.summary = "rotary, each head with a base from encoding.base to 5 times it",
          .paper = "Lian et al., HARPE, arXiv:2412.07171",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .make = make};
}

}  // namespace phasor::encoding
