// Components: their parts add up to the score for every encoding that turns any, and their frequencies are those of the
// encodings' formulas.
#include "experiments/dissect/components.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "tests/support/encoding_scores.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

constexpr int64_t train_length = 64, length = 40;  // windows of rerope and self_extend: 16
constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

Transformer stirred_model(const ModelShape& shape) {
  const Transformer model(shape, 3);
  stir(model.parameters(), 5);
  return model;
}

bool turns(const ModelShape& shape) { return Transformer(shape, 3).encoding().rotation.has_value(); }

// The largest difference between Site::score and the sum of its parts, over the largest score.
double worst_difference(const Transformer& model) {
  const Components components = components_of(model);
  Random random{.seed = 8};
  std::vector<Site> sites = components.sites();
  sites.push_back(Site::score);
  double worst = 0, largest = 0;
  int64_t layers = 0;
  visit_layers(model, random_ids({2, length}, small_vocabulary, random), sites, [&](const LayerValues& layer) {
    ++layers;
    const Tensor parts = component_scores(components, layer);
    const View<double> part = parts.view<double>(), score = layer[Site::score].view<double>();
    REQUIRE(parts.shape() == Shape{2, model.shape().heads, components.size, length, length});
    for (int64_t row = 0; row < 2; ++row)
      for (int64_t head = 0; head < model.shape().heads; ++head)
        for (int64_t m = 0; m < length; ++m)
          for (int64_t n = 0; n < length; ++n) {
            double sum = 0;
            for (int64_t c = 0; c < components.size; ++c) sum += part(row, head, c, m, n);
            const double expected = n <= m ? score(row, head, m, n) : 0;
            if (!(std::abs(sum - expected) <= worst)) worst = std::abs(sum - expected);
            largest = std::max(largest, std::abs(expected));
          }
  });
  REQUIRE(layers == model.shape().layers);
  REQUIRE(largest > 0);
  return worst / largest;
}

// NaN equals NaN.
bool close(const std::vector<double>& got, const std::vector<double>& expected) {
  return std::equal(got.begin(), got.end(), expected.begin(), expected.end(), [](double a, double b) {
    return (std::isnan(a) && std::isnan(b)) || std::abs(a - b) <= 1e-9 * std::max(1.0, std::abs(b));
  });
}

// base^(-i / count) for i below `count`.
std::vector<double> rope_frequencies(int64_t count, double base = 10000) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < count; ++i)
    frequencies.push_back(std::exp(-std::log(base) * static_cast<double>(i) / static_cast<double>(count)));
  return frequencies;
}

// Heads of 8 channels: frequencies 1, 0.1, 0.01, 0.001; two turn once within 64 tokens.
void check_frequencies(const std::string& encoding, const std::vector<double>& expected) {
  CAPTURE(encoding);
  const Components components = components_of(stirred_model(small_model(encoding, train_length)));
  CHECK(components.size == std::ssize(expected));
  for (const auto& layer : components.frequencies)
    for (const std::vector<double>& head : layer) CHECK_MESSAGE(close(head, expected), head[0], " ", head[1]);
}

}  // namespace

TEST_CASE("components: their parts add up to the score, for every encoding with a rotation") {
  int64_t count = 0;
  for (const auto& [name, entry] : encodings()) {
    for (const RotaryLayout layout : {RotaryLayout::half_split, RotaryLayout::interleaved}) {
      ModelShape shape = small_model(name, train_length);
      shape.layout = layout;
      if (!turns(shape)) continue;
      CAPTURE(name);
      CHECK(worst_difference(stirred_model(shape)) <= 1e-12);
      ++count;
    }
  }
  CHECK(count >= 2 * 20);
}

TEST_CASE("components: a far rotation acts from its distance on") {
  // Beyond it all pairs turn as if they stood 100 tokens apart: unlike rerope, whose far pairs begin as its near ones.
  const auto all_at = [](double position) {
    return [=](const Tensor& positions) { return Tensor::full(positions.shape(), position, Dtype::f64); };
  };
  const Transformer model = stirred_model(small_model("rope", train_length));
  const Spectrum spectrum = Spectrum::geometric(4, 10000);
  CHECK(worst_difference(model.with_encoding(rotary_with_far_positions(spectrum, 7, all_at(100), all_at(0)))) <= 1e-12);
}

TEST_CASE("components: frequencies of the encodings' formulas") {
  const std::vector<double> rope = {1, 0.1, 0.01, 0.001};
  check_frequencies("rope", rope);
  check_frequencies("xpos", rope);
  check_frequencies("rerope", rope);
  check_frequencies("self_extend", rope);
  check_frequencies("dynamic_ntk", rope);
  check_frequencies("hope", {1, 0.1, 0, 0});
  check_frequencies("interpolation", {1 / 8.0, 0.1 / 8, 0.01 / 8, 0.001 / 8});
  check_frequencies("pope", rope_frequencies(8));
  std::vector<double> partial = rope_frequencies(3);
  partial.push_back(0);  // the channels that pass
  check_frequencies("partial", partial);
  check_frequencies("darope", {1, 0.1, unknown, unknown});
  check_frequencies("fope", {unknown, unknown, 0, 0});
}

TEST_CASE("components: frequencies of their own for layers and heads, and learned ones") {
  const Components harpe = components_of(stirred_model(small_model("harpe", train_length)));
  for (const auto& layer : harpe.frequencies)
    for (size_t head = 0; head < 4; ++head)  // two to a key head
      CHECK(close(layer[head], rope_frequencies(4, head < 2 ? 10000 : 50000)));

  const Components irope = components_of(stirred_model(small_model("irope", train_length)));
  CHECK(close(irope.frequencies[0][3], {1, 0.1, 0.01, 0.001}));
  CHECK(close(irope.frequencies[1][0], {0, 0, 0, 0}));

  // A prior of 1 makes darope's positions those of the tokens where the content is 0, and only there.
  const Transformer darope(small_model("darope", train_length), 3);
  for (const Parameter& p : darope.parameters().all())
    if (p.name.ends_with(".a")) p.var.assign(Tensor::full(p.var.shape(), 1, Dtype::f64));
  CHECK(close(components_of(darope).frequencies[0][0], {1, 0.1, unknown, unknown}));

  const Transformer lerope(small_model("lerope", train_length), 3);
  for (const Parameter& p : lerope.parameters().all())
    if (p.name == "encoding.log_frequency_shift")
      p.var.assign(Tensor::of<double>({4}, {0, std::log(2.0), -std::log(2.0), std::log(3.0)}));
  CHECK(close(components_of(lerope).frequencies[1][2], {1, 0.2, 0.005, 0.003}));
}

TEST_CASE("components: frequencies are those of the spectrum, where an encoding has one, in f32 too") {
  for (const auto& [name, entry] : encodings())
    for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
      ModelShape shape = small_model(name, train_length);
      shape.dtype = dtype;
      if (!turns(shape)) continue;
      CAPTURE(name);
      const Transformer model = stirred_model(shape);
      const Components components = components_of(model);
      REQUIRE(std::ssize(components.channels) == components.size);
      REQUIRE(components.frequencies.size() == 2);
      const PositionalEncoding::Rotation& rotation = *model.encoding().rotation;
      if (!rotation.spectrum || !rotation.same_in_every_layer) continue;
      std::vector<double> expected;
      for (const Component& c : *rotation.spectrum) expected.push_back(c.frequency);
      expected.resize(static_cast<size_t>(components.size), 0);
      for (const auto& layer : components.frequencies)
        for (const std::vector<double>& head : layer) CHECK(close(head, expected));
    }
}

TEST_CASE("components: wavelengths, and how many turn within the training length") {
  const Components hope = components_of(stirred_model(small_model("hope", train_length)));
  CHECK(hope.wavelength(0, 0, 1) == doctest::Approx(20 * std::numbers::pi));
  CHECK(std::isinf(hope.wavelength(1, 3, 2)));
  CHECK(hope.within_train_length() == 2);
  CHECK(components_of(stirred_model(small_model("rope", 62))).within_train_length() == 1);
  CHECK(components_of(stirred_model(small_model("darope", train_length))).within_train_length() == 2);
}

TEST_CASE("components: channels as the layout pairs them") {
  using Pairs = std::vector<std::array<int64_t, 2>>;
  ModelShape shape = small_model("partial", train_length);  // 6 of 8 channels turn
  CHECK(components_of(Transformer(shape, 3)).channels == Pairs{{0, 3}, {1, 4}, {2, 5}, {6, 7}});
  shape.layout = RotaryLayout::interleaved;
  CHECK(components_of(Transformer(shape, 3)).channels == Pairs{{0, 1}, {2, 3}, {4, 5}, {6, 7}});
}

TEST_CASE("components: what turns none is refused") {
  for (const char* const name : {"nope", "alibi"}) {
    const Transformer model(small_model(name, train_length), 3);
    const std::string message = refusal([&] { components_of(model); });
    CHECK(message.starts_with("dissect: " + std::string(name) + " turns no components; needs an encoding with"));
  }
}
