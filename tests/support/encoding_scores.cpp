#include "tests/support/encoding_scores.hpp"

#include <cmath>

#include "core/ops/binary.hpp"
#include "core/ops/unary.hpp"

namespace phasor {

EncodingInputs random_encoding_inputs(const AttentionShape& s, int64_t length, uint64_t seed) {
  Random random{.seed = seed};
  const auto drawn = [&](const Shape& shape) { return normal(shape, 0, 1, Dtype::f64, random); };
  const Tensor q = drawn({1, s.heads, length, s.head_dim}), k = drawn({1, s.kv_heads, length, s.head_dim});
  return {q, k, drawn({1, length, s.width})};
}

Encoded encoded(const PositionalEncoding& encoding, const EncodingInputs& inputs, const Tensor& positions,
                const AttentionShape& s, int64_t layer) {
  const int64_t length = inputs.q.extent(2);
  PositionalContext c;
  c.layer = layer;
  c.heads = s.heads;
  c.kv_heads = s.kv_heads;
  c.q = inputs.q;
  c.k = inputs.k;
  c.q_positions = c.k_positions = positions;
  c.current_length = length;
  c.train_length = s.train_length;
  c.visible = visible_pairs(length, length, {});
  Encoded result{encoding.embed ? encoding.embed(inputs.x, c) : inputs.x, inputs.q, inputs.k, {}};
  c.layer_input = c.key_input = result.embedded;

  if (encoding.features) {
    result.q = encoding.features(inputs.q, PositionalEncoding::Side::query, c);
    result.k = encoding.features(inputs.k, PositionalEncoding::Side::key, c);
  }
  AttentionExtras extras;
  const auto turn = [&](const PositionalEncoding::Rotation& rotation, Var& q, Var& k) {
    const RotaryTables t = rotation.tables(c);
    q = rotary(q, t.q_cos, t.q_sin, s.layout);
    k = rotary(k, t.k_cos, t.k_sin, s.layout);
  };
  if (encoding.far_rotation) {
    extras.far_q = result.q, extras.far_k = result.k, extras.far_from = encoding.far_from;
    turn(*encoding.far_rotation, extras.far_q, extras.far_k);
  }
  if (encoding.rotation) turn(*encoding.rotation, result.q, result.k);

  ScoreBias bias;
  if (encoding.bias_of_distance) bias = bias_at(encoding.bias_of_distance, c, {}, Dtype::f64);
  if (encoding.bias_of_positions) {
    const Var more = encoding.bias_of_positions(c);
    if (more.defined()) bias.by_position = bias.by_position.defined() ? bias.by_position + more : more;
  }
  if (encoding.transform) extras.transform = [&](const Var& scores) { return encoding.transform(scores, c); };
  extras.at = [&](ScoreStage stage, const Var& value) {
    if (stage == ScoreStage::score_biased) result.scores = where(c.visible, value, Tensor::scalar(0, Dtype::f64));
    return value;
  };
  const Tensor v = Tensor::zeros(inputs.k.shape(), Dtype::f64);
  attention_unfused(result.q, result.k, v, {.scale = 1 / std::sqrt(static_cast<double>(s.head_dim))}, bias, extras);
  return result;
}

void stir(const ParameterList& parameters, uint64_t seed, const std::string& prefix) {
  Random random{.seed = seed};
  for (const Parameter& p : parameters.all()) {
    if (!p.name.starts_with(prefix)) continue;
    const Tensor moved = add(p.var.value(), normal(p.var.shape(), 0, 0.1, p.var.dtype(), random));
    p.var.assign(clamp(moved, p.options.minimum, p.options.maximum));
  }
}

}  // namespace phasor
