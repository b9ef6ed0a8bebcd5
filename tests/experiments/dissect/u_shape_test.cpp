// The U-shape probe on models whose scores are known functions of the distance.
#include "experiments/dissect/u_shape.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "experiments/corpora/corpus.hpp"
#include "experiments/dissect/components.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

constexpr int64_t bos = 3, width = 16, heads = 2, head_dim = 8;

ModelShape tiny(const std::string& encoding, int64_t train_length) {
  return {.vocabulary = 4,
          .width = width,
          .layers = 2,
          .heads = heads,
          .hidden = 8,
          .train_length = train_length,
          .encoding = encoding,
          .dtype = Dtype::f64};
}

// Nothing is added to the stream, so that every layer reads the embedding; q and k are 0.
void silence(const Transformer& model) {
  for (const char* layer : {"block.0.", "block.1."})
    for (const char* weight : {"attention.q.weight", "attention.k.weight", "attention.out.weight", "mlp.down.weight"})
      fill(model.parameters()[std::string(layer) + weight].value(), 0);
}

// Embeddings are signs, so that the norm leaves them as they are, but for its epsilon.
constexpr double norm_squared = 1 / (1 + 1e-5);

void set_token(const Transformer& model, int64_t id, int64_t negative_channel) {
  const Tensor row = model.parameters()["embedding.weight"].value().select(0, id);
  fill(row, 1);
  if (negative_channel >= 0) fill(row.slice(0, negative_channel, negative_channel + 1), -1);
}

void set_weight(const Transformer& model, int64_t layer, const char* which, int64_t input, int64_t output,
                double value) {
  const std::string name = "block." + std::to_string(layer) + ".attention." + which + ".weight";
  fill(model.parameters()[name].value().select(0, input).slice(0, output, output + 1), value);
}

Tensor windows_of(const std::vector<int32_t>& tokens, int64_t length) {
  const Tensor ids = Tensor::empty({std::ssize(tokens), length}, Dtype::i32);
  for (int64_t window = 0; window < ids.extent(0); ++window)
    for (int64_t token = 0; token < length; ++token)
      ids.view<int32_t>()(window, token) = token == 0 ? bos : tokens[static_cast<size_t>(window)];
  return ids;
}

struct Moments {
  double mean = 0, deviation = 0;
};
Moments moments_of(const std::vector<double>& x) {
  Moments m;
  for (const double v : x) m.mean += v / static_cast<double>(x.size());
  for (const double v : x) m.deviation += (v - m.mean) * (v - m.mean) / static_cast<double>(x.size());
  m.deviation = std::sqrt(m.deviation);
  return m;
}

}  // namespace

TEST_CASE("u-shape: a planted parabola has the depth that arithmetic gives it") {
  // Over n keys a parabola around their middle has the variance (n^2 - 1) (n^2 - 4) / 180; the mean square of the m
  // middle ones is (m^2 - 1) / 12, of the first four of a hundred (49.5^2 + 48.5^2 + 47.5^2 + 46.5^2) / 4.
  const double mean = 9999.0 / 12, deviation = std::sqrt(9999.0 * 9996.0 / 180);
  const double expected = (2305.25 - 2499.0 / 12) / deviation;
  const EncodingEntry parabola = {
      .summary = "", .paper = "", .claims = {}, .make = [](const AttentionShape&, ParameterList&) {
        return PositionalEncoding::bias([](const Var& distance) { return (distance - 49.5) * (distance - 49.5); });
      }};
  const Transformer model(tiny("", 101), 1, parabola);
  silence(model);
  const UShape u = u_shape(model, windows_of({0, 1, 0}, 101), {});
  CHECK(u.depth.dimensions == std::vector<Dimension>{{.name = "layer", .words = {"0", "1", "all"}}});
  CHECK(u.curve.dimensions[1].numbers.front() == 1);
  CHECK(u.curve.dimensions[1].numbers.back() == 100);
  for (const int64_t layer : {0, 1, 2}) {
    CHECK(u.depth.at({layer}) == doctest::Approx(expected).epsilon(1e-12));
    CHECK(u.recency.at({layer}) == doctest::Approx(expected).epsilon(1e-12));
    CHECK(u.depth_half_width.at({layer}) == doctest::Approx(0));
    CHECK(u.curve.at({layer, 0}) == doctest::Approx((49.5 * 49.5 - mean) / deviation).epsilon(1e-12));
    CHECK(u.bos.at({layer}) == doctest::Approx((50.5 * 50.5 - mean) / deviation).epsilon(1e-12));
  }
  CHECK(u.component.values.empty());
  CHECK(u.share.values.empty());

  // A share of the keys that is less than one of them is one; a larger middle is less deep.
  const UShape narrow = u_shape(model, windows_of({0, 1, 0}, 101), {.edge = 1e-6, .middle = 1e-6});
  CHECK(narrow.depth.at({0}) == doctest::Approx((49.5 * 49.5 - 0.25) / deviation).epsilon(1e-12));
}

TEST_CASE("u-shape: cosines by component, two heads, and a [bos] that stands apart") {
  constexpr int64_t length = 40;
  const Transformer model(tiny("rope", length), 1);
  silence(model);
  for (const int64_t token : {0, 1, 2}) set_token(model, token, -1);
  set_token(model, bos, 0);  // its keys have the other sign
  // Half split: component c has the channels c and c + 4 of its head. Head 0 turns component 1 only, head 1 also
  // component 3; the last layer has component 2 alone.
  const auto plant = [&](int64_t layer, int64_t head, int64_t component, double q, double k) {
    set_weight(model, layer, "q", 1, head * head_dim + component, q);
    set_weight(model, layer, "k", 0, head * head_dim + component, k);
  };
  plant(0, 0, 1, 2, 3);
  plant(0, 1, 1, 1, 4);
  plant(0, 1, 3, 5, 1);
  plant(1, 0, 2, 2, 2);
  const auto cosine = [](double component, double key) {
    return std::cos(std::pow(10000, -component / 4) * (length - 1 - key));
  };
  const double scale = norm_squared / std::sqrt(8.0) / 2;  // a mean over two heads
  const auto part = [&](int64_t layer, int64_t c, double key) {
    if (layer == 0) return c == 1 ? scale * 10 * cosine(1, key) : c == 3 ? scale * 5 * cosine(3, key) : 0;
    return c == 2 ? scale * 4 * cosine(2, key) : 0;
  };

  const DissectSettings settings = {.edge = 0.1, .middle = 0.25, .activated = 1.5};
  const UShape u = u_shape(model, windows_of({0, 1, 2, 0}, length), settings);
  REQUIRE(u.component.dimensions[1].size() == 4);
  for (const int64_t layer : {0, 1, 2}) {
    CAPTURE(layer);
    const auto of_layer = [&](int64_t c, double key) {
      return layer < 2 ? part(layer, c, key) : (part(0, c, key) + part(1, c, key)) / 2;
    };
    const auto total = [&](double key) {
      return of_layer(0, key) + of_layer(1, key) + of_layer(2, key) + of_layer(3, key);
    };
    std::vector<double> scores;
    for (int key = 1; key < length; ++key) scores.push_back(total(key));
    const Moments m = moments_of(scores);
    CHECK(u.bos.at({layer}) == doctest::Approx((-total(0) - m.mean) / m.deviation).epsilon(1e-9));
    for (int64_t key = 1; key < length; ++key)
      CHECK(u.curve.at({layer, key - 1}) ==
            doctest::Approx((total(static_cast<double>(key)) - m.mean) / m.deviation).epsilon(1e-9));
    double shares = 0;
    for (int64_t c = 0; c < 4; ++c) {
      std::vector<double> parts;
      for (int key = 1; key < length; ++key) parts.push_back(of_layer(c, key));
      const Moments of_part = moments_of(parts);
      double share = 0;
      for (size_t i = 0; i < parts.size(); ++i)
        share += (parts[i] - of_part.mean) * (scores[i] - m.mean) / (m.deviation * m.deviation * (length - 1));
      CHECK(u.share.at({layer, c}) == doctest::Approx(share).epsilon(1e-9));
      CHECK(u.activated.at({layer, c}) == (share > 1.5 / 4 ? 1 : 0));
      for (int64_t key = 1; key < length; ++key)
        CHECK(u.component.at({layer, c, key - 1}) ==
              doctest::Approx((parts[static_cast<size_t>(key - 1)] - of_part.mean) / m.deviation).epsilon(1e-9));
      shares += u.share.at({layer, c});
    }
    CHECK(shares == doctest::Approx(1).epsilon(1e-9));
    // 39 keys: three at each end, nine in the middle, from the sixteenth on.
    const auto mean = [&](size_t first, size_t count) {
      return std::accumulate(&scores[first], &scores[first] + count, 0.0) / static_cast<double>(count);
    };
    CHECK(u.depth.at({layer}) == doctest::Approx((mean(0, 3) - mean(15, 9)) / m.deviation).epsilon(1e-9));
    CHECK(u.recency.at({layer}) == doctest::Approx((mean(36, 3) - mean(15, 9)) / m.deviation).epsilon(1e-9));
  }
  CHECK(u.share.at({1, 2}) == doctest::Approx(1).epsilon(1e-9));
  CHECK(u.activated.at({0, 1}) == 1);
  CHECK(u.activated.at({1, 1}) == 0);
}

TEST_CASE("u-shape: the standard error is that of groups of windows") {
  constexpr int64_t length = 30;
  const Transformer model(tiny("rope", length), 1);
  silence(model);
  for (const int64_t token : std::vector<int64_t>{0, 2, bos}) set_token(model, token, -1);
  set_token(model, 1, 0);
  for (const int64_t layer : {0, 1}) {
    set_weight(model, layer, "q", 1, 2, 1);
    set_weight(model, layer, "k", 0, 2, 1);
    set_weight(model, layer, "k", 1, 2, 2);  // the key of token 0 is 2 + 1, that of token 1 is 2 - 1
  }
  // Half of the depths are 3 x, half are x: their mean is 2 x, the sum of squares around it 8 x^2.
  const auto half_width = [&](const std::vector<int32_t>& tokens) {
    const UShape u = u_shape(model, windows_of(tokens, length), {});
    return u.depth_half_width.at({0}) / std::abs(u.depth.at({0}));
  };
  constexpr double of_eight = 2.364624252, of_two = 12.70620474;  // Student's 0.975 quantiles
  CHECK(half_width({0, 1, 1, 0, 0, 1, 0, 1}) == doctest::Approx(of_eight * 0.5 / std::sqrt(7)).epsilon(1e-8));
  CHECK(half_width({0, 1}) == doctest::Approx(of_two * 0.5).epsilon(1e-8));
  // Sixteen windows make eight groups of two neighbours.
  CHECK(half_width({0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1}) ==
        doctest::Approx(of_eight * 0.5 / std::sqrt(7)).epsilon(1e-8));
  CHECK(half_width({0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1}) == doctest::Approx(0).epsilon(1e-9));
  // Nine windows make a group of two and seven of one. Their depths are x but for the last, 2 x (of 1 and 3), so their
  // error is x / 8; the depth is over windows, 11 x / 9.
  CHECK(half_width({1, 1, 1, 1, 1, 1, 1, 1, 0}) == doctest::Approx(of_eight * 9.0 / 88).epsilon(1e-8));
}

TEST_CASE("u-shape: no more windows are read at once than an evaluation takes, however many there are") {
  constexpr int64_t length = 512, windows = 8 * 9;  // eight groups; 4096 tokens are eight windows
  PositionalEncoding watched = Transformer(tiny("rope", length), 1).encoding();
  int64_t most = 0;
  watched.features = [&](const Var& x, PositionalEncoding::Side, const PositionalContext&) {
    most = std::max(most, x.extent(0));
    return x;
  };
  const Transformer model(tiny("rope", length), 1);
  const std::vector<int32_t> tokens(windows, 0);
  const UShape many = u_shape(model.with_encoding(watched), windows_of(tokens, length), {}),
               two = u_shape(model, windows_of({0, 0}, length), {});
  CHECK(most == 8);
  for (size_t i = 0; i < two.curve.values.size(); ++i)
    CHECK(many.curve.values[i] == doctest::Approx(two.curve.values[i]).epsilon(1e-6));
}

TEST_CASE("u-shape: components add up to the curve in every encoding that adds nothing to them") {
  int64_t checked = 0;
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const Transformer model(small_model(name, 24), 1);
    for (const Parameter& p : model.parameters().all())
      if (p.name.ends_with("q.weight") || p.name.ends_with("k.weight")) {
        Random random{.seed = 7};
        copy_into(p.var.value(), normal(p.var.shape(), 0, 1, Dtype::f64, random));
      }
    const Tensor ids = Tensor::empty({6, 24}, Dtype::i32);
    Random random{.seed = 3};
    for (int64_t i = 0; i < ids.size(); ++i)
      ids.data<int32_t>()[i] = static_cast<int32_t>(random.below(small_vocabulary));
    const UShape u = u_shape(model, ids, {});
    const PositionalEncoding& e = model.encoding();
    if (!e.rotation || e.bias_of_distance || e.bias_of_positions || e.transform) continue;
    ++checked;
    for (int64_t layer = 0; layer < 3; ++layer) {
      const int64_t size = u.share.dimensions[1].size();
      double shares = 0;
      for (int64_t c = 0; c < size; ++c) shares += u.share.at({layer, c});
      CHECK(shares == doctest::Approx(1).epsilon(1e-9));
      for (int64_t key = 0; key < 23; ++key) {
        double sum = 0;
        for (int64_t c = 0; c < size; ++c) sum += u.component.at({layer, c, key});
        CHECK(std::abs(sum - u.curve.at({layer, key})) <= 1e-9);
      }
    }
  }
  CHECK(checked >= 15);
}

TEST_CASE("u-shape: windows are [bos] and bytes of the text's alphabet, the same every time") {
  const std::vector<uint8_t> text = {'d', 'a', 'a', 'a', 'b', 'a'};
  const Tensor ids = random_windows(text, 50, 41);
  CHECK(ids.shape() == Shape{50, 41});
  CHECK(ids.to_vector<int32_t>() == random_windows(text, 50, 41).to_vector<int32_t>());
  std::multiset<int32_t> drawn;
  for (int64_t window = 0; window < 50; ++window) {
    CHECK(ids.view<int32_t>()(window, 0) == bos_token);
    for (int64_t token = 1; token < 41; ++token) drawn.insert(ids.view<int32_t>()(window, token));
  }
  for (const int byte : {'a', 'b', 'd'})  // 2000 draws, a third each: 667 with deviation 21
    CHECK(std::abs(static_cast<double>(drawn.count(byte)) - 2000.0 / 3) < 4 * 21);
  CHECK(drawn.count('a') + drawn.count('b') + drawn.count('d') == 2000);
  CHECK_THROWS_WITH_AS(random_windows({}, 2, 3), doctest::Contains("random_windows: 0 bytes of text"), ValueError);
}

TEST_CASE("u-shape: refusals, and no shape where all scores are equal") {
  const Transformer model(tiny("nope", 8), 1);
  CHECK_THROWS_WITH_AS(u_shape(model, windows_of({0}, 8), {}), doctest::Contains("at least 2 windows"), ShapeError);
  CHECK_THROWS_AS(u_shape(model, windows_of({0, 1}, 1), {}), ShapeError);
  silence(model);
  const UShape u = u_shape(model, windows_of({0, 1}, 8), {});
  CHECK(std::isnan(u.depth.at({0})));
  CHECK(std::isnan(u.curve.at({0, 3})));
}
