// Projections into heads, the encoding, attention.
#include "nn/attention_layer.hpp"

#include <cmath>

namespace phasor {

AttentionLayer::AttentionLayer(const std::string& name, const AttentionShape& s, RotaryLayout layout_, Build build,
                               double out_deviation)
    : q(name + ".q", s.width, s.heads * s.head_dim, build),
      k(name + ".k", s.width, s.kv_heads * s.head_dim, build),
      v(name + ".v", s.width, s.kv_heads * s.head_dim, build),
      out(name + ".out", s.heads * s.head_dim, s.width, build.with_deviation(out_deviation)),
      heads(s.heads),
      kv_heads(s.kv_heads),
      head_dim(s.head_dim),
      layout(layout_) {}

Var AttentionLayer::split_heads(const Var& x, int64_t count) const {
  return transpose(reshape(x, {x.extent(0), x.extent(1), count, head_dim}), 1, 2);
}

namespace {

ScoreBias sum_of(const ScoreBias& bias, const Var& by_position) {
  if (!by_position.defined()) return bias;
  return {bias.by_distance, bias.by_position.defined() ? bias.by_position + by_position : by_position};
}

Site site_of(ScoreStage stage) {
  return stage == ScoreStage::score          ? Site::score
         : stage == ScoreStage::score_biased ? Site::score_biased
                                             : Site::pattern;
}

struct QueriesAndKeys {
  Var q, k;
};

// The tables that serve all layers, or this layer's own.
RotaryTables tables_of(const PositionalEncoding::Rotation& rotation, const std::optional<RotaryTables>& shared,
                       const PositionalContext& context) {
  return shared ? *shared : rotation.tables(context);
}

QueriesAndKeys turned(const QueriesAndKeys& x, const RotaryTables& by, RotaryLayout layout) {
  return {rotary(x.q, by.q_cos, by.q_sin, layout), rotary(x.k, by.k_cos, by.k_sin, layout)};
}

bool are_constants(const RotaryTables& x) {
  return !x.q_cos.needs_gradient() && !x.q_sin.needs_gradient() && !x.k_cos.needs_gradient() &&
         !x.k_sin.needs_gradient();
}

}  // namespace

Var AttentionLayer::read(const Var& x, int64_t layer, const AttentionPass& pass) const {
  const PositionalEncoding& encoding = *pass.encoding;
  const auto at = [&](Site site, const Var& value) { return observed(pass.observer, {site, layer}, value); };
  const Var plain_q = at(Site::q, queries(x)), plain_k = at(Site::k, keys(x));
  Var values = at(Site::v, split_heads(v(x), kv_heads));
  PositionalContext context = pass.context;
  context.layer = layer;
  // What an encoding computes from content stays in the parameters' dtype, also where activations are stored in bf16.
  const Dtype stored = x.dtype(), wide = q.weight.dtype();
  const auto in = [](Dtype dtype, const Var& value) { return value.dtype() == dtype ? value : cast(value, dtype); };
  const bool reads_content = encoding.features || encoding.bias_of_positions || encoding.transform ||
                             (encoding.rotation && !encoding.rotation->same_in_every_layer) ||
                             (encoding.far_rotation && !encoding.far_rotation->same_in_every_layer);
  const auto content = [&](const Var& value) { return reads_content ? in(wide, value) : value; };
  context.layer_input = context.key_input = content(x);
  context.q = content(plain_q);
  context.k = content(plain_k);

  std::optional<RotaryTables> tables, far_tables;
  if (encoding.rotation) tables = tables_of(*encoding.rotation, pass.tables, context);
  if (encoding.far_rotation) far_tables = tables_of(*encoding.far_rotation, pass.far, context);
  using Side = PositionalEncoding::Side;
  QueriesAndKeys near = {plain_q, plain_k}, far;
  if (encoding.features)
    near = {in(stored, encoding.features(context.q, Side::query, context)),
            in(stored, encoding.features(context.k, Side::key, context))};
  AttentionOptions options = pass.options;
  options.scale = 1 / std::sqrt(static_cast<double>(head_dim));  // also where the encoding widens q and k
  if (far_tables) far = turned(near, *far_tables, layout);
  // Attention turns them itself where nobody looks at what is turned and no cache keeps it.
  const bool is_looked_at =
      pass.observer && (pass.observer->wants(Site::q_rotated) || pass.observer->wants(Site::k_rotated));
  if (tables && are_constants(*tables) && !pass.unfused && !is_looked_at && !pass.cache)
    options.rotation = {tables->q_cos.value(), tables->q_sin.value(), tables->k_cos.value(), tables->k_sin.value(),
                        layout};
  else if (tables)
    near = turned(near, *tables, layout);
  near.q = at(Site::q_rotated, near.q);
  near.k = at(Site::k_rotated, near.k);
  if (far.q.defined()) {
    far.q = at(Site::q_far, far.q);
    far.k = at(Site::k_far, far.k);
  }

  if (pass.cache) {
    KeyValueCache::Layer& held = pass.cache->layers_[static_cast<size_t>(layer)];
    const int64_t used = pass.cache->length_;
    near.k = held.k.append(used, near.k.value(), 2);
    values = held.v.append(used, values.value(), 2);
    if (far.k.defined()) far.k = held.far_k.append(used, far.k.value(), 2);
    if (encoding.bias_of_positions || encoding.transform)
      context.key_input = held.input.append(used, context.layer_input.value(), 1);
  }
  context.k_positions = pass.k_positions;

  const ScoreBias bias =
      encoding.bias_of_positions ? sum_of(pass.bias, encoding.bias_of_positions(context)) : pass.bias;
  Var mixed;  // [batch, heads, length, head_dim], in memory [batch, length, heads, head_dim]
  if (!pass.unfused) {
    mixed = attention(near.q, near.k, values, options, bias);
  } else {
    AttentionExtras extras{.far_q = far.q, .far_k = far.k, .far_from = encoding.far_from, .transform = {}, .at = {}};
    if (encoding.transform) extras.transform = [&](const Var& scores) { return encoding.transform(scores, context); };
    if (pass.observer) extras.at = [&](ScoreStage stage, const Var& value) { return at(site_of(stage), value); };
    if (far.q.defined()) extras.far_q = in(wide, far.q), extras.far_k = in(wide, far.k);
    mixed = in(stored, attention_unfused(in(wide, near.q), in(wide, near.k), in(wide, values), options, bias, extras));
  }
  mixed = at(Site::head_out, mixed);
  return reshape(transpose(mixed, 1, 2), {x.extent(0), x.extent(1), heads * head_dim});
}

}  // namespace phasor
