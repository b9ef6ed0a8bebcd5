// A pre-norm decoder-only transformer (Llama's shape: RMSNorm, attention, SwiGLU, no biases, untied head).
//
//   x = embedding(ids)
//   x = x + attention(norm(x)),   x = x + mlp(norm(x))      for each block
//   logits = head(norm(x))
#pragma once

#include <vector>

#include "nn/attention_layer.hpp"

namespace phasor {

struct ModelShape {
  int64_t vocabulary = 257;
  int64_t width = 128, layers = 2, heads = 2;
  int64_t kv_heads = 0;  // 0: as many as heads
  int64_t hidden = 352;  // of the SwiGLU
  int64_t train_length = 128;
  std::string encoding = "rope";
  RotaryLayout layout = RotaryLayout::half_split;
  double rope_base = 10000;
  double fraction = 0.75;
  Dtype dtype = Dtype::f32;

  // UsageError with the formula if heads do not divide width, kv_heads do not divide heads, or a rotary head_dim is
  // odd.
  AttentionShape attention() const;
};

struct Block {
  RmsNorm attention_norm;
  AttentionLayer attention;
  RmsNorm mlp_norm;
  SwigluMlp mlp;
  Block(const std::string& name, const ModelShape& shape, Build build);
};

struct ForwardOptions {
  Tensor positions;  // f64 [batch or 1, length]: the positions of the tokens; 0, 1, 2, ... unless given
  Tensor segments;   // [batch or 1, length] i32 or i64: tokens attend within their segment; one segment unless given
};

class Transformer {
 public:
  // Draws the initial weights from Random{seed}: the same for every encoding.
  Transformer(const ModelShape& shape, uint64_t seed);

  // ids [batch, length] -> logits [batch, length, vocabulary].
  Var logits(const Tensor& ids, const ForwardOptions& options = {}) const;

  const ModelShape& shape() const { return shape_; }
  const PositionalEncoding& encoding() const { return encoding_; }
  const ParameterList& parameters() const { return parameters_; }
  const std::vector<Block>& blocks() const { return blocks_; }

 private:
  Transformer(const ModelShape& shape, Random random);

  ModelShape shape_;
  ParameterList parameters_;
  Embedding embedding_;
  std::vector<Block> blocks_;
  RmsNorm final_norm_;
  Linear head_;
  PositionalEncoding encoding_;
};

}  // namespace phasor
