// An encoding written as settings: a formula for the frequency of each component, one for the bias of each distance.
//
//   encoding.frequency   rad per token, 0 stands still; "" turns nothing. By default base_frequency, which is RoPE
//   encoding.bias        added to the scaled scores; "" adds nothing
//   encoding.learned     names for numbers to learn: one for each component where the frequency reads the name, one for
//                        each head where the bias does
//   encoding.starts      where each of them starts, a formula too
//
// Both formulas are computed where the learned numbers start, before any work, at all components and at the distances
// from 0 to 8 train_length: a part that is not finite there is refused, and so is its gradient, and so are angles that
// are not finite at the last of these positions. Fixed frequencies are those of a Spectrum, computed in double; learned
// ones have a gradient clip of 1, as in LeRoPE. What reads `head` turns every key head by itself, and the query heads
// with the key that they share.
#include "nn/positional/expression.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "nn/positional/expression_operations.hpp"

namespace phasor {

const std::vector<NameMeaning>& frequency_variables() {
  static const std::vector<NameMeaning> list = {
      {"component", "0 for the fastest, to components - 1"},
      {"components", "pairs of channels of a head, head_dim / 2"},
      {"base_frequency", "RoPE's, base^(-component / components), rad per token"},
      {"base_wavelength", "RoPE's, 2 pi / base_frequency, tokens"},
      {"base", "encoding.base"},
      {"head", "0 to heads - 1, of the key heads"},
      {"heads", "how many key heads"},
      {"head_dim", "channels of a head"},
      {"train_length", "train.length, tokens"},
      {"factor", "encoding.factor"},
  };
  return list;
}

const std::vector<NameMeaning>& bias_variables() {
  static const std::vector<NameMeaning> list = {
      {"distance", "position of the query minus that of the key, from 0"},
      {"head", "0 to heads - 1"},
      {"heads", "how many heads"},
      {"head_dim", "channels of a head"},
      {"train_length", "train.length, tokens"},
      {"factor", "encoding.factor"},
  };
  return list;
}

namespace encoding {

namespace {

using Variables = std::map<std::string, Var>;

struct Learned {
  std::string name;
  Var var;
};

Tensor counted(const Shape& shape, const std::function<double(int64_t)>& value) {
  const Tensor t = Tensor::empty(shape, Dtype::f64);
  for (int64_t i = 0; i < t.size(); ++i) t.data<double>()[i] = value(i);
  return t;
}

Variables of_model(const AttentionShape& s, int64_t heads, Dtype dtype) {
  const auto number = [&](auto value) { return Tensor::scalar(static_cast<double>(value), dtype); };
  return {{"head", counted({heads, 1}, [](int64_t i) { return static_cast<double>(i); }).to(dtype)},
          {"heads", number(heads)},
          {"head_dim", number(s.head_dim)},
          {"train_length", number(s.train_length)},
          {"factor", number(s.factor)}};
}

Variables of_frequency(const AttentionShape& s) {
  const Spectrum rope = Spectrum::geometric(s.components(), s.rope_base);
  const auto of_each = [&](auto value) {
    return counted({rope.size()}, [&](int64_t i) { return static_cast<double>(value(rope[i])); });
  };
  Variables v = of_model(s, s.kv_heads, Dtype::f64);
  v["component"] = of_each([](const Component& c) { return c.index; });
  v["components"] = Tensor::scalar(static_cast<double>(rope.size()), Dtype::f64);
  v["base_frequency"] = of_each([](const Component& c) { return c.frequency; });
  v["base_wavelength"] = of_each([](const Component& c) { return c.wavelength(); });
  v["base"] = Tensor::scalar(s.rope_base, Dtype::f64);
  return v;
}

std::vector<std::string> names_of(const std::vector<NameMeaning>& list, const std::string& without = "") {
  std::vector<std::string> names;
  for (const NameMeaning& n : list)
    if (n.name != without) names.push_back(n.name);
  return names;
}

void check_names(const EncodingFormulas& f) {
  require<UsageError>(f.starts.size() == f.learned.size(), "expression",
                      "names in encoding.learned: ", f.learned.size(),
                      ", formulas in encoding.starts: ", f.starts.size(), "; needs a formula for each name");
  std::vector<std::string> taken = {"pi", "and", "or", "not"};
  for (const auto* const list : {&frequency_variables(), &bias_variables()})
    for (const NameMeaning& n : *list) taken.push_back(n.name);
  for (const ExpressionFunction& function : expression_functions()) taken.push_back(function.operation.name);
  for (const std::string& name : f.learned) {
    require<UsageError>(is_expression_name(name), "expression", "encoding.learned has '", name,
                        "'; needs names of letters, digits and _ that do not begin with a digit");
    require<UsageError>(std::find(taken.begin(), taken.end(), name) == taken.end(), "expression",
                        "encoding.learned has '", name, "', which formulas know already; needs another name");
    taken.push_back(name);  // a second time is refused too
  }
}

std::optional<Expression> parsed(const char* setting, const std::string& text,
                                 const std::vector<NameMeaning>& variables, const std::vector<std::string>& learned) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return {};
  return Expression(setting, text, {.variables = names_of(variables), .learned = learned});
}

// What the formula for its start makes of a learned number, of this shape and dtype.
Tensor start_of(const std::string& name, const std::string& text, const std::vector<std::string>& variables,
                const Variables& values, const Shape& shape, Dtype dtype, Random& random) {
  const std::string setting = "encoding.starts of '" + name + "'";
  const Expression formula(setting, text, {.variables = variables, .draws = true});
  const Tensor start = formula.checked({.variables = values, .random = &random, .drawn = shape}, {"component"}).value();
  for (const double value : start.to_vector<double>())
    require<UsageError>(std::isfinite(Tensor::scalar(value, dtype).to(Dtype::f64).item<double>()), "expression",
                        setting, " is ", value, ", which is beyond ", dtype, "; needs a smaller number");
  return start.broadcast_to(shape).to(dtype);
}

// The first of the learned numbers whose gradient at `value` is not finite, else "".
std::string without_gradient(const Var& value, const std::vector<Learned>& learned) {
  if (!value.needs_gradient()) return "";  // nothing is learned, or nothing recorded
  const Gradients gradients = backward(value, Tensor::full(value.shape(), 1, value.dtype()));
  for (const auto& [name, var] : learned)
    for (const double g : gradients[var].to(Dtype::f64).to_vector<double>())
      if (!std::isfinite(g)) return name;
  return "";
}

// One rotation for all heads, or one for each key head. Captures what it needs to compute the learned frequencies
// again.
PositionalEncoding turning(const AttentionShape& s, const Expression& formula, const std::vector<Learned>& learned) {
  const Variables fixed = of_frequency(s);
  const Shape shape = formula.reads("head") ? Shape{s.kv_heads, s.components()} : Shape{s.components()};
  const auto values = [=] {
    Expression::Values v{.variables = fixed};
    for (const auto& [name, var] : learned) v.variables[name] = cast(var, Dtype::f64);
    return v;
  };
  const Var at_start = broadcast_to(formula.checked(values(), {"component"}), shape);
  const std::vector<double> starts = at_start.value().to_vector<double>();
  const double last_position = 8 * static_cast<double>(s.train_length);
  for (int64_t i = 0; i < at_start.size(); ++i) {
    const double frequency = starts[static_cast<size_t>(i)];
    const int64_t component = i % s.components(), head = i / s.components();
    const std::string place = std::to_string(component) + (shape.rank() == 2 ? ", head " + std::to_string(head) : "");
    require<UsageError>(frequency >= 0, "expression", "encoding.frequency is ", frequency, " at component ", place,
                        "; needs 0 or more rad per token");
    require<UsageError>(std::isfinite(frequency * last_position), "expression", "encoding.frequency is ", frequency,
                        " at component ", place, "; its angle at position ", last_position, " is not finite");
  }
  const std::string name = without_gradient(at_start, learned);
  require<UsageError>(name.empty(), "expression", "encoding.frequency: the gradient of '", name,
                      "' is not finite where it starts");
  if (learned.empty() && std::all_of(starts.begin(), starts.end(), [](double f) { return f == 0; })) return {};
  if (learned.empty() && shape.rank() == 1)
    return PositionalEncoding::rotary(Spectrum::geometric(s.components(), s.rope_base).map([&](Component c) {
      c.frequency = starts[static_cast<size_t>(c.index)];
      return c;
    }));

  PositionalEncoding encoding;
  encoding.rotation.emplace();
  encoding.rotation->tables = [=, heads = s.heads](const PositionalContext& c) {
    const Var frequencies = broadcast_to(formula(values()), shape);
    const LearnedCosSin q = learned_table(frequencies, c.q_positions, c.q.dtype());
    const bool same = c.k_positions.is_same_view(c.q_positions);
    const LearnedCosSin k = same ? q : learned_table(frequencies, c.k_positions, c.q.dtype());
    if (shape.rank() == 1) return RotaryTables{q.cos, q.sin, k.cos, k.sin};
    return RotaryTables{for_query_heads(q.cos, heads), for_query_heads(q.sin, heads), k.cos, k.sin};
  };
  return encoding;
}

PositionalEncoding::BiasOfDistance added(const AttentionShape& s, const Expression& formula,
                                         const std::vector<Learned>& learned) {
  const Variables fixed = of_model(s, s.heads, s.dtype);
  const auto values = [=](const Var& distance) {
    Expression::Values v{.variables = fixed, .dtype = distance.dtype()};
    for (const auto& [name, var] : learned) v.variables[name] = var;
    v.variables["distance"] = distance;
    return v;
  };
  const auto probed = [&](int64_t first, int64_t count) {
    const Tensor distance = consecutive_positions(count, static_cast<double>(first)).to(s.dtype);
    return without_gradient(formula.checked(values(distance), {"distance", first}), learned);
  };
  constexpr int64_t block = 4096;  // of distances, to probe in little memory
  const int64_t end = 8 * s.train_length + 1;
  for (int64_t first = 0; first < end; first += block) {
    const int64_t next = std::min(first + block, end);
    if (probed(first, next - first).empty()) continue;
    for (int64_t d = first; d < next; ++d) {
      const std::string name = probed(d, 1);
      require<UsageError>(name.empty(), "expression", "encoding.bias: the gradient of '", name,
                          "' is not finite at distance ", d, ", where it starts");
    }
  }
  return [=](const Var& distance) { return formula(values(distance)); };
}

PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  const EncodingFormulas& f = s.formulas;
  check_names(f);
  const auto frequency = parsed("encoding.frequency", f.frequency, frequency_variables(), f.learned);
  const auto bias = parsed("encoding.bias", f.bias, bias_variables(), f.learned);
  require<UsageError>(!bias || bias->reads("distance"), "expression",
                      "encoding.bias does not read distance: the same number for every key changes nothing");

  Random random = parameter_random(s);
  std::vector<Learned> of_components, of_heads;
  for (size_t i = 0; i < f.learned.size(); ++i) {
    const std::string& name = f.learned[i];
    const bool turns = frequency && frequency->reads(name), adds = bias && bias->reads(name);
    require<UsageError>(turns || adds, "expression", "encoding.learned: '", name,
                        "' is in neither encoding.frequency nor encoding.bias");
    require<UsageError>(!turns || !adds, "expression", "encoding.learned: '", name,
                        "' is in both encoding.frequency and encoding.bias; one number ",
                        "for each component and one for each head need two names");
    require<UsageError>((turns ? frequency : bias)->learns(name), "expression", "encoding.learned: '", name,
                        "' is in conditions only, which pass no gradient: it would not be learned");
    const Tensor start = turns ? start_of(name, f.starts[i], names_of(frequency_variables(), "head"), of_frequency(s),
                                          {s.components()}, s.dtype, random)
                               : start_of(name, f.starts[i], names_of(bias_variables(), "distance"),
                                          of_model(s, s.heads, Dtype::f64), {s.heads, 1}, s.dtype, random);
    const Var var = parameters.add(name, start, {.gradient_clip = turns ? 1.0 : 0.0});
    (turns ? of_components : of_heads).push_back({name, var});
  }

  PositionalEncoding encoding;
  if (frequency) encoding = turning(s, *frequency, of_components);
  if (bias) encoding.bias_of_distance = added(s, *bias, of_heads);
  require<UsageError>(
      encoding.rotation || bias, "expression",
      "nothing is left: encoding.frequency is 0 for every component and there is no encoding.bias; use nope for a ",
      "model without an encoding");
  return encoding;
}

}  // namespace

EncodingEntry expression() {
  std::vector<NameMeaning> functions;
  for (const ExpressionFunction& f : expression_functions()) functions.push_back({f.operation.name, f.meaning});
  return {.summary = "formulas as settings: encoding.frequency, encoding.bias",
          .paper = "as it stands, RoPE: Su et al., arXiv:2104.09864",
          .claims = {Claim::relative, Claim::preserves_norm, Claim::no_parameters},
          .vocabulary = {{"frequency", frequency_variables()}, {"bias", bias_variables()}, {"functions", functions}},
          .make = make};
}

}  // namespace encoding
}  // namespace phasor
