// LeRoPE: the frequencies are learned, one for each component, shared by all layers and heads.
//
// frequency_i = RoPE's exp(shift_i), shift_i = 0 at first, without weight decay and with a gradient clip of its own:
// its gradient grows with the positions.
// In f32 a frequency is exact to 6e-8 of itself, the same for q and k; the angles are taken in f64.
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  const Spectrum rope = Spectrum::geometric(s.components(), s.rope_base);
  const Tensor initial = Tensor::empty({rope.size()}, Dtype::f64);
  for (const Component& c : rope) initial.data<double>()[c.index] = c.frequency;
  const Var shift = parameters.add("log_frequency_shift", Tensor::zeros({rope.size()}, s.dtype), {.gradient_clip = 1});
  PositionalEncoding encoding;
  encoding.rotation.emplace();
  encoding.rotation->tables = [=](const PositionalContext& c) {
    const Var frequencies = exp(cast(shift, Dtype::f64)) * initial;
    const LearnedCosSin q = learned_table(frequencies, c.q_positions, c.q.dtype());
    const bool same = c.k_positions.is_same_view(c.q_positions);
    const LearnedCosSin k = same ? q : learned_table(frequencies, c.k_positions, c.q.dtype());
    return RotaryTables{q.cos, q.sin, k.cos, k.sin};
  };
  return encoding;
}

EncodingEntry lerope() {
  return {.summary = "rotary with a learned frequency for each component",
          .paper = "Karypis et al., LeRoPE, arXiv:2607.10134",
          .claims = {Claim::relative, Claim::preserves_norm},
          .unsure =
              "All of it is from a second-hand account; the size of the gradient clip is not in it, 1 is a "
              "guess.",
          .make = make};
}

}  // namespace phasor::encoding
