// Contributions of a model whose queries and keys are known, and what is computed from contributions, by hand.
#include "experiments/dissect/contribution.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "core/parallel.hpp"
#include "tests/experiments/dissect/token_model.hpp"
#include "tests/support/encoding_scores.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

Measurement curves(const std::vector<double>& values, int64_t components, int64_t length) {
  Measurement m("contribution", {indices("component", components), indices("distance", length)});
  m.values = values;
  return m;
}

}  // namespace

TEST_CASE("contribution: one component turns by its frequency, a mean over windows and queries") {
  // Heads of 8 channels, half split: component 1 is channels 1 and 5, of frequency 0.1; component 3 is 3 and 7, 0.001.
  // Four query heads, two key heads: head 0 asks for component 1, head 3 for component 3.
  ModelShape shape = small_model("rope", 16);
  shape.vocabulary = 2;
  const TokenVectors v = {Tensor::zeros({2, 32}, Dtype::f64), Tensor::zeros({2, 16}, Dtype::f64),
                          Tensor::zeros({2, 16}, Dtype::f64)};
  const double ahead = 0.7;
  for (int64_t token = 0; token < 2; ++token) {
    v.q.view<double>()(token, 0 * 8 + 1) = 2;
    v.q.view<double>()(token, 3 * 8 + 3) = 5;
    const double length = token == 0 ? 1 : 3;
    v.k.view<double>()(token, 0 * 8 + 1) = length * std::cos(ahead);
    v.k.view<double>()(token, 0 * 8 + 5) = length * std::sin(ahead);
    v.k.view<double>()(token, 1 * 8 + 3) = length;
  }
  const Measurement c = contribution(token_model(shape, v), Tensor::of<int32_t>({2, 3}, {0, 1, 1, 1, 0, 0}));
  CHECK(c.name == "contribution");
  CHECK(c.dimensions == std::vector<Dimension>{indices("layer", 2), indices("head", 4), indices("component", 4),
                                               indices("distance", 3)});
  // The keys at distance 0 are all six, at distance 1 the first two tokens of a window, at distance 2 the first.
  const double mean_key[] = {(1 + 3 + 3 + 3 + 1 + 1) / 6.0, (1 + 3 + 3 + 1) / 4.0, (1 + 3) / 2.0};
  for (int64_t layer = 0; layer < 2; ++layer)
    for (int64_t head = 0; head < 4; ++head)
      for (int64_t component = 0; component < 4; ++component)
        for (int64_t d = 0; d < 3; ++d) {
          const auto distance = static_cast<double>(d);
          double expected = 0;
          if (head == 0 && component == 1) expected = 2 * mean_key[d] * std::cos(0.1 * distance - ahead) / std::sqrt(8);
          if (head == 3 && component == 3) expected = 5 * mean_key[d] * std::cos(0.001 * distance) / std::sqrt(8);
          CHECK(c.at({layer, head, component, d}) == doctest::Approx(expected).epsilon(1e-12));
        }
}

TEST_CASE("contribution: the sum over components is the mean score, with a far rotation too") {
  const Transformer model(small_model("self_extend", 32), 3);
  stir(model.parameters(), 5);
  constexpr int64_t length = 21;
  Random random{.seed = 8};
  const Tensor ids = random_ids({3, length}, small_vocabulary, random);
  const Measurement total = cumulative(contribution(model, ids));
  visit_layers(model, ids, {Site::score}, [&](const LayerValues& layer) {
    const View<double> score = layer[Site::score].view<double>();
    for (int64_t head = 0; head < 4; ++head)
      for (int64_t d = 0; d < length; ++d) {
        double mean = 0;
        for (int64_t window = 0; window < 3; ++window)
          for (int64_t m = d; m < length; ++m)
            mean += score(window, head, m, m - d) / static_cast<double>(3 * (length - d));
        CHECK(total.at({layer.layer, head, 3, d}) == doctest::Approx(mean).epsilon(1e-10));
      }
  });
}

TEST_CASE("contribution: the same bits for any number of threads") {
  const Transformer model(small_model("rope", 16), 3);
  Random random{.seed = 8};
  const Tensor ids = random_ids({2, 19}, small_vocabulary, random);
  std::vector<double> one, eight;
  with_threads(1, [&] { one = contribution(model, ids).values; });
  with_threads(8, [&] { eight = contribution(model, ids).values; });
  CHECK(one == eight);
}

TEST_CASE("contribution_share: by hand") {
  // Curves (0, 2) and (0, -1): the total (0, 1) has the variance 1/4, the covariances are 1/2 and -1/4.
  const Measurement share = contribution_share(curves({0, 2, 0, -1}, 2, 2));
  CHECK(share.name == "contribution_share");
  CHECK(share.dimensions == std::vector<Dimension>{indices("component", 2)});
  CHECK(share.values == std::vector<double>{2, -1});
  // A constant has no part in a variance.
  const Measurement of_wave = contribution_share(curves({1, 5, 2, 7, 7, 7}, 2, 3));
  CHECK(of_wave.values[0] == doctest::Approx(1));
  CHECK(of_wave.values[1] == doctest::Approx(0));
  CHECK(std::isnan(contribution_share(curves({1, 1, 2, 2}, 2, 2)).values[0]));
}

TEST_CASE("contribution_share: adds up to 1, for each head and for the mean of the heads") {
  const Transformer model(small_model("xpos", 16), 3);
  Random random{.seed = 8};
  const Measurement c = contribution(model, random_ids({2, 19}, small_vocabulary, random));
  const Measurement each = contribution_share(c), mean = contribution_share(mean_over_heads(c));
  CHECK(each.dimensions == std::vector<Dimension>{indices("layer", 2), indices("head", 4), indices("component", 4)});
  CHECK(mean.dimensions == std::vector<Dimension>{indices("layer", 2), indices("component", 4)});
  for (const Measurement* const share : {&each, &mean})
    for (size_t i = 0; i < share->values.size(); i += 4) {
      const double* const of = &share->values[i];
      CHECK(of[0] + of[1] + of[2] + of[3] == doctest::Approx(1).epsilon(1e-12));
    }
}

TEST_CASE("mean_over_heads and cumulative: by hand") {
  Measurement c("contribution", {indices("head", 2), indices("component", 2), indices("distance", 2)});
  c.values = {1, 2, 3, 4, 5, 6, 9, 10};
  const Measurement mean = mean_over_heads(c);
  CHECK(mean.values == std::vector<double>{3, 4, 6, 7});
  CHECK(mean.dimensions == std::vector<Dimension>{indices("component", 2), indices("distance", 2)});
  const Measurement sums = cumulative(c);
  CHECK(sums.name == "cumulative_contribution");
  CHECK(sums.values == std::vector<double>{1, 2, 4, 6, 5, 6, 14, 16});
}

TEST_CASE("contribution: what cannot be measured is refused") {
  const Transformer rope(small_model("rope", 16), 3), nope(small_model("nope", 16), 3);
  CHECK(refusal([&] { contribution(nope, Tensor::zeros({1, 4}, Dtype::i32)); }).starts_with("dissect: nope turns no"));
  CHECK_THROWS_AS(contribution(rope, Tensor::zeros({0, 4}, Dtype::i32)), ValueError);
  CHECK_THROWS_AS(contribution(rope, Tensor::zeros({4}, Dtype::i32)), ValueError);
  CHECK_THROWS_AS(mean_over_heads(curves({1, 2}, 1, 2)), ValueError);
  CHECK_THROWS_AS(cumulative(Measurement("x", {indices("distance", 2)})), ValueError);
  CHECK_THROWS_AS(contribution_share(Measurement("x", {indices("component", 2)})), ValueError);
}
