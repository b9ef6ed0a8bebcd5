// The whole model against PyTorch in float64: loss, logits and the gradient of every parameter under three encodings;
// the same of a model of GPT-2's shape; ten AdamW steps; the frequencies of RoPE and the components that HoPE keeps.
#include "golden.hpp"
#include "nn/model.hpp"
#include "nn/optimizer.hpp"

namespace phasor {
namespace {

using golden::Json;

const Json& model_values() {
  static const Json all = golden::load("model.json");
  return all;
}

// The model of model.json with its initial parameters.
Transformer golden_model(const std::string& encoding, Dtype dtype) {
  const Json& settings = model_values().at("settings");
  ModelShape shape;
  shape.vocabulary = settings.at("vocab");
  shape.width = settings.at("width");
  shape.layers = settings.at("layers");
  shape.heads = settings.at("heads");
  shape.hidden = settings.at("hidden");
  shape.train_length = settings.at("train_length");
  shape.rope_base = settings.at("rope_base");
  shape.layout = RotaryLayout::half_split;
  shape.encoding = encoding;
  shape.dtype = dtype;
  Transformer model(shape, 1);
  const Json& initial = model_values().at("parameters");
  CHECK(model.parameters().all().size() == initial.size());
  for (const auto& [name, value] : initial.items()) model.parameters()[name].assign(golden::tensor(value, dtype));
  return model;
}

Tensor ids() { return golden::tensor(model_values().at("ids"), Dtype::i64); }
Tensor targets() { return golden::tensor(model_values().at("targets"), Dtype::i64); }

TEST_CASE("golden: the model under rope, hope and nope") {
  const Json& encodings = model_values().at("encodings");
  CHECK(encodings.size() == 3);
  for (const auto& [encoding, expected] : encodings.items()) {
    for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
      const Transformer model = golden_model(encoding, dtype);
      const Var logits = model.logits(ids());
      const Var loss = cross_entropy(logits, targets());
      golden::check(encoding + ": logits", logits.value(), expected.at("logits"), dtype);
      const Json expected_loss = {{"shape", Json::array()}, {"values", {expected.at("loss")}}};
      golden::check(encoding + ": loss", loss.value(), expected_loss, dtype);
      const Gradients gradients = backward(loss);
      for (const Parameter& p : model.parameters().all())
        golden::check(encoding + ": gradient of " + p.name, gradients[p.var], expected.at("gradients").at(p.name),
                      dtype);
    }
  }
}

// gpt2.py builds it with PyTorch's own layers and gives its parameters Phasor's names and shapes.
TEST_CASE("golden: a model of GPT-2's shape") {
  const Json all = golden::load("gpt2.json");
  const Json& settings = all.at("settings");
  const ModelShape shape{.vocabulary = settings.at("vocab"),
                         .width = settings.at("width"),
                         .layers = settings.at("layers"),
                         .heads = settings.at("heads"),
                         .hidden = settings.at("hidden"),
                         .train_length = settings.at("train_length"),
                         .encoding = "learned",
                         .norm = NormKind::layer,
                         .mlp = MlpKind::gelu_tanh,
                         .bias = LinearBias::yes,
                         .head = HeadKind::tied,
                         .init = InitKind::depth_scaled};
  for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
    ModelShape of_dtype = shape;
    of_dtype.dtype = dtype;
    const Transformer model(of_dtype, 1);
    CHECK(model.parameters().all().size() == all.at("parameters").size());
    for (const auto& [name, value] : all.at("parameters").items())
      model.parameters()[name].assign(golden::tensor(value, dtype));
    const Var logits = model.logits(golden::tensor(all.at("ids"), Dtype::i64));
    const Var loss = cross_entropy(logits, golden::tensor(all.at("targets"), Dtype::i64), settings.at("ignore"));
    golden::check("GPT-2: logits", logits.value(), all.at("logits"), dtype);
    golden::check("GPT-2: loss", loss.value(), {{"shape", Json::array()}, {"values", {all.at("loss")}}}, dtype);
    const Gradients gradients = backward(loss);
    for (const Parameter& p : model.parameters().all()) {
      const Tensor gradient = gradients[p.var];
      if (!p.name.ends_with("attention.k.bias")) {
        golden::check("GPT-2: gradient of " + p.name, gradient, all.at("gradients").at(p.name), dtype);
        continue;
      }
      // Adds the same to every score of a query, so its gradient is 0 but for rounding; the other biases have 1e-2.
      for (const double x : gradient.to(Dtype::f64).to_vector<double>()) CHECK(std::abs(x) <= golden::limit(dtype));
    }
  }
}

// A change of the initial parameters by one rounding moves the results after ten steps by up to 1e-14 (measured in the
// generator's arithmetic), so 1e-12 is a hundred roundings.
TEST_CASE("golden: ten AdamW steps") {
  const Json& expected = model_values().at("adamw");
  const Json& options = expected.at("options");
  const int64_t steps = options.at("steps");
  const double peak = options.at("peak"), final_rate = options.at("final"), clip_norm = options.at("clip_norm");
  const Transformer model = golden_model(options.at("encoding"), Dtype::f64);
  const ParameterList& parameters = model.parameters();
  AdamW optimizer(parameters, {.beta1 = options.at("beta1"),
                               .beta2 = options.at("beta2"),
                               .epsilon = options.at("epsilon"),
                               .weight_decay = options.at("weight_decay")});
  const auto close = [](double got, double want) { return std::abs(got - want) <= 1e-12 * std::abs(want); };
  for (int64_t step = 0; step < steps; ++step) {
    CAPTURE(step);
    const size_t i = static_cast<size_t>(step);
    const Var loss = cross_entropy(model.logits(ids()), targets());
    CHECK(close(loss.value().item<double>(), expected.at("losses")[i]));
    const Gradients gradients = backward(loss);
    GradientList list;
    for (const Parameter& p : parameters.all()) list.push_back(gradients[p.var]);
    const double norm = global_norm(list);
    CHECK(close(norm, expected.at("gradient_norms")[i]));
    const double rate = learning_rate_at(step, steps, options.at("warmup"), peak, final_rate / peak);
    CHECK(close(rate, expected.at("learning_rates")[i]));
    optimizer.step(parameters, list, rate, clip_factor(norm, clip_norm));
  }
  for (const auto& [name, value] : expected.at("final").items())
    golden::check("after ten steps: " + name, parameters[name].value(), value, Dtype::f64);
}

TEST_CASE("golden: frequencies of rope and components kept by hope") {
  const Json all = golden::load("hope.json");
  const auto lengths = all.at("train_lengths").get<std::vector<int64_t>>();
  for (const auto& [name, row] : all.at("rows").items()) {
    CAPTURE(name);
    AttentionShape shape{.layers = 1,
                         .width = row.at("head_dim"),
                         .heads = 1,
                         .kv_heads = 1,
                         .head_dim = row.at("head_dim"),
                         .rope_base = row.at("base")};
    const std::vector<double> frequencies = row.at("frequencies");
    for (size_t i = 0; i < lengths.size(); ++i) {
      shape.train_length = lengths[i];
      CAPTURE(shape.train_length);
      ParameterList parameters;
      const Spectrum rope = encoding_named("rope").make(shape, parameters).rotation->spectrum.value();
      const Spectrum hope = encoding_named("hope").make(shape, parameters).rotation->spectrum.value();
      const int64_t kept = row.at("kept")[i];
      CHECK(hope.turning() == kept);
      REQUIRE(rope.size() == static_cast<int64_t>(frequencies.size()));
      REQUIRE(hope.size() == rope.size());
      for (const Component& c : rope) {
        const double expected = frequencies[static_cast<size_t>(c.index)];
        CHECK(std::abs(c.frequency - expected) <= 1e-14 * expected);
      }
      for (const Component& c : hope) {
        const double expected = c.index < kept ? frequencies[static_cast<size_t>(c.index)] : 0;
        CHECK(std::abs(c.frequency - expected) <= 1e-14 * expected);
      }
    }
  }
}

}  // namespace
}  // namespace phasor
