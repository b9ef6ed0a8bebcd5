// PositionalEncoding: a value with four optional parts - what an encoding may do to a transformer.
// EncodingEntry: what one file of nn/positional/encodings/ offers; the file name is its name on the command line.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "autograd/ops.hpp"
#include "nn/parameters.hpp"
#include "nn/positional/spectrum.hpp"

namespace phasor {

// What an encoding is made for.
struct AttentionShape {
  int64_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int64_t train_length = 0;  // tokens of a training window
  double rope_base = 10000;  // encoding.base
  double fraction = 0.75;    // encoding.fraction, of p_rope
  int64_t components() const { return head_dim / 2; }
};

// What an encoding may look at when it acts.
struct PositionalContext {
  int64_t layer = 0;
  int64_t heads = 0;
  Var layer_input;                  // [batch, length, width], after the norm that precedes attention
  Var q, k;                         // [batch, heads, length, head_dim], before any rotation
  Tensor q_positions, k_positions;  // f64 [batch or 1, length]; integers or reals
  int64_t current_length = 0;       // keys in this forward
  int64_t train_length = 0;
};

// Cosines and sines for q and k, each broadcasting to [batch, heads, length, components].
struct RotaryTables {
  Var q_cos, q_sin, k_cos, k_sin;
};

struct PositionalEncoding {
  struct Rotation {
    std::function<RotaryTables(const PositionalContext&)> tables;
    bool same_in_every_layer = true;   // then the tables of layer 0 serve all, and may look at positions only
    std::optional<Spectrum> spectrum;  // for whoever measures by component
  };
  // Added to the scaled scores, [heads or 1, n] at n distances (q_position - k_position >= 0 under causality).
  using BiasOfDistance = std::function<Var(const Var& distance)>;  // distance [1, n], in the model's dtype
  // Scores [batch, heads, q_length, k_length] after scale and bias, before mask and softmax.
  using ScoreTransform = std::function<Var(const Var& scores, const PositionalContext&)>;
  // Token embeddings [batch, length, width] to what enters the first block; q_positions are those of the tokens.
  using InputEmbedding = std::function<Var(const Var& embedded, const PositionalContext&)>;

  std::optional<Rotation> rotation;
  BiasOfDistance bias_of_distance;
  ScoreTransform transform;
  InputEmbedding embed;

  static PositionalEncoding none() { return {}; }
  static PositionalEncoding rotary(const Spectrum& spectrum);
  static PositionalEncoding bias(BiasOfDistance f);
};

// A statement about an encoding that the tests check for every entry that makes it - and refute for one that does not,
// so leaving a claim out hides nothing.
enum class Claim {
  relative,        // scores depend on differences of positions only
  preserves_norm,  // q and k keep their lengths
  no_parameters,   // nothing is learned
};

struct EncodingEntry {
  std::string summary;
  std::string paper;
  std::vector<Claim> claims;
  // Called once for a model. Parameters that the encoding learns go into `parameters`; they are shared by the layers.
  PositionalEncoding (*make)(const AttentionShape& shape, ParameterList& parameters);
};

// Every encoding by name, in the order of the names. Generated from the files of nn/positional/encodings/.
const std::vector<std::pair<std::string, EncodingEntry>>& encodings();
// UsageError with the nearest name if there is none.
const EncodingEntry& encoding_named(const std::string& name);

// Positions first, first + 1, ... as f64 [1, length].
Tensor consecutive_positions(int64_t length, double first = 0);

// The bias of an encoding for the positions of a context, broadcasting to [batch, heads, q_length, k_length].
Var bias_at(const PositionalEncoding::BiasOfDistance& bias, const PositionalContext& context, Dtype dtype);

}  // namespace phasor
