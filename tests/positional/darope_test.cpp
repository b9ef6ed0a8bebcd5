// DaRoPE: which components read their position from the content, and which position that is.
#include <doctest/doctest.h>

#include "tests/positional/rotation_tables.hpp"

using namespace phasor;

namespace {

// head_dim 8 and 8 tokens: component 0 finishes a turn (6.3 tokens), the others, of 63 tokens and more, do not.
constexpr int64_t width = 32, train_length = 8;

// An input whose first channel is `first`, and nothing else.
Tensor input_of(double first) {
  const Tensor x = Tensor::zeros({1, 1, width}, Dtype::f64);
  x.data<double>()[0] = first;
  return x;
}

// The position by which component 1, of frequency 0.1, turns in a key head.
double position_of(const RotaryTables& t, int64_t head) {
  const double cos = t.k_cos.value().view<double>()(0, head, 0, 1), sin = t.k_sin.value().view<double>()(0, head, 0, 1);
  return std::atan2(sin, cos) / 0.1;
}

struct Layers {
  ParameterList learned;
  PositionalEncoding encoding = encoding_named("darope").make(shape_of(8, train_length), learned);

  double position(double first, double position, int64_t head, int64_t layer = 0) const {
    return position_of(tables_at(encoding, at_position(position), 1, Dtype::f64, layer, input_of(first)), head);
  }
};

}  // namespace

TEST_CASE("darope: slow components turn by a position read from the content, each key head and layer its own") {
  const Layers layers;
  REQUIRE(layers.learned.all().size() == 16);
  for (const Parameter& p : layers.learned.all())
    CHECK(p.options.weight_decay_factor == (p.name.ends_with(".w") ? 1 : 0));
  for (int64_t layer = 0; layer < 8; ++layer) {
    const std::string name = "layer." + std::to_string(layer);
    CHECK(layers.learned[name + ".w"].shape() == Shape{width, 2});
    CHECK(bit_mismatch(layers.learned[name + ".a"].value(), Tensor::full({2, 1}, 0.5, Dtype::f64)) == "");
    double squares = 0;
    for (const double w : layers.learned[name + ".w"].value().to_vector<double>()) squares += w * w;
    CHECK(std::sqrt(squares / 64) == doctest::Approx(0.1).epsilon(0.3));
  }
  const Tensor w = Tensor::zeros({width, 2}, Dtype::f64);
  w.view<double>()(0, 0) = 0.7;
  w.view<double>()(0, 1) = -1.3;
  layers.learned["layer.0.w"].assign(w);

  // With odds = exp(w . x) ((m + 1/2) / (L - m - 1/2))^a the position is L odds / (1 + odds); computed to 40 digits.
  CHECK(layers.position(1, 2, 0) == doctest::Approx(4.606822032909838).epsilon(1e-13));
  CHECK(layers.position(1, 2, 1) == doctest::Approx(1.2417642934328552).epsilon(1e-13));
  CHECK(layers.position(1, 0, 0) == doctest::Approx(2.736664513724656).epsilon(1e-13));
  layers.learned["layer.0.a"].assign(Tensor::of<double>({2, 1}, {0.5, 2}));
  CHECK(layers.position(1, 5, 1) == doctest::Approx(4.550317319096737).epsilon(1e-13));
  // Beyond the training length the position in the text counts as the last one there, but for one in a million.
  for (const double m : {8.0, 100000.0})
    CHECK(layers.position(0, m, 0) == doctest::Approx(7.992007988015977).epsilon(1e-13));
  // Other layers have their own.
  layers.learned["layer.1.w"].assign(Tensor::zeros({width, 2}, Dtype::f64));
  CHECK(layers.position(1, 3.5, 0, 1) == doctest::Approx(4).epsilon(1e-13));
  CHECK(std::abs(layers.position(1, 3.5, 0) - 4) > 0.1);
}

TEST_CASE("darope: rope on the fast components, and half a token beyond it on the slow ones where nothing is read") {
  const Layers layers;
  for (const Parameter& p : layers.learned.all())
    p.var.assign(Tensor::full(p.var.shape(), p.name.ends_with(".a") ? 1 : 0, Dtype::f64));
  const PositionalEncoding rope = made("rope", shape_of(8, train_length));
  const Tensor positions = consecutive_positions(train_length), x = Tensor::zeros({1, 8, width}, Dtype::f64);
  const RotaryTables got = tables_at(layers.encoding, positions, 8, Dtype::f64, 0, x),
                     at = tables_at(rope, positions, 8), later = tables_at(rope, consecutive_positions(8, 0.5), 8);
  CHECK(got.k_cos.shape() == Shape{1, 2, 8, 4});
  CHECK(got.q_cos.shape() == Shape{1, 4, 8, 4});
  for (const auto& [table, fast, slow] : {std::tuple{got.q_cos, at.q_cos, later.q_cos},
                                          {got.q_sin, at.q_sin, later.q_sin},
                                          {got.k_cos, at.k_cos, later.k_cos},
                                          {got.k_sin, at.k_sin, later.k_sin}})
    for (int64_t head = 0; head < table.extent(1); ++head) {
      const Tensor of_head = table.value().slice(1, head, head + 1);
      CHECK(bit_mismatch(of_head.slice(3, 0, 1), fast.value().slice(3, 0, 1)) == "");
      CHECK(mismatch(of_head.slice(3, 1, 4), Dtype::f64, slow.value().slice(3, 1, 4), 1e-14) == "");
    }
}

TEST_CASE("darope: the query heads that share a key read its positions, or scores would mix two clocks") {
  const Layers layers;
  const RotaryTables t = tables_at(layers.encoding, at_position(3), 1, Dtype::f64, 2, input_of(2));
  for (int64_t head = 0; head < 4; ++head)
    CHECK(bit_mismatch(t.q_sin.value().slice(1, head, head + 1), t.k_sin.value().slice(1, head / 2, head / 2 + 1)) ==
          "");
  CHECK(std::abs(position_of(t, 0) - position_of(t, 1)) > 1e-3);
}

TEST_CASE("darope: refuses a training length in which every component finishes a turn") {
  ParameterList learned;
  CHECK_THROWS_WITH_AS(
      encoding_named("darope").make(shape_of(8, 6284), learned),
      doctest::Contains("darope: no component is slow: the slowest wavelength is 6283.19 tokens, train.length is 6284; "
                        "train shorter, or with a larger encoding.base"),
      UsageError);
  CHECK_NOTHROW(encoding_named("darope").make(shape_of(8, 6283), learned));
  ParameterList all_slow;
  const PositionalEncoding encoding = encoding_named("darope").make(shape_of(8, 6), all_slow);
  CHECK(tables_at(encoding, at_position(3), 1, Dtype::f64, 0, input_of(1)).k_cos.shape() == Shape{1, 2, 1, 4});
}
