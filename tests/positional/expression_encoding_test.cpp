// Encodings as formulas: equal to the compiled ones, and refused before any work where they make no sense.
#include <doctest/doctest.h>

#include <cmath>

#include "autograd/gradcheck.hpp"
#include "nn/model.hpp"
#include "nn/optimizer.hpp"
#include "nn/positional/expression.hpp"
#include "tests/positional/rotation_tables.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/encoding_scores.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

AttentionShape with(AttentionShape shape, const EncodingFormulas& formulas) {
  shape.formulas = formulas;
  return shape;
}

struct Made {
  ParameterList learned;
  PositionalEncoding encoding;
  Made(const std::string& name, const AttentionShape& shape) { encoding = encoding_named(name).make(shape, learned); }
  Made(const AttentionShape& shape, const EncodingFormulas& formulas) : Made("expression", with(shape, formulas)) {}
};

std::string refusal(const EncodingFormulas& formulas, const AttentionShape& shape = shape_of(16, 32)) {
  try {
    Made(shape, formulas);
  } catch (const UsageError& error) {
    const std::string message = error.what();
    return message.substr(0, message.find(" (nn/positional/encodings/expression.cpp:"));
  }
  return "accepted";
}

const EncodingFormulas as_hope = {.frequency = "where(base_wavelength <= train_length, base_frequency, 0)"};
const EncodingFormulas as_kerple_log = {.frequency = "",
                                        .bias = "-max(p, 0.01) * log1p(max(a, 0.01) * distance)",
                                        .learned = {"p", "a"},
                                        .starts = {"max(uniform(0, 2), 0.01)", "max(uniform(0, 1), 0.01)"}};
const EncodingFormulas as_lerope = {
    .frequency = "exp(log_frequency_shift) * base_frequency", .learned = {"log_frequency_shift"}, .starts = {"0"}};
const EncodingFormulas as_harpe = {.frequency =
                                       "(base * (1 + head / (heads - 1) * (5 - 1))) ^ (-component / components)"};

void check_same_tables(const PositionalEncoding& a, const PositionalEncoding& b, Dtype dtype) {
  for (const double first : {0.0, 31.0, 1e6}) {
    const RotaryTables x = tables_at(a, consecutive_positions(40, first), 40, dtype),
                       y = tables_at(b, consecutive_positions(40, first), 40, dtype);
    CHECK(bit_mismatch(x.q_cos.value(), y.q_cos.value()) == "");
    CHECK(bit_mismatch(x.q_sin.value(), y.q_sin.value()) == "");
    CHECK(bit_mismatch(x.k_cos.value(), y.k_cos.value()) == "");
    CHECK(bit_mismatch(x.k_sin.value(), y.k_sin.value()) == "");
  }
}

// Losses of some steps of AdamW, then every weight, in f32.
std::vector<float> trained(const std::string& encoding, const EncodingFormulas& formulas = {}, uint64_t seed = 1) {
  ModelShape shape = small_model(encoding, 24);
  shape.formulas = formulas;
  shape.dtype = Dtype::f32;
  const Transformer model(shape, seed);
  AdamW optimizer(model.parameters(), {});
  Random random{.seed = 2};
  std::vector<float> numbers;
  for (int step = 0; step < 8; ++step) {
    const Tensor ids = random_ids({2, 25}, small_vocabulary, random);
    const Var loss = cross_entropy(model.logits(ids.slice(1, 0, 24)), ids.slice(1, 1, 25));
    numbers.push_back(loss.value().item<float>());
    GradientList gradients = gradients_of(backward(loss), model.parameters());
    clip_each(model.parameters(), gradients);
    optimizer.step(model.parameters(), gradients, 1e-3);
  }
  for (const Parameter& p : model.parameters().all())
    for (const float w : p.var.value().to_vector<float>()) numbers.push_back(w);
  return numbers;
}

}  // namespace

TEST_CASE("expression: as it stands it is rope, with the same spectrum") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64})
    check_same_tables(made("expression", shape_of(16, 32)), made("rope", shape_of(16, 32)), dtype);
  const Spectrum ours = *made("expression", shape_of(16, 32)).rotation->spectrum,
                 rope = *made("rope", shape_of(16, 32)).rotation->spectrum;
  for (const Component& c : rope) CHECK(ours[c.index].frequency == c.frequency);
}

TEST_CASE("expression: hope by formula is hope, its tables and its training to the last bit") {
  for (const int64_t length : {7, 24, 128, 4096}) {
    const AttentionShape shape = shape_of(64, length);
    for (const Dtype dtype : {Dtype::f32, Dtype::f64})
      check_same_tables(Made(shape, as_hope).encoding, made("hope", shape), dtype);
    CHECK(Made(shape, as_hope).encoding.rotation->spectrum->turning() ==
          made("hope", shape).rotation->spectrum->turning());
  }
  const std::vector<float> ours = trained("expression", as_hope);
  CHECK(ours == trained("hope"));
  CHECK(ours != trained("rope"));
}

TEST_CASE("expression: kerple_log by formula: start, bias, gradients and training") {
  const AttentionShape shape = shape_of(16, 32);
  const Made ours(shape, as_kerple_log), compiled("kerple_log", shape);
  CHECK_FALSE(ours.encoding.rotation.has_value());
  const Tensor distance = consecutive_positions(300);
  const Var bias = ours.encoding.bias_of_distance(distance), expected = compiled.encoding.bias_of_distance(distance);
  CHECK(mismatch(bias.value(), Dtype::f64, expected.value(), 1e-12) == "");
  Random random{.seed = 4};
  const Tensor cotangent = normal(bias.shape(), 0, 1, Dtype::f64, random);
  const Gradients of_ours = backward(bias, cotangent), of_compiled = backward(expected, cotangent);
  for (const char* name : {"p", "a"}) {
    CHECK(bit_mismatch(ours.learned[name].value(), compiled.learned[name].value()) == "");
    CHECK(mismatch(of_ours[ours.learned[name]], Dtype::f64, of_compiled[compiled.learned[name]], 1e-12) == "");
    CHECK(global_norm({of_ours[ours.learned[name]]}) > 1);
  }
  // With this seed all start far above the bound of 0.01: kerple_log comes back from it, max() lets nothing come back.
  const std::vector<float> numbers = trained("expression", as_kerple_log, 2);
  for (size_t i = numbers.size() - 8; i < numbers.size(); ++i) CHECK(numbers[i] > 0.05);  // p and a, at the end
  CHECK(numbers == trained("kerple_log", {}, 2));

  // As the logarithm of a sum, a rounding or two apart.
  EncodingFormulas plain = as_kerple_log;
  plain.bias = "-max(p, 0.01) * log(1 + max(a, 0.01) * distance)";
  CHECK(mismatch(Made(shape, plain).encoding.bias_of_distance(distance).value(), Dtype::f64, expected.value(), 1e-12) ==
        "");
}

TEST_CASE("expression: lerope by formula, learned frequencies, to the last bit") {
  const AttentionShape shape = shape_of(16, 32);
  const Made ours(shape, as_lerope), compiled("lerope", shape);
  CHECK_FALSE(ours.encoding.rotation->spectrum.has_value());
  stir(ours.learned, 3);
  stir(compiled.learned, 3);
  check_same_tables(ours.encoding, compiled.encoding, Dtype::f32);
  CHECK(ours.learned.all()[0].options.gradient_clip == 1);
  CHECK(trained("expression", as_lerope) == trained("lerope"));
}

TEST_CASE("expression: harpe by formula, a table for each key head") {
  const AttentionShape shape = shape_of(16, 32);
  const PositionalEncoding ours = Made(shape, as_harpe).encoding, compiled = made("harpe", shape);
  const RotaryTables x = tables_at(ours, consecutive_positions(40)), y = tables_at(compiled, consecutive_positions(40));
  for (const auto& [got, expected] :
       {std::pair{x.q_cos, y.q_cos}, {x.q_sin, y.q_sin}, {x.k_cos, y.k_cos}, {x.k_sin, y.k_sin}})
    CHECK(mismatch(got.value(), Dtype::f64, expected.value(), 1e-13) == "");
}

TEST_CASE("expression: alibi, p_rope, interpolation and ntk by formula") {
  const AttentionShape shape = shape_of(64, 128);
  const Tensor distance = consecutive_positions(1000);
  const Made alibi(shape, {.frequency = "", .bias = "-2 ^ (-8 * (head + 1) / heads) * distance"});
  CHECK(mismatch(alibi.encoding.bias_of_distance(distance).value(), Dtype::f64,
                 Made("alibi", shape).encoding.bias_of_distance(distance).value(), 0) == "");
  for (const auto& [name, formula] : std::vector<std::pair<std::string, std::string>>{
           {"p_rope", "where(component < 0.75 * components, base_frequency, 0)"},
           {"interpolation", "base_frequency / factor"},
           {"ntk", "(base * factor ^ (components / (components - 1))) ^ (-component / components)"}}) {
    CAPTURE(name);
    const std::vector<double> compiled = waves_of(made(name, shape)).frequency;
    check_frequencies(waves_of(Made(shape, {.frequency = formula}).encoding), compiled);
  }
}

TEST_CASE("expression: both parts at once, and their gradients through the scores") {
  AttentionShape shape = shape_of(8, 12);
  const EncodingFormulas both = {
      .frequency = "where(component >= 1, base_frequency * exp(shift) * (1 + head / heads), base_frequency)",
      .bias = "where(distance > 0, -softplus(p) * log(distance), q) + min(distance, 3) * q",
      .learned = {"shift", "p", "q"},
      .starts = {"component / 10", "2 ^ (-8 * (head + 1) / heads)", "uniform(-1, 1)"}};
  const Made made(shape, both);
  CHECK(made.learned["shift"].value().to_vector<double>() == std::vector<double>{0, 0.1, 0.2, 0.3});
  CHECK(made.learned["p"].value().to_vector<double>() == std::vector<double>{0.25, 0.0625, 0.015625, 0.00390625});
  stir(made.learned, 5);
  const EncodingInputs inputs = random_encoding_inputs(shape, 9, 6);
  for (const Parameter& p : made.learned.all()) {
    CAPTURE(p.name);
    const GradcheckResult result =
        gradcheck([&] { return encoded(made.encoding, inputs, consecutive_positions(9), shape).scores; }, {p.var});
    CHECK_MESSAGE(result.worst <= 1e-7, result.message);
  }
}

TEST_CASE("expression: every variable can be read and holds what its line says") {
  const AttentionShape shape = shape_of(16, 32, 3, 500);
  for (const NameMeaning& variable : frequency_variables()) {
    if (variable.name == "head") continue;
    CAPTURE(variable.name);
    std::vector<double> expected;
    for (int64_t i = 0; i < 8; ++i) {
      const double rope = std::pow(500, -static_cast<double>(i) / 8);
      const std::map<std::string, double> values = {
          {"component", i}, {"components", 8}, {"base_frequency", rope}, {"base_wavelength", 6.283185307179586 / rope},
          {"base", 500},    {"heads", 2},      {"head_dim", 16},         {"train_length", 32},
          {"factor", 3}};
      expected.push_back(values.at(variable.name) / 10000);
    }
    check_frequencies(waves_of(Made(shape, {.frequency = "(" + variable.name + ") / 10000"}).encoding), expected);
  }
  const RotaryTables t = tables_at(Made(shape, {.frequency = "head / 10"}).encoding, at_position(1));
  CHECK(t.k_sin.shape() == Shape{1, 2, 1, 8});
  for (int64_t head = 0; head < 4; ++head)  // heads 0 and 1 share key head 0
    CHECK(t.q_sin.value().view<double>()(0, head, 0, 5) == doctest::Approx(head < 2 ? 0 : std::sin(0.1)));

  for (const NameMeaning& variable : bias_variables()) {
    CAPTURE(variable.name);
    const Tensor bias = Made(shape, {.bias = variable.name + " + 0 * distance"})
                            .encoding.bias_of_distance(Tensor::of<double>({1, 2}, {5, 6}))
                            .value();
    for (int64_t head = 0; head < bias.extent(0); ++head) {
      const std::map<std::string, double> values = {{"distance", 5},  {"head", head},       {"heads", 4},
                                                    {"head_dim", 16}, {"train_length", 32}, {"factor", 3}};
      CHECK(bias.view<double>()(head, 0) == values.at(variable.name));
    }
  }
}

TEST_CASE("expression: formulas that make no encoding are refused before any work") {
  const auto learning = [](const std::string& bias, std::vector<std::string> learned, std::vector<std::string> starts) {
    return refusal({.bias = bias, .learned = std::move(learned), .starts = std::move(starts)});
  };
  CHECK(refusal({.frequency = "base_frequncy"}) ==
        "encoding.frequency:1:1: no variable named 'base_frequncy'; did you mean 'base_frequency'?; known: component, "
        "components, base_frequency, base_wavelength, base, head, heads, head_dim, train_length, factor, pi");
  CHECK(refusal({.bias = "-distnce"}) ==
        "encoding.bias:1:2: no variable named 'distnce'; did you mean 'distance'?; known: distance, head, heads, "
        "head_dim, train_length, factor, pi");
  CHECK(refusal({.frequency = "1 / component"}) ==
        "encoding.frequency:1:3: 1 / 0 is inf at component 0; needs a finite number");
  CHECK(refusal({.frequency = "base_frequency - 0.5"})
            .starts_with("expression: encoding.frequency is -0.183772 at component 1; needs 0 or more"));
  CHECK(refusal({.frequency = "base_frequency - head"})
            .starts_with("expression: encoding.frequency is -0.683772 at component 1, head 1; needs 0 or more"));
  // 8 x 32 tokens: just below the largest double, 1.7977e308, and just above it.
  CHECK(refusal({.frequency = "7.02e305"}) == "accepted");
  CHECK(refusal({.frequency = "7.03e305"}) ==
        "expression: encoding.frequency is 7.03e+305 at component 0; its angle at position 256 is not finite");
  CHECK(refusal({.bias = "1 / (distance - 256)"}) ==
        "encoding.bias:1:3: 1 / 0 is inf at distance 256; needs a finite number");
  CHECK(refusal({.bias = "1 / (distance - 257)"}) == "accepted");  // 8 x 32 is the last that is tried
  CHECK(refusal({.bias = "1 / (distance - 9000)"}, shape_of(16, 1200)) ==
        "encoding.bias:1:3: 1 / 0 is inf at distance 9000; needs a finite number");
  CHECK(refusal({.bias = "-head"}) ==
        "expression: encoding.bias does not read distance: the same number for every key changes nothing");
  for (const char* none : {"", " \n", "0", "component - component"})
    CHECK(refusal({.frequency = none}) ==
          "expression: nothing is left: encoding.frequency is 0 for every component and there is no encoding.bias; use "
          "nope for a model without an encoding");
  CHECK(refusal({.frequency = "0", .bias = "-distance"}) == "accepted");
  CHECK(refusal({.frequency = "where(base_wavelength <= train_length, base_frequency, 0)"}, shape_of(16, 6))
            .starts_with("expression: nothing is left"));

  CHECK(learning("-a * distance", {"a"}, {}) ==
        "expression: names in encoding.learned: 1, formulas in encoding.starts: 0; needs a formula for each name");
  for (const char* name : {"", "1a", "a b", "\xc3\xa9", "a.b"})
    CHECK(learning("-distance", {name}, {"1"}) == "expression: encoding.learned has '" + std::string(name) +
                                                      "'; needs names of letters, digits and _ that do not begin with "
                                                      "a digit");
  for (const char* name : {"distance", "component", "pi", "log", "uniform", "where", "and", "head"})
    CHECK(learning("-distance", {name}, {"1"}) == "expression: encoding.learned has '" + std::string(name) +
                                                      "', which formulas know already; needs another name");
  CHECK(learning("-a * distance", {"a", "a"}, {"1", "1"}) ==
        "expression: encoding.learned has 'a', which formulas know already; needs another name");
  CHECK(learning("-distance", {"a"}, {"1"}) ==
        "expression: encoding.learned: 'a' is in neither encoding.frequency nor encoding.bias");
  CHECK(refusal({.frequency = "a", .bias = "-a * distance", .learned = {"a"}, .starts = {"1"}}) ==
        "expression: encoding.learned: 'a' is in both encoding.frequency and encoding.bias; one number for each "
        "component and "
        "one for each head need two names");
  CHECK(learning("where(a > distance, 1, 2)", {"a"}, {"1"}) ==
        "expression: encoding.learned: 'a' is in conditions only, which pass no gradient: it would not be learned");
  CHECK(learning("-a * distance", {"a"}, {"distance"}) ==
        "encoding.starts of 'a':1:1: no variable named 'distance'; known: head, heads, head_dim, train_length, factor, "
        "pi");
  CHECK(refusal({.frequency = "a", .learned = {"a"}, .starts = {"head"}})
            .starts_with("encoding.starts of 'a':1:1: no variable named 'head'; did you mean 'heads'?"));
  CHECK(learning("-a * distance", {"a"}, {"1 / head"}) ==
        "encoding.starts of 'a':1:3: 1 / 0 is inf at head 0; needs a finite number");
  CHECK(learning("-a * distance", {"a"}, {"uniform(2, 1)"}) ==
        "encoding.starts of 'a':1:1: uniform(low, high) has low above high");
  CHECK(learning("-a * distance", {"a"}, {"uniform(-1e308, 1e308)"}) ==
        "encoding.starts of 'a':1:1: uniform(-1e+308, 1e+308) is inf at head 0; needs a finite number");
  AttentionShape in_f32 = shape_of(16, 32);
  in_f32.dtype = Dtype::f32;
  const EncodingFormulas large = {.bias = "-a * distance", .learned = {"a"}, .starts = {"1e300"}};
  CHECK(refusal(large, in_f32) ==
        "expression: encoding.starts of 'a' is 1e+300, which is beyond f32; needs a smaller number");
  CHECK(refusal(large) == "accepted");
  CHECK(learning("-a * distance", {"a"}, {""}) ==
        "encoding.starts of 'a':1:1: needs a number, a name or '('; got the end");
  CHECK(learning("-sqrt(a * distance)", {"a"}, {"1"}) ==
        "expression: encoding.bias: the gradient of 'a' is not finite at distance 0, where it starts");
  CHECK(learning("where(distance > 0, -sqrt(a * distance), 0)", {"a"}, {"1"}) == "accepted");
  CHECK(learning("sqrt(a * abs(distance - 37))", {"a"}, {"1"}) ==
        "expression: encoding.bias: the gradient of 'a' is not finite at distance 37, where it starts");
  CHECK(refusal({.frequency = "base_frequency + sqrt(a)", .learned = {"a"}, .starts = {"0"}}) ==
        "expression: encoding.frequency: the gradient of 'a' is not finite where it starts");
}
