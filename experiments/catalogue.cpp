// An encoding is asked on a few tokens: its parts tell what they are by being there and by what they give.
#include "experiments/catalogue.hpp"

#include <algorithm>

#include "core/ops/attention.hpp"
#include "experiments/report/text.hpp"
#include "experiments/settings.hpp"

namespace phasor {
namespace {

constexpr int64_t tokens = 3;

AttentionShape asked_shape() {
  return {.layers = 2, .width = 64, .heads = 4, .kv_heads = 2, .head_dim = 16, .train_length = 128};
}

struct Part {
  std::string name;
  std::vector<Var> given;
};

// What each part gives in layer 0 for three tokens of zeros, in a text of `text_length` tokens.
std::vector<Part> parts_of(const PositionalEncoding& encoding, const AttentionShape& s, int64_t text_length) {
  const Var x = Tensor::zeros({1, tokens, s.width}, s.dtype);
  PositionalContext c;
  c.heads = s.heads, c.kv_heads = s.kv_heads;
  c.q = Tensor::zeros({1, s.heads, tokens, s.head_dim}, s.dtype);
  c.k = Tensor::zeros({1, s.kv_heads, tokens, s.head_dim}, s.dtype);
  c.layer_input = c.key_input = x;
  c.q_positions = c.k_positions = consecutive_positions(tokens);
  c.current_length = text_length;
  c.train_length = s.train_length;
  c.visible = visible_pairs(tokens, tokens, {});

  std::vector<Part> parts;
  const auto rotation = [&](const char* name, const std::optional<PositionalEncoding::Rotation>& r) {
    if (!r) return;
    const RotaryTables t = r->tables(c);
    parts.push_back({name, {t.q_cos, t.q_sin, t.k_cos, t.k_sin}});
  };
  using Side = PositionalEncoding::Side;
  if (encoding.embed) parts.push_back({"embedding", {encoding.embed(x, c)}});
  if (encoding.features)
    parts.push_back({"features", {encoding.features(c.q, Side::query, c), encoding.features(c.k, Side::key, c)}});
  rotation("rotation", encoding.rotation);
  rotation("far rotation", encoding.far_rotation);
  if (encoding.bias_of_distance)
    parts.push_back({"bias of distances", {encoding.bias_of_distance(consecutive_positions(tokens).to(s.dtype))}});
  if (encoding.bias_of_positions) parts.push_back({"bias of positions", {encoding.bias_of_positions(c)}});
  if (encoding.transform)
    parts.push_back(
        {"transform of scores", {encoding.transform(Tensor::zeros({1, s.heads, tokens, tokens}, s.dtype), c)}});
  if (encoding.training_positions) {
    Random random{.seed = 1};
    parts.push_back({"training positions", {encoding.training_positions(1, tokens, random)}});
  }
  return parts;
}

PositionalEncoding made(const EncodingEntry& entry, const AttentionShape& shape) {
  ParameterList learned;
  return make_encoding(entry, shape, learned);
}

// Every number that the parts give in a text as short as that, and in one beyond the training length.
std::vector<double> numbers_of(const EncodingEntry& entry, const AttentionShape& shape) {
  const PositionalEncoding encoding = made(entry, shape);
  std::vector<double> numbers;
  for (const int64_t text_length : {tokens, 8 * shape.train_length})
    for (const Part& part : parts_of(encoding, shape, text_length))
      for (const Var& given : part.given) {
        if (!given.defined()) continue;
        const std::vector<double> more = given.value().to(Dtype::f64).to_vector<double>();
        numbers.insert(numbers.end(), more.begin(), more.end());
      }
  return numbers;
}

std::string joined(const std::vector<std::string>& parts, const std::string& nothing) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text.empty() ? nothing : text;
}

std::string text_of(Claim claim) {
  switch (claim) {
    case Claim::relative:
      return "scores depend on differences of positions only";
    case Claim::preserves_norm:
      return "q and k keep their lengths";
    case Claim::no_parameters:
      return "nothing is learned";
  }
  return "";
}

std::string short_text_of(Claim claim) {
  switch (claim) {
    case Claim::relative:
      return "relative";
    case Claim::preserves_norm:
      return "keeps lengths";
    case Claim::no_parameters:
      return "learns nothing";
  }
  return "";
}

std::string file_of(const std::string& name) { return "nn/positional/encodings/" + name + ".cpp"; }

// Of the encoding for train.length = 128: what it cannot do.
std::vector<std::string> limits_of(const PositionalEncoding& encoding, const AttentionShape& shape) {
  std::vector<std::string> limits;
  if (encoding.position_limit == shape.train_length)
    limits.push_back("positions stay below train.length");
  else if (encoding.position_limit != PositionalEncoding().position_limit)
    limits.push_back("positions stay below " + std::to_string(encoding.position_limit));
  if (encoding.rotation && encoding.rotation->table_length)
    limits.push_back("its tables change with the length of the text: a cache of keys serves until then");
  if (encoding.why_unfused()) limits.push_back(std::string("attention stores its scores: ") + encoding.why_unfused());
  if (encoding.bias_of_positions) limits.push_back("attention stores its biases: memory grows as the length squared");
  return limits;
}

// A title, and lines beside it; nothing if there are none.
std::string field(const std::string& title, const std::vector<std::string>& lines) {
  constexpr size_t indent = 11, width = 80 - indent;
  std::string text;
  for (const std::string& line : lines) {
    std::string left = text.empty() ? title : "";
    left.resize(indent, ' ');
    std::string right = wrapped(line, width);
    for (size_t at = right.find('\n'); at != std::string::npos; at = right.find('\n', at + indent))
      right.insert(at + 1, indent, ' ');
    text += left + right + "\n";
  }
  return text;
}

}  // namespace

std::string mechanism(const EncodingEntry& entry) {
  const AttentionShape shape = asked_shape();
  std::vector<std::string> names;
  for (const Part& part : parts_of(made(entry, shape), shape, tokens)) {
    const bool learned = std::any_of(part.given.begin(), part.given.end(),
                                     [](const Var& given) { return given.defined() && given.needs_gradient(); });
    names.push_back((learned ? "learned " : "") + part.name);
  }
  return joined(names, "none");
}

std::vector<std::string> settings_read(const EncodingEntry& entry) {
  const AttentionShape shape = asked_shape();
  const std::vector<double> factors(static_cast<size_t>(shape.components()), 3), plain = numbers_of(entry, shape);
  std::vector<std::string> settings;
  const auto reads = [&](const AttentionShape& changed) {
    try {
      return numbers_of(entry, changed) != plain;
    } catch (const Error&) {  // refused
      return true;
    }
  };
  const auto try_out = [&](const char* setting, auto change) {
    AttentionShape changed = shape;
    change(changed);
    if (reads(changed)) settings.push_back(setting);
  };
  try_out("encoding.base", [](AttentionShape& s) { s.rope_base = 5000; });
  try_out("encoding.fraction", [](AttentionShape& s) { s.fraction = 0.5; });
  try_out("encoding.factor", [](AttentionShape& s) { s.factor = 4; });
  try_out("encoding.short_factors", [&](AttentionShape& s) { s.short_factors = factors; });
  try_out("encoding.long_factors", [&](AttentionShape& s) { s.long_factors = factors; });
  try_out("encoding.frequency", [](AttentionShape& s) { s.formulas.frequency = "0.5"; });
  try_out("encoding.bias", [](AttentionShape& s) { s.formulas.bias = "-distance"; });
  // Refused without each other.
  try_out("encoding.learned", [](AttentionShape& s) { s.formulas.learned = {"a"}; });
  try_out("encoding.starts", [](AttentionShape& s) { s.formulas.starts = {"1"}; });
  return settings;
}

std::string encoding_sheet(const std::string& name) {
  const EncodingEntry& entry = encoding_named(name);
  const AttentionShape shape = asked_shape();
  std::vector<std::string> claims, settings;
  for (const Claim claim : entry.claims) claims.push_back(text_of(claim));
  const std::vector<std::string> read = settings_read(entry);
  const Settings defaults;
  visit_settings(defaults, [&](std::string_view key, std::string_view about, const auto&, const auto&) {
    if (std::find(read.begin(), read.end(), key) != read.end())
      settings.push_back(std::string(key) + ": " + std::string(about));
  });
  if (claims.empty()) claims = {"none"};
  std::string vocabulary;
  for (const auto& [where, names] : entry.vocabulary) {
    std::vector<std::string> lines;
    for (const NameMeaning& n : names) lines.push_back(n.name + ": " + n.meaning);
    vocabulary += field(where, lines);
  }
  return name + ": " + entry.summary + "\n\n" + field("paper", {entry.paper}) + field("file", {file_of(name)}) +
         field("mechanism", {mechanism(entry)}) + field("holds", claims) +
         field("limits", limits_of(made(entry, shape), shape)) +
         field("unsure", {entry.unsure.empty() ? "nothing that we know of" : entry.unsure}) +
         field("settings", settings) + vocabulary +
         (entry.reads_rope ? field("use", {"phasor eval RUN --encoding " + name + ", of a model trained with rope"})
                           : "");
}

std::string encodings_markdown() {
  std::string text = "| name | what it does | mechanism | holds | paper |\n|---|---|---|---|---|\n";
  const auto cell = [](std::string words) {
    for (size_t bar = words.find('|'); bar != std::string::npos; bar = words.find('|', bar + 2))
      words.insert(bar, "\\");
    return words + " | ";
  };
  for (const auto& [name, entry] : encodings()) {
    std::vector<std::string> claims;
    for (const Claim claim : entry.claims) claims.push_back(short_text_of(claim));
    std::string row = "| [`" + name + "`](" + file_of(name) + ") | " + cell(entry.summary) + cell(mechanism(entry)) +
                      cell(joined(claims, "")) + cell(entry.paper);
    row.pop_back();
    text += row + "\n";
  }
  return text;
}

}  // namespace phasor
