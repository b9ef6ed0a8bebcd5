// Measures of patterns made by hand, and of models whose heads are planted.
#include "experiments/dissect/patterns.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "experiments/corpora/corpus.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

// pattern(window, head, query) is the key that gets everything, or -1: all visible keys the same.
template <class F>
Tensor pattern_of(int64_t windows, int64_t heads, int64_t length, const F& key_of) {
  const Tensor pattern = Tensor::zeros({windows, heads, length, length}, Dtype::f32);
  for (int64_t window = 0; window < windows; ++window)
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t m = 0; m < length; ++m)
        for (int64_t n = 0; n <= m; ++n) {
          const int64_t key = key_of(window, head, m);
          pattern.view<float>()(window, head, m, n) =
              key < 0 ? 1 / static_cast<float>(m + 1) : static_cast<float>(n == key);
        }
  return pattern;
}

// Four heads in two layers without content; layer 1 attends at the distance `distances[head]`, or as near to it as
// there is a key, or evenly where it is negative. So does all of layer 0.
Transformer model_attending_at(const std::vector<double>& distances) {
  const EncodingEntry entry = {
      .summary = "", .paper = "", .claims = {}, .make = [=](const AttentionShape&, ParameterList&) {
        PositionalEncoding encoding;
        encoding.bias_of_positions = [=](const PositionalContext& c) {
          const Tensor bias = Tensor::zeros({1, 4, c.q_positions.extent(1), c.k_positions.extent(1)}, Dtype::f64);
          for (int64_t head = 0; c.layer == 1 && head < 4; ++head)
            for (int64_t m = 0; m < bias.extent(2); ++m)
              for (int64_t n = 0; n <= m; ++n)
                if (const double distance = distances[static_cast<size_t>(head)]; distance >= 0)
                  bias.view<double>()(0, head, m, n) = -100 * std::abs(static_cast<double>(m - n) - distance);
          return Var(bias);
        };
        return encoding;
      }};
  ModelShape shape = small_model("", 16);
  shape.vocabulary = byte_vocabulary;
  const Transformer model(shape, 1, entry);
  for (const char* name : {"block.0.attention.q.weight", "block.1.attention.q.weight"})
    fill(model.parameters()[name].value(), 0);
  return model;
}

const std::vector<uint8_t> text = [] {
  std::vector<uint8_t> bytes;
  for (int i = 0; i < 10000; ++i) bytes.push_back(static_cast<uint8_t>('a' + i * i % 26));
  return bytes;
}();

// Means over the queries 1 .. length - 1 that see their m + 1 keys evenly.
double even_sink(int64_t length) {
  double sum = 0;
  for (int64_t m = 1; m < length; ++m) sum += 1 / static_cast<double>(m + 1);
  return sum / static_cast<double>(length - 1);
}

}  // namespace

TEST_CASE("patterns: sink, distances and entropy of patterns made by hand") {
  // Head 0 is even; head 1 looks at the token before in one window and at [bos] in the other.
  const Tensor pattern = pattern_of(2, 2, 4, [](int64_t window, int64_t head, int64_t m) {
    if (head == 0) return int64_t{-1};
    return window == 0 ? std::max<int64_t>(m - 1, 0) : 0;
  });
  const PatternMeasures of = measure_pattern(pattern);
  CHECK(of.sink[0] == doctest::Approx((1.0 / 2 + 1.0 / 3 + 1.0 / 4) / 3));
  CHECK(of.sink[1] == doctest::Approx((1.0 / 3 + 1) / 2));
  CHECK(of.distance[0] == doctest::Approx((0.5 + 1 + 1.5) / 3));
  CHECK(of.distance[1] == doctest::Approx((1 + 2.0) / 2));
  CHECK(of.peak_distance[0] == 0);
  CHECK(of.peak_distance[1] == doctest::Approx((1 + 2.0) / 2));
  REQUIRE(of.entropy.size() == 8);
  for (size_t m = 0; m < 4; ++m) {
    CHECK(of.entropy[m] == doctest::Approx(std::log(static_cast<double>(m + 1))));
    CHECK(of.entropy[4 + m] == 0);
  }
  CHECK_THROWS_WITH_AS(measure_pattern(pattern.slice(2, 0, 3)), doctest::Contains("the pattern is [2, 2, 3, 4]"),
                       ShapeError);
}

TEST_CASE("patterns: head scores of patterns made by hand") {
  // [bos] a b c a b c: heads look at the token before, the same token, what came after it, the token itself, evenly.
  const Tensor pattern = pattern_of(1, 5, 7, [](int64_t, int64_t head, int64_t m) -> int64_t {
    if (head == 0) return std::max<int64_t>(m - 1, 0);
    if (head == 1) return m > 3 ? m - 3 : 0;
    if (head == 2) return m > 3 ? m - 2 : 0;
    return head == 3 ? m : -1;
  });
  const std::vector<double> of = measure_heads(pattern);
  REQUIRE(of.size() == 15);
  const std::vector<double> expected = {1, 0, 0, 0, (1.0 / 3 + 1.0 / 4 + 1.0 / 5 + 1.0 / 6 + 1.0 / 7) / 5,
                                        0, 1, 0, 0, (1.0 / 5 + 1.0 / 6 + 1.0 / 7) / 3,
                                        0, 0, 1, 0, (1.0 / 5 + 1.0 / 6 + 1.0 / 7) / 3};
  for (size_t i = 0; i < of.size(); ++i) {
    CAPTURE(i);
    CHECK(of[i] == doctest::Approx(expected[i]).epsilon(1e-6));
  }
  CHECK_THROWS_WITH_AS(measure_heads(Tensor::zeros({1, 1, 8, 8}, Dtype::f32)), doctest::Contains("odd length"),
                       ShapeError);
}

TEST_CASE("patterns: planted heads are found in their layer, at every length") {
  const Transformer model = model_attending_at({-1, 1, 3, 1000});
  // 300 windows of 16 tokens are read in two parts; the longest length need not be the last.
  const Patterns p = attention_patterns(model, text, {32, 16}, 300);
  CHECK(p.sink.dimensions[0] == Dimension{.name = "length", .numbers = {32, 16}});
  CHECK(p.entropy.dimensions[2].size() == 32);
  for (const int64_t at : {0, 1}) {
    const double length = at == 0 ? 32 : 16, queries = length - 1;
    for (const int64_t layer : {0, 1}) {
      const double sink = even_sink(at == 0 ? 32 : 16);
      CHECK(p.sink.at({at, layer, 0}) == doctest::Approx(sink));
      CHECK(p.distance.at({at, layer, 0}) == doctest::Approx(length / 4));
      CHECK(p.sink.at({at, layer, 1}) == doctest::Approx(layer == 0 ? sink : 1 / queries));
      CHECK(p.distance.at({at, layer, 1}) == doctest::Approx(layer == 0 ? length / 4 : 1));
      CHECK(p.peak_distance.at({at, layer, 2}) == doctest::Approx(layer == 0 ? 0 : (queries * 3 - 3) / queries));
      CHECK(p.sink.at({at, layer, 3}) == doctest::Approx(layer == 0 ? sink : 1));
    }
  }
  for (const int64_t query : {1, 9, 31}) {
    CHECK(p.entropy.at({0, 1, query}) == doctest::Approx(std::log(static_cast<double>(query + 1))));
    CHECK(p.normalised_entropy.at({1, 0, query}) == doctest::Approx(1));
    CHECK(std::abs(p.entropy.at({1, 1, query})) <= 1e-9);
  }
  CHECK(p.entropy.at({0, 0, 0}) == 0);
  CHECK(std::isnan(p.normalised_entropy.at({0, 0, 0})));
}

TEST_CASE("patterns: planted previous-token, duplicate-token and induction heads") {
  const Tensor ids = repeated_windows(text, 250, 22);
  REQUIRE(ids.shape() == Shape{250, 21});
  for (int64_t window = 0; window < 250; ++window) {
    CHECK(ids.view<int32_t>()(window, 0) == bos_token);
    for (int64_t token = 1; token <= 10; ++token)
      CHECK(ids.view<int32_t>()(window, token) == ids.view<int32_t>()(window, token + 10));
  }
  const Measurement scores = head_scores(model_attending_at({1, 10, 9, -1}), ids);
  CHECK(scores.dimensions[0].words == std::vector<std::string>{"previous token", "duplicate token", "induction"});
  double even = 0;
  for (int64_t m = 11; m <= 20; ++m) even += 1 / static_cast<double>(m + 1) / 10;
  for (int64_t kind = 0; kind < 3; ++kind) {
    for (int64_t head = 0; head < 3; ++head)
      CHECK(scores.at({kind, 1, head}) == doctest::Approx(kind == head ? 1 : 0).epsilon(1e-9));
    if (kind > 0) CHECK(scores.at({kind, 1, 3}) == doctest::Approx(even));
    CHECK(scores.at({kind, 0, 1}) == doctest::Approx(scores.at({kind, 1, 3})));
  }
  CHECK_THROWS_WITH_AS(repeated_windows(text, 2, 4), doctest::Contains("length is 4; needs at least 5"), ValueError);
}
