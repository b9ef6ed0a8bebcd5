// PositionalEncoding: a value with optional parts - what an encoding may do to a transformer.
// EncodingEntry: what one file of nn/positional/encodings/ offers; the file name is its name on the command line.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "autograd/ops.hpp"
#include "nn/parameters.hpp"
#include "nn/positional/spectrum.hpp"

namespace phasor {

// The settings of the encoding `expression`: encoding.frequency, bias, learned and starts, as its file says.
struct EncodingFormulas {
  std::string frequency = "base_frequency", bias = {};
  std::vector<std::string> learned = {}, starts = {};
  bool operator==(const EncodingFormulas&) const = default;
};

// What an encoding is made for.
struct AttentionShape {
  int64_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int64_t train_length = 0;  // tokens of a training window
  double rope_base = 10000;  // encoding.base
  double fraction = 0.75;    // encoding.fraction, of p_rope and partial
  // encoding.factor, s >= 1: methods that extend the context make their tables for s times train_length.
  double factor = 8;
  // encoding.short_factors and long_factors, of longrope: each a number for every component, or none for its default.
  std::vector<double> short_factors = {}, long_factors = {};
  EncodingFormulas formulas = {};
  // Of the parameters that an encoding draws.
  uint64_t seed = 0;
  double init_deviation = 0.02;
  Dtype dtype = Dtype::f32;
  RotaryLayout layout = RotaryLayout::half_split;
  int64_t components() const { return head_dim / 2; }
};

// What an encoding may look at when it acts.
struct PositionalContext {
  int64_t layer = 0;
  int64_t heads = 0, kv_heads = 0;
  Var layer_input;  // [batch, q_length, width], after the norm that precedes attention
  Var key_input;    // the same of every key, [batch, k_length, width]: more only where a cache holds some
  // Of the new tokens, before any rotation: [batch, heads, length, head_dim], k with kv_heads. Undefined, like the
  // inputs, in `embed` and in tables that are the same in every layer; there q tells the dtype only.
  Var q, k;
  Tensor q_positions;          // f64 [batch or 1, q_length]; integers or reals
  Tensor k_positions;          // likewise, of every key; for a rotation, of the new tokens
  int64_t current_length = 0;  // keys in this forward, those of a cache included
  int64_t train_length = 0;
  // Boolean [batch or 1, 1, q_length, k_length]: which keys a query may see, by causality and segments. For biases of
  // positions and transforms.
  Tensor visible;
};

// Cosines and sines for q and k: [batch or 1, heads or 1, length, components], for k with kv_heads. A cosine has the
// shape of its sine. With fewer components than pairs of channels the channels beyond pass through unturned: one
// component does not stand for all. What scales q or k goes into the tables, as a gain of cosine and sine.
struct RotaryTables {
  Var q_cos, q_sin, k_cos, k_sin;
};

struct PositionalEncoding {
  struct Rotation {
    std::function<RotaryTables(const PositionalContext&)> tables;
    bool same_in_every_layer = true;  // then one set of tables serves all, and may look at positions only
    // Where the tables change with current_length: a length whose tables serve `length` too. Equal answers mean equal
    // tables, and keys may stay in a cache while the answer stays. Unless given, the tables are always the same.
    std::function<int64_t(int64_t length)> table_length = {};
    std::optional<Spectrum> spectrum;  // for whoever measures by component
  };
  enum class Side { query, key };
  // q or k [batch, heads, length, head_dim] to what is rotated, [batch, heads, length, any even width] (PoPE). Which
  // channels pair up is AttentionShape::layout. The scale of the scores stays 1 / sqrt(head_dim).
  using Features = std::function<Var(const Var& x, Side side, const PositionalContext&)>;
  // Added to the scaled scores, [heads or 1, n] at n distances (q_position - k_position >= 0 under causality).
  // The same in every layer. Where positions are consecutive, within segments, it stays linear in memory.
  using BiasOfDistance = std::function<Var(const Var& distance)>;  // distance [1, n], in the model's dtype
  // Added to the scaled scores, broadcasting to [batch, heads, q_length, k_length]: of positions, layer, or content.
  // What it returns may be undefined: no bias in this layer.
  using BiasOfPositions = std::function<Var(const PositionalContext&)>;
  // Scores [batch, heads, q_length, k_length] after scale and bias, before mask and softmax.
  using ScoreTransform = std::function<Var(const Var& scores, const PositionalContext&)>;
  // Token embeddings [batch, length, width] to what enters the first block; q_positions are those of the tokens.
  using InputEmbedding = std::function<Var(const Var& embedded, const PositionalContext&)>;

  // Positions of a training batch, f64 [batch or 1, length], in place of 0, 1, 2, ... (randomized positions). Called by
  // whoever trains: phasor's trainer does; a loop of one's own passes them on as ForwardOptions::positions.
  using PositionSampler = std::function<Tensor(int64_t batch, int64_t length, Random& random)>;

  std::optional<Rotation> rotation;
  // A second rotation, for pairs of tokens whose indices are at least `far_from` >= 1 apart (ReRoPE, Self-Extend).
  std::optional<Rotation> far_rotation;
  int64_t far_from = 0;
  Features features;
  BiasOfDistance bias_of_distance;
  BiasOfPositions bias_of_positions;
  ScoreTransform transform;
  InputEmbedding embed;
  PositionSampler training_positions;
  int64_t position_limit = std::numeric_limits<int64_t>::max();  // positions stay below it, where a table ends

  // Whether the rotations' tables are equal for texts of these lengths, so that the keys of one serve in the other.
  bool same_tables(int64_t length, int64_t other) const;

  // Why attention must store its scores, or null if it need not.
  const char* why_unfused() const;

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

// Something that a setting may name, and what it is.
struct NameMeaning {
  std::string name, meaning;
};

struct EncodingEntry {
  std::string summary;
  std::string paper;
  std::vector<Claim> claims;
  // What of this implementation is second-hand, rests on memory or is unknown: a sentence or two; empty if nothing is.
  std::string unsure = {};
  // Made for reading with a model that was trained with rope, which is how it is compared: it learns nothing.
  bool reads_rope = false;
  // Where settings are formulas: what they may name, under a word for where.
  std::vector<std::pair<std::string, std::vector<NameMeaning>>> vocabulary = {};
  // Called once for a model. What the encoding learns goes into `parameters` and is named encoding.NAME in the model.
  // It is shared by the layers; for parameters of each layer add one per layer (shape.layers) and read that of
  // PositionalContext::layer.
  std::function<PositionalEncoding(const AttentionShape& shape, ParameterList& parameters)> make;
};

// Every encoding by name, in the order of the names. Generated from the files of nn/positional/encodings/.
const std::vector<std::pair<std::string, EncodingEntry>>& encodings();
// UsageError with the nearest name if there is none.
const EncodingEntry& encoding_named(const std::string& name);

// What entry.make gives, checked: UsageError where parts contradict each other or the shape. Who makes an encoding for
// a model calls this.
PositionalEncoding make_encoding(const EncodingEntry& entry, const AttentionShape& shape, ParameterList& parameters);

// What an encoding draws for its parameters: a stream apart from those of the model's weights.
Random parameter_random(const AttentionShape& shape);

// Positions first, first + 1, ... as f64 [1, length].
Tensor consecutive_positions(int64_t length, double first = 0);

// max(q_position - k_position, 0) for every query and key, [batch or 1, 1, q_length, k_length]; 0 for later keys, which
// no query sees.
Tensor distances(const PositionalContext& context, Dtype dtype);

// Tables of learned frequencies: gain-free cosines and sines of frequency * position, [batch or 1, heads or 1, length,
// components]. frequencies [components] or [heads, components], of any float dtype; angles are taken in f64 and rounded
// once to `dtype`, and the gradient comes back through the cast.
struct LearnedCosSin {
  Var cos, sin;
};
LearnedCosSin learned_table(const Var& frequencies, const Tensor& positions, Dtype dtype);

// A table of key heads, [batch or 1, kv_heads, length, components], for the query heads: each reads that of its key
// head.
Var for_query_heads(const Var& table, int64_t heads);

// The factor of a shape, for an encoding that extends the context: UsageError unless it is finite and at least 1, and
// train_length at least 1.
double extension_factor(const char* encoding, const AttentionShape& shape);

// The window of a shape, train_length / 4 tokens, for an encoding that turns pairs of tokens further apart in another
// way: UsageError if it holds none.
int64_t far_window(const char* encoding, const AttentionShape& shape);

// Rotary within a window of tokens; beyond it queries and keys turn by positions made of theirs, each f64 [batch or 1,
// length].
using NewPositions = std::function<Tensor(const Tensor& positions)>;
PositionalEncoding rotary_with_far_positions(const Spectrum& spectrum, int64_t window, NewPositions of_queries,
                                             NewPositions of_keys);

// floor(fraction * components): how many components of a shape turn, for an encoding that stops the others. UsageError
// unless that is at least 1 and fraction is in [0, 1].
int64_t turning_components(const char* encoding, const AttentionShape& shape);

// The bias of distances for the positions of a context. By distance where the distance of any two tokens that see each
// other is that of their indices (q stands at the end of k), else by position. `segments` may be undefined.
ScoreBias bias_at(const PositionalEncoding::BiasOfDistance& bias, const PositionalContext& context,
                  const Tensor& segments, Dtype dtype);

}  // namespace phasor
