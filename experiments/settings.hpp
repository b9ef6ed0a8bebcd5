// Settings: everything that decides what a run computes. One table of keys (visit_settings) drives reading TOML,
// --set key=value, writing settings.toml, the checks and the help text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "nn/positional/encoding.hpp"

namespace phasor {

struct ModelSettings {
  int64_t width = 128;
  int64_t layers = 2;
  int64_t heads = 2;
  int64_t kv_heads = 0;
  int64_t hidden = 352;
  std::string norm = "rms";
  std::string mlp = "swiglu";
  bool bias = false;
  std::string head = "learned";
  std::string init = "normal";
  double init_deviation = 0.02;
  bool operator==(const ModelSettings&) const = default;
};

struct EncodingSettings {
  std::string name = "rope";
  std::string layout = "half_split";
  double base = 10000.0;
  double fraction = 0.75;
  double factor = 8.0;
  std::vector<double> short_factors = {};
  std::vector<double> long_factors = {};
  EncodingFormulas formulas = {};
  bool operator==(const EncodingSettings&) const = default;
};

struct TrainSettings {
  int64_t steps = 1200;
  int64_t batch = 16;
  int64_t length = 128;
  int64_t accumulate = 1;
  bool recompute_blocks = false;
  std::string precision = "f32";  // of activations
  double learning_rate = 3e-3;
  double final_learning_rate = 0.1;
  int64_t warmup_steps = 50;
  double weight_decay = 0.1;
  double clip_norm = 1.0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  int64_t seed = 1;
  bool operator==(const TrainSettings&) const = default;
};

struct EvalSettings {
  std::vector<int64_t> lengths = {};
  int64_t bytes = 131072;
  bool operator==(const EvalSettings&) const = default;
};

struct CheckpointSettings {
  int64_t every = 200;
  int64_t keep = 2;
  int64_t snapshots = 8;
  bool operator==(const CheckpointSettings&) const = default;
};

struct DissectSettings {
  std::vector<int64_t> lengths = {};
  int64_t windows = 32;
  int64_t sequences = 64;
  double edge = 0.04;
  double middle = 0.5;
  double activated = 3.0;
  int64_t bytes = 16384;
  int64_t layer = -1;
  int64_t head = -1;
  bool operator==(const DissectSettings&) const = default;
};

struct RunSettings {
  std::string question = "none";
  int64_t seeds = 1;
  std::vector<std::string> encodings = {};
  bool operator==(const RunSettings&) const = default;
};

struct Settings {
  std::string corpus = "kjv";
  ModelSettings model;
  EncodingSettings encoding;
  TrainSettings train;
  EvalSettings eval;
  CheckpointSettings checkpoint;
  DissectSettings dissect;
  RunSettings run;
  // Where the models run: no setting, since what is asked does not depend on it. It is not written and not compared.
  Device device = Device::cpu;
  bool operator==(const Settings&) const = default;
};

// What a value may be. A visitor is called with (key, one line about it, value, range).
struct IntegerRange {
  int64_t low, high;
};
struct RealRange {
  double low, high;
  bool includes_low = true, includes_high = true;
};
struct AnyText {
  bool may_be_empty = false;
  bool may_be_number = false;  // written without quotes
};
struct YesOrNo {};
struct OneOf {
  std::vector<std::string> names;
};

// `settings` is Settings or const Settings. The order is the order of settings.toml.
template <class S, class Visitor>
void visit_settings(S& settings, Visitor&& visit) {
  constexpr int64_t any = std::numeric_limits<int64_t>::max();
  constexpr int64_t size = int64_t{1} << 20;   // an extent: products of three stay far inside 64 bits
  constexpr int64_t count = int64_t{1} << 40;  // of steps or bytes
  constexpr double large = 1e30;               // finite, and finite in f32
  visit("corpus", "text to learn: kjv or file:PATH", settings.corpus, AnyText{});

  visit("model.width", "channels of the residual stream", settings.model.width, IntegerRange{1, size});
  visit("model.layers", "transformer blocks", settings.model.layers, IntegerRange{1, 4096});
  visit("model.heads", "attention heads", settings.model.heads, IntegerRange{1, size});
  visit("model.kv_heads", "key and value heads; 0: as heads", settings.model.kv_heads, IntegerRange{0, size});
  visit("model.hidden", "channels inside the MLP", settings.model.hidden, IntegerRange{1, size});
  visit("model.norm", "rms, or layer (GPT-2)", settings.model.norm, OneOf{{"rms", "layer"}});
  visit("model.mlp", "swiglu, gelu or gelu_tanh (GPT-2)", settings.model.mlp, OneOf{{"swiglu", "gelu", "gelu_tanh"}});
  visit("model.bias", "products add a bias", settings.model.bias, YesOrNo{});
  visit("model.head", "learned, or tied to the embedding", settings.model.head, OneOf{{"learned", "tied"}});
  visit("model.init", "normal, or depth_scaled (GPT-2)", settings.model.init, OneOf{{"normal", "depth_scaled"}});
  visit("model.init_deviation", "of the initial weights", settings.model.init_deviation, RealRange{0, 100, false});

  visit("encoding.name", "positional encoding", settings.encoding.name, AnyText{});
  visit("encoding.layout", "half_split or interleaved", settings.encoding.layout, OneOf{{"half_split", "interleaved"}});
  visit("encoding.base", "ratio of the rotary frequencies", settings.encoding.base, RealRange{1, large, false});
  visit("encoding.fraction", "that turns, of p_rope and partial", settings.encoding.fraction, RealRange{0, 1});
  visit("encoding.factor", "tables are made for this times L", settings.encoding.factor, RealRange{1, large});
  visit("encoding.short_factors", "longrope's up to L; []: ones", settings.encoding.short_factors, RealRange{1, large});
  visit("encoding.long_factors", "longrope's beyond; []: as ntk", settings.encoding.long_factors, RealRange{1, large});
  visit("encoding.frequency", "of expression; \"\": none", settings.encoding.formulas.frequency, AnyText{true});
  visit("encoding.bias", "of expression: added to the scores", settings.encoding.formulas.bias, AnyText{true});
  visit("encoding.learned", "names that the formulas learn", settings.encoding.formulas.learned, AnyText{});
  visit("encoding.starts", "a formula for each of them", settings.encoding.formulas.starts, AnyText{false, true});

  visit("train.steps", "optimizer steps", settings.train.steps, IntegerRange{1, count});
  visit("train.batch", "windows in a step", settings.train.batch, IntegerRange{1, size});
  visit("train.length", "tokens in a window, L", settings.train.length, IntegerRange{2, size});
  visit("train.accumulate", "parts a batch is computed in", settings.train.accumulate, IntegerRange{1, size});
  visit("train.recompute_blocks", "backward computes blocks again", settings.train.recompute_blocks, YesOrNo{});
  visit("train.precision", "of activations: f32, or bf16 on a GPU", settings.train.precision,
        OneOf{{"f32", "bf16"}});
  visit("train.learning_rate", "AdamW's, after the warm-up", settings.train.learning_rate, RealRange{0, 100, false});
  visit("train.final_learning_rate", "at the end, as a fraction", settings.train.final_learning_rate, RealRange{0, 1});
  visit("train.warmup_steps", "steps of linear warm-up", settings.train.warmup_steps, IntegerRange{0, count});
  visit("train.weight_decay", "AdamW's, not on norms, embeddings", settings.train.weight_decay, RealRange{0, 100});
  visit("train.clip_norm", "largest norm of the gradient", settings.train.clip_norm, RealRange{0, large, false});
  visit("train.beta1", "AdamW's mean of the gradient", settings.train.beta1, RealRange{0, 1, true, false});
  visit("train.beta2", "AdamW's mean of its square", settings.train.beta2, RealRange{0, 1, true, false});
  visit("train.epsilon", "AdamW's, added to the root", settings.train.epsilon, RealRange{0, 1, false});
  visit("train.seed", "of weights and data order", settings.train.seed, IntegerRange{0, any});

  visit("eval.lengths", "[]: L/2, L, 2L, 4L, 8L", settings.eval.lengths, IntegerRange{2, size});
  visit("eval.bytes", "held-out bytes at each length", settings.eval.bytes, IntegerRange{2, count});

  visit("checkpoint.every", "steps between checkpoints", settings.checkpoint.every, IntegerRange{1, count});
  visit("checkpoint.keep", "newest checkpoints that stay", settings.checkpoint.keep, IntegerRange{1, count});
  visit("checkpoint.snapshots", "weights kept: at 1/2, 1/4 ... of it", settings.checkpoint.snapshots,
        IntegerRange{0, 40});

  visit("dissect.lengths", "of the ablations; []: L, 2L, 4L", settings.dissect.lengths, IntegerRange{2, size});
  visit("dissect.windows", "held-out, of the contributions", settings.dissect.windows, IntegerRange{1, size});
  visit("dissect.sequences", "random, of the U-shape probe", settings.dissect.sequences, IntegerRange{2, size});
  visit("dissect.edge", "share of keys at the start of a U", settings.dissect.edge, RealRange{0, 0.25, false});
  visit("dissect.middle", "share of keys in its middle", settings.dissect.middle, RealRange{0, 0.5, false});
  visit("dissect.activated", "above this / components: activated", settings.dissect.activated,
        RealRange{0, large, false});
  visit("dissect.bytes", "held-out, of each ablation", settings.dissect.bytes, IntegerRange{2, count});
  visit("dissect.layer", "ablations act there; -1: in all", settings.dissect.layer, IntegerRange{-1, 4095});
  visit("dissect.head", "likewise, query heads", settings.dissect.head, IntegerRange{-1, size});

  visit("run.question", "phasor run sets it", settings.run.question, AnyText{});
  visit("run.encodings", "[]: those of the question", settings.run.encodings, AnyText{});
  visit("run.seeds", "seeds a question trains", settings.run.seeds, IntegerRange{1, 10000});
}

// Where settings come from beyond the defaults: a file, then assignments "key=value", which win.
struct SettingsChanges {
  std::filesystem::path config;  // empty: no file
  std::vector<std::string> assignments;
};

// All functions below: UsageError naming key, value, range and, if they come from a file, FILE:LINE:COLUMN.
Settings apply(Settings defaults, const SettingsChanges& changes);  // validated
void read_toml(Settings& settings, std::string_view text, const std::string& file_name);
void assign(Settings& settings, const std::string& assignment);  // "train.steps=20"; text may go without quotes
void validate(const Settings& settings);                         // what holds between settings

std::string to_toml(const Settings& settings);  // the same bytes for the same settings; reading it gives them back
// "train.steps (900 there, 20 here), ..."; empty if they agree.
std::string differing_keys(const Settings& there, const Settings& here);
// The keys that begin with `prefix`, as --set takes them: "dissect.edge=0.04", ...
std::vector<std::string> assignments_of(const Settings& settings, const std::string& prefix);
std::string settings_help();  // a line for every key, within 80 columns

// With another encoding, and the standard formulas unless it reads them: those given were another's.
Settings with_encoding(Settings settings, const std::string& name);

// eval.lengths, ascending and each once, or L/2, L, 2L, 4L, 8L.
std::vector<int64_t> evaluation_lengths(const Settings& settings);

}  // namespace phasor
