// Every op against PyTorch in float64: output and the gradient of each input under a random cotangent, in f64 and f32.
#include <functional>
#include <map>
#include <set>

#include "autograd/ops.hpp"
#include "core/ops/compare.hpp"
#include "golden.hpp"

namespace phasor {
namespace {

using golden::Json;

// One case of ops.json, read in one dtype.
struct Case {
  std::string name;
  Json options;
  std::map<std::string, Var> inputs;  // leaves
  std::map<std::string, Tensor> ids;

  Case(std::string name_, const Json& json, Dtype dtype, Dtype id_dtype)
      : name(std::move(name_)), options(json.at("options")) {
    for (const auto& [key, value] : json.at("inputs").items()) inputs[key] = Var::leaf(golden::tensor(value, dtype));
    for (const auto& [key, value] : json.at("ids").items()) ids[key] = golden::tensor(value, id_dtype);
  }

  const Var& operator[](const std::string& input) const { return inputs.at(input); }
  Var optional(const std::string& input) const { return inputs.contains(input) ? inputs.at(input) : Var(); }
  int axis() const { return options.at("axis").get<int>(); }
  // The name without its first word: `unary tanh near zero` starts with tanh after that.
  bool second_word_is(const std::string& word) const {
    const std::string rest = name.substr(name.find(' ') + 1);
    return rest.substr(0, rest.find(' ')) == word;
  }
};

using Function = std::function<Var(const Case&)>;

Function by_second_word(std::map<std::string, Function> functions) {
  return [functions = std::move(functions)](const Case& c) {
    for (const auto& [word, f] : functions)
      if (c.second_word_is(word)) return f(c);
    FAIL("no function for the golden case ", c.name);
    return Var();
  };
}

Function unary(Var (*f)(const Var&)) {
  return [f](const Case& c) { return f(c["x"]); };
}

Function binary(Var (*f)(const Var&, const Var&)) {
  return [f](const Case& c) { return f(c["a"], c["b"]); };
}

Function reduction(Var (*f)(const Var&, const std::vector<int>&)) {
  return [f](const Case& c) { return f(c["x"], c.options.at("axes").get<std::vector<int>>()); };
}

// Inputs in the order of their names.
std::vector<Var> parts(const Case& c) {
  std::vector<Var> all;
  for (const auto& [key, leaf] : c.inputs) all.push_back(leaf);
  return all;
}

AttentionOptions attention_options(const Case& c) {
  AttentionOptions options;
  if (c.options.contains("scale")) options.scale = c.options.at("scale").get<double>();
  if (!c.options.value("causal", true)) options.causal = Causal::no;
  if (c.ids.contains("segments")) options.segments = c.ids.at("segments");
  return options;
}

// Whether the fused path can do it.
bool is_fused(const Case& c) { return !c.options.contains("cap") && !c.inputs.contains("far_q"); }

ScoreBias score_bias(const Case& c) { return {c.optional("bias_by_distance"), c.optional("bias")}; }

Var unfused(const Case& c) {
  AttentionExtras extras{.far_q = c.optional("far_q"), .far_k = c.optional("far_k")};
  if (extras.far_q.defined()) extras.far_from = c.options.at("far_from").get<int64_t>();
  if (c.options.contains("cap"))
    extras.transform = [cap = c.options.at("cap").get<double>()](const Var& scores) {
      return cap * tanh(scores / cap);
    };
  return attention_unfused(c["q"], c["k"], c["v"], attention_options(c), score_bias(c), extras);
}

// [out, log_sum_exp] side by side: one cotangent reaches both.
Var with_log_sum_exp(const Case& c) {
  const AttentionOutputs outputs =
      attention_with_log_sum_exp(c["q"], c["k"], c["v"], attention_options(c), score_bias(c));
  const Shape& shape = outputs.log_sum_exp.shape();
  return concat({outputs.out, reshape(outputs.log_sum_exp, {shape[0], shape[1], shape[2], 1})}, -1);
}

// By the first word of the name of a case.
const std::map<std::string, Function>& functions() {
  static const std::map<std::string, Function> all = {
      {"unary", by_second_word({{"neg", unary(neg)},
                                {"exp", unary(exp)},
                                {"log", unary(log)},
                                {"sqrt", unary(sqrt)},
                                {"sin", unary(sin)},
                                {"cos", unary(cos)},
                                {"tanh", unary(tanh)},
                                {"sigmoid", unary(sigmoid)},
                                {"silu", unary(silu)},
                                {"abs", unary(abs)},
                                {"log1p", unary(log1p)},
                                {"rsqrt", unary(rsqrt)},
                                {"gelu", unary(gelu)},
                                {"gelu_tanh", unary(gelu_tanh)},
                                {"relu", unary(relu)},
                                {"softplus", unary(softplus)}})},
      {"clamp", [](const Case& c) { return clamp(c["x"], c.options.at("low"), c.options.at("high")); }},
      {"binary", by_second_word({{"add", binary(add)},
                                 {"sub", binary(sub)},
                                 {"mul", binary(mul)},
                                 {"div", binary(div)},
                                 {"pow", binary(pow)},
                                 {"minimum", binary(minimum)},
                                 {"maximum", binary(maximum)},
                                 {"outer", binary(outer)}})},
      {"pow_number", [](const Case& c) { return pow(c["a"], c.options.at("exponent").get<double>()); }},
      {"reduce", by_second_word({{"sum", reduction(sum)},
                                 {"mean", reduction(mean)},
                                 {"max", reduction(max)},
                                 {"logsumexp", reduction(logsumexp)},
                                 {"variance", reduction(variance)}})},
      {"cumsum", [](const Case& c) { return cumsum(c["x"], c.axis()); }},
      {"softmax", [](const Case& c) { return softmax(c["x"], c.options.value("axis", -1)); }},
      {"log_softmax", [](const Case& c) { return log_softmax(c["x"], c.axis()); }},
      {"where",
       [](const Case& c) {
         const Tensor& condition = c.ids.at("condition");
         return where(not_equal(condition, Tensor::scalar(0, condition.dtype())), c["a"], c["b"]);
       }},
      {"gather", [](const Case& c) { return gather(c["x"], c.axis(), c.ids.at("ids")); }},
      {"scatter_add", [](const Case& c) { return scatter_add(c["x"], c.axis(), c.ids.at("ids"), c["source"]); }},
      {"index_select", [](const Case& c) { return index_select(c["x"], c.axis(), c.ids.at("ids")); }},
      {"concat", [](const Case& c) { return concat(parts(c), c.axis()); }},
      {"stack", [](const Case& c) { return stack(parts(c), c.axis()); }},
      {"flip", [](const Case& c) { return flip(c["x"], c.axis()); }},
      {"pad",
       [](const Case& c) {
         return pad(c["x"], c.axis(), c.options.at("before"), c.options.at("after"), c.options.at("value"));
       }},
      {"matmul", binary(matmul)},
      {"linear", [](const Case& c) { return linear(c["x"], c["weight"], c["bias"]); }},
      {"conv_keys", [](const Case& c) { return conv_keys(c["x"], c["weight"]); }},
      {"layer_norm", [](const Case& c) { return layer_norm(c["x"], c["weight"], c["bias"], c.options.at("epsilon")); }},
      {"rms_norm", [](const Case& c) { return rms_norm(c["x"], c["weight"], c.options.at("epsilon")); }},
      {"swiglu", [](const Case& c) { return swiglu(c["gate"], c["up"]); }},
      {"embedding", [](const Case& c) { return embedding(c["table"], c.ids.at("ids")); }},
      {"cross_entropy_by_row",
       [](const Case& c) {
         return cross_entropy_by_row(c["logits"], c.ids.at("targets"), c.options.at("ignore").get<int64_t>());
       }},
      {"cross_entropy",
       [](const Case& c) {
         return cross_entropy(c["logits"], c.ids.at("targets"), c.options.at("ignore").get<int64_t>());
       }},
      {"rotary",
       [](const Case& c) {
         return rotary(c["x"], c["cos"], c["sin"],
                       c.second_word_is("interleaved") ? RotaryLayout::interleaved : RotaryLayout::half_split);
       }},
      {"attention",
       [](const Case& c) {
         if (!is_fused(c)) return unfused(c);
         return attention(c["q"], c["k"], c["v"], attention_options(c), score_bias(c));
       }},
      {"attention_with_log_sum_exp", with_log_sum_exp},
      // k stands for v, as a constant: log_sum_exp does not read it.
      {"log_sum_exp",
       [](const Case& c) { return attention_with_log_sum_exp(c["q"], c["k"], c["k"].value()).log_sum_exp; }},
  };
  return all;
}

void check_case(const std::string& name, const Json& json, Dtype dtype, Dtype id_dtype, const Function& f) {
  CAPTURE(name);  // beside an exception
  const Case c(name, json, dtype, id_dtype);
  const Var output = f(c);
  golden::check(name + ": output", output.value(), json.at("output"), dtype);
  const Gradients gradients = backward(output, golden::tensor(json.at("cotangent"), dtype));
  for (const auto& [key, leaf] : c.inputs)
    golden::check(name + ": gradient of " + key, gradients[leaf], json.at("gradients").at(key), dtype);
}

const Json& cases() {
  static const Json all = golden::load("ops.json").at("cases");
  return all;
}

TEST_CASE("golden: ops and their gradients") {
  std::set<std::string> used;
  for (const auto& [name, json] : cases().items()) {
    const std::string op = name.substr(0, name.find(' '));
    REQUIRE_MESSAGE(functions().contains(op), "no function for the golden case ", name);
    used.insert(op);
    check_case(name, json, Dtype::f64, Dtype::i64, functions().at(op));
    check_case(name, json, Dtype::f32, Dtype::i32, functions().at(op));
  }
  CHECK(used.size() == functions().size());
}

TEST_CASE("golden: unfused attention and log_sum_exp") {
  int both = 0;
  for (const auto& [name, json] : cases().items()) {
    if (!name.starts_with("attention ")) continue;
    for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
      const Case c(name, json, dtype, Dtype::i64);
      if (!is_fused(c)) continue;
      ++both;
      check_case(name + " (unfused)", json, dtype, Dtype::i32, unfused);
      const Var log_sum_exp =
          attention_with_log_sum_exp(c["q"], c["k"], c["v"], attention_options(c), score_bias(c)).log_sum_exp;
      golden::check(name + ": log_sum_exp", log_sum_exp.value(), json.at("more").at("log_sum_exp"), dtype);
    }
  }
  CHECK(both >= 2 * 16);
}

TEST_CASE("golden: the distance from a golden value sees what it must") {
  const Json expected = {{"shape", {3}}, {"values", {1.0, -4.0, 2.0}}};
  const auto error = [&](const std::vector<double>& values) {
    return golden::relative_error(Tensor::of<double>({3}, values), expected, Dtype::f64);
  };
  CHECK(error({1, -4, 2}) == 0);
  CHECK(error({1, -4, 3}) == 0.25);
  CHECK(!(error({std::nan(""), -4, 2}) <= 1));
  CHECK(!(golden::relative_error(Tensor::of<double>({1, 3}, {1, -4, 2}), expected, Dtype::f64) <= 1));
  CHECK(!(golden::relative_error(Tensor::of<float>({3}, {1, -4, 2}), expected, Dtype::f64) <= 1));
}

}  // namespace
}  // namespace phasor
