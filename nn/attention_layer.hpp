// Multi-head attention as a layer: projections, the positional encoding's parts, and the attention op.
#pragma once

#include "nn/key_value_cache.hpp"
#include "nn/layers.hpp"
#include "nn/observer.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor {

// What one forward pass hands to the attention of every layer.
struct AttentionPass {
  const PositionalEncoding* encoding = nullptr;
  PositionalContext context;                // positions are of the new tokens
  Tensor k_positions;                       // of every key
  std::optional<RotaryTables> tables, far;  // of rotations that are the same in every layer
  ScoreBias bias;                           // of distance
  AttentionOptions options;
  bool unfused = false;  // scores are looked at, or transformed
  const Observer* observer = nullptr;
  KeyValueCache* cache = nullptr;
};

struct AttentionLayer {
  Linear q, k, v, out;  // [width, heads * head_dim], [width, kv_heads * head_dim] twice, [heads * head_dim, width]
  int64_t heads, kv_heads, head_dim;
  RotaryLayout layout;

  // `out` starts with the deviation `out_deviation`.
  AttentionLayer(const std::string& name, const AttentionShape& shape, RotaryLayout layout, Build build,
                 double out_deviation);

  // What the heads read from the sequence: x [batch, length, width] -> [batch, length, heads * head_dim], before `out`.
  Var read(const Var& x, int64_t layer, const AttentionPass& pass) const;

  // q and k as the encoding sees them: [batch, heads, length, head_dim] views of the projections.
  Var queries(const Var& x) const { return split_heads(q(x), heads); }
  Var keys(const Var& x) const { return split_heads(k(x), kv_heads); }

 private:
  Var split_heads(const Var& x, int64_t count) const;
};

}  // namespace phasor
