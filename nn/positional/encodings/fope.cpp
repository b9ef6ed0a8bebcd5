// FoPE: a component is not one wave but a learned mixture of all that turn (a Fourier series); those slower than the
// training length stand still, as in HoPE.
//
// cos' = cos W_c, sin' = sin W_s for each key head, W = I + noise (eq. 11 to 13); components with frequency < 2 pi / L
// keep cosine 1 and sine 0. Noise as in the released code: Xavier over [heads, components, components] with gain 0.3
// (the paper's best for 60M parameters). Learned here, without the listing's division of W's columns by their sums. The
// code mixes half the components at most, and gives those that stand still sine 1, which counts them twice.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/ops/binary.hpp"
#include "core/random.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor::encoding {

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  const double slowest = 2 * std::numbers::pi / static_cast<double>(s.train_length);
  const Spectrum rope = Spectrum::geometric(s.components(), s.rope_base);
  const int64_t turning = std::count_if(rope.begin(), rope.end(), [&](Component c) { return c.frequency >= slowest; });
  require<UsageError>(turning > 0, "fope", "nothing is left to rotate: the fastest wavelength is ",
                      rope[0].wavelength(), " tokens, train.length is ", s.train_length, "; train longer");

  Random random{.seed = s.seed, .stream = 0x666f7065};  // "fope": apart from the streams of the weights
  const double deviation = 0.3 * std::sqrt(2 / static_cast<double>(turning * turning + s.kv_heads * turning));
  const auto mixture = [&](const char* name) {
    const Tensor initial = normal({s.kv_heads, turning, turning}, 0, deviation, s.dtype, random);
    const Tensor one = Tensor::zeros({turning, turning}, s.dtype);
    for (int64_t i = 0; i < turning; ++i) fill(one.select(0, i).select(0, i), 1);
    return parameters.add(name, add(initial, one));
  };
  const Var mix_cos = mixture("mix_cos"), mix_sin = mixture("mix_sin");
  const auto mixed = [=, still = rope.size() - turning](const Tensor& waves, const Var& mix, double value,
                                                        Dtype dtype) {
    return cast(pad(matmul(waves.slice(-1, 0, turning), cast(mix, Dtype::f64)), -1, 0, still, value), dtype);
  };
  PositionalEncoding encoding;
  encoding.rotation.emplace();
  encoding.rotation->tables = [=, heads = s.heads](const PositionalContext& c) {
    const CosSin q = rope.table(c.q_positions, Dtype::f64), k = rope.table(c.k_positions, Dtype::f64);
    const Dtype dtype = c.q.dtype();
    return RotaryTables{for_query_heads(mixed(q.cos, mix_cos, 1, dtype), heads),
                        for_query_heads(mixed(q.sin, mix_sin, 0, dtype), heads), mixed(k.cos, mix_cos, 1, dtype),
                        mixed(k.sin, mix_sin, 0, dtype)};
  };
  return encoding;
}

EncodingEntry fope() {
  return {.summary = "rotary with learned mixtures of waves, slow ones stopped",
          .paper = "Hua et al., Fourier Position Embedding, arXiv:2412.17739",
          .claims = {},
          .unsure =
              "The paper's listing draws the mixtures once, keeps them and divides columns by their sums; "
              "that published configurations learn them and turn the division off is second-hand.",
          .make = make};
}

}  // namespace phasor::encoding
