// A pre-norm decoder-only transformer. The defaults are Llama's shape (RMSNorm, SwiGLU, no biases, a head of its own);
// NormKind::layer, MlpKind::gelu_tanh, LinearBias::yes, HeadKind::tied and InitKind::depth_scaled with learned
// positions make it GPT-2's.
//
//   x = embedding(ids)
//   x = x + attention(norm(x)),   x = x + mlp(norm(x))      for each block
//   logits = head(norm(x))
#pragma once

#include <vector>

#include "nn/attention_layer.hpp"

namespace phasor {

enum class HeadKind { learned, tied };  // a weight of its own, or the embedding's, transposed
// depth_scaled: what writes into the residual stream starts smaller by 1 / sqrt(2 layers), so that the stream's
// variance does not grow with depth (Radford et al., GPT-2, section 2.3).
enum class InitKind { normal, depth_scaled };

struct ModelShape {
  int64_t vocabulary = 257;
  int64_t width = 128, layers = 2, heads = 2;
  int64_t kv_heads = 0;  // 0: as many as heads
  int64_t hidden = 352;  // of the MLP
  int64_t train_length = 128;
  std::string encoding = "rope";
  RotaryLayout layout = RotaryLayout::half_split;
  double rope_base = 10000;
  double fraction = 0.75;
  double factor = 8;
  std::vector<double> short_factors = {}, long_factors = {};
  EncodingFormulas formulas = {};
  NormKind norm = NormKind::rms;
  MlpKind mlp = MlpKind::swiglu;
  LinearBias bias = LinearBias::no;  // of attention and MLP; the head has none
  HeadKind head = HeadKind::learned;
  InitKind init = InitKind::normal;
  double init_deviation = 0.02;
  Dtype dtype = Dtype::f32;  // of the parameters, and of what follows from positions
  // What activations are stored in: dtype, or on the GPU bf16. Logits have the parameters' dtype.
  Dtype activations = Dtype::f32;

  // What the encoding is made for; `seed` is the model's, by which its parameters start. UsageError with the formula if
  // heads do not divide width or kv_heads do not divide heads.
  AttentionShape attention(uint64_t seed) const;
};

struct Block {
  Norm attention_norm;
  AttentionLayer attention;
  Norm mlp_norm;
  Mlp mlp;
  Block(const std::string& name, const ModelShape& shape, Build build);
  Var operator()(const Var& x, int64_t layer, const AttentionPass& pass) const;
};

struct ForwardOptions {
  // [batch or 1, length], any numbers: the positions of the tokens. Unless given, their indices in the text: 0, 1, 2,
  // ..., with a cache from its length on.
  Tensor positions = {};
  // [batch or 1, length] i32 or i64: tokens attend within their segment; one segment unless given. Not with a cache.
  Tensor segments = {};
  const Observer* observer = nullptr;
  KeyValueCache* cache = nullptr;  // GradientError unless nothing is recorded (NoGradient)
  // Keep no activations inside a block, compute them again in backward: memory for time, the same gradients to the last
  // bit. The model must live until backward. An observer reads each site once all the same; one that replaces makes
  // blocks keep their activations.
  bool recompute_blocks = false;
  // Logits of the last token alone, [batch, 1, vocabulary]: all that reading on needs. UsageError if there is none.
  bool last_only = false;
};

class Transformer {
 public:
  // Draws the initial weights from Random{seed}: the same for every encoding. The second one takes an encoding that has
  // no file (yet); shape.encoding is not read.
  Transformer(const ModelShape& shape, uint64_t seed);
  Transformer(const ModelShape& shape, uint64_t seed, const EncodingEntry& encoding);

  // ids [batch, length] -> logits [batch, length, vocabulary], or of the last token.
  Var logits(const Tensor& ids, const ForwardOptions& options = {}) const;

  // A model that shares all parameters with this one and reads with another encoding: one that is to be compared, or
  // whose rotation has been changed. Its parts are taken as they are; make_encoding() checks them.
  Transformer with_encoding(const PositionalEncoding& encoding) const;

  // Moves the parameters, for every handle to them. Tokens, positions and segments may stay on the CPU. DeviceError.
  void move_to(Device device) const { parameters_.move_to(device); }
  Device device() const { return embedding_.weight.device(); }

  const ModelShape& shape() const { return shape_; }
  const PositionalEncoding& encoding() const { return encoding_; }
  const ParameterList& parameters() const { return parameters_; }
  const std::vector<Block>& blocks() const { return blocks_; }

 private:
  Transformer(const ModelShape& shape, Random random, const EncodingEntry& encoding);
  AttentionPass pass_for(const Tensor& ids, const ForwardOptions& options) const;

  ModelShape shape_;
  ParameterList parameters_;
  Embedding embedding_;
  std::vector<Block> blocks_;
  Norm final_norm_;
  std::optional<Linear> head_;  // none where it is tied
  PositionalEncoding encoding_;
};

}  // namespace phasor
