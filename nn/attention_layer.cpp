// Projections into heads, the encoding, attention, and the way back.
#include "nn/attention_layer.hpp"

namespace phasor {

AttentionLayer::AttentionLayer(const std::string& name, const AttentionShape& s, RotaryLayout layout_, Build build)
    : q(name + ".q", s.width, s.heads * s.head_dim, build),
      k(name + ".k", s.width, s.kv_heads * s.head_dim, build),
      v(name + ".v", s.width, s.kv_heads * s.head_dim, build),
      out(name + ".out", s.heads * s.head_dim, s.width, build),
      heads(s.heads),
      kv_heads(s.kv_heads),
      head_dim(s.head_dim),
      layout(layout_) {}

Var AttentionLayer::split_heads(const Var& x, int64_t count) const {
  return transpose(reshape(x, {x.extent(0), x.extent(1), count, head_dim}), 1, 2);
}

Var AttentionLayer::operator()(const Var& x, const PositionalEncoding& encoding, const RotaryTables* tables,
                               PositionalContext context, const AttentionOptions& options) const {
  Var queries = this->queries(x), keys = this->keys(x);
  const Var values = split_heads(v(x), kv_heads);
  context.layer_input = x;
  context.q = queries;
  context.k = keys;

  RotaryTables own;
  if (encoding.rotation && !tables) own = encoding.rotation->tables(context), tables = &own;
  if (encoding.rotation) {
    queries = rotary(queries, tables->q_cos, tables->q_sin, layout);
    keys = rotary(keys, tables->k_cos, tables->k_sin, layout);
  }

  Var mixed;  // [batch, heads, length, head_dim], in memory [batch, length, heads, head_dim]
  if (!encoding.bias_of_distance && !encoding.transform) {
    mixed = attention(queries, keys, values, options);
  } else {
    AttentionExtras extras;
    if (encoding.bias_of_distance) extras.bias = bias_at(encoding.bias_of_distance, context, x.dtype());
    if (encoding.transform) extras.transform = [&](const Var& scores) { return encoding.transform(scores, context); };
    mixed = attention_unfused(queries, keys, values, options, extras);
  }
  return out(reshape(transpose(mixed, 1, 2), {x.extent(0), x.extent(1), heads * head_dim}));
}

}  // namespace phasor
