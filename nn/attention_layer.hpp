// Multi-head attention as a layer: projections, the positional encoding's parts, and the attention op.
#pragma once

#include "nn/layers.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor {

struct AttentionLayer {
  Linear q, k, v, out;  // [width, heads * head_dim], [width, kv_heads * head_dim] twice, [heads * head_dim, width]
  int64_t heads, kv_heads, head_dim;
  RotaryLayout layout;

  AttentionLayer(const std::string& name, const AttentionShape& shape, RotaryLayout layout, Build build);

  // x [batch, length, width] -> the same. `tables` are the encoding's for this layer, or null. An encoding with a bias
  // or a transform of the scores takes the unfused path.
  Var operator()(const Var& x, const PositionalEncoding& encoding, const RotaryTables* tables,
                 PositionalContext context, const AttentionOptions& options) const;

  // q and k as the encoding sees them: [batch, heads, length, head_dim] views of the projections.
  Var queries(const Var& x) const { return split_heads(q(x), heads); }
  Var keys(const Var& x) const { return split_heads(k(x), kv_heads); }

 private:
  Var split_heads(const Var& x, int64_t count) const;
};

}  // namespace phasor
