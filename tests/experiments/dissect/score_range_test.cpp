// Ranges of scores of a model whose queries and keys are known, and the distances at which a slow component leaves
// them.
#include "experiments/dissect/score_range.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/parallel.hpp"
#include "tests/experiments/dissect/token_model.hpp"
#include "tests/support/encoding_scores.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

// One kind of token: head 0 asks for component 1, of frequency 0.1, head 3 for component 3, of frequency 0.001, with
// scores cos(0.1 d) and 2 cos(0.001 d).
Transformer known_model() {
  ModelShape shape = small_model("rope", 16);
  shape.vocabulary = 1;
  const TokenVectors v = {Tensor::zeros({1, 32}, Dtype::f64), Tensor::zeros({1, 16}, Dtype::f64),
                          Tensor::zeros({1, 16}, Dtype::f64)};
  v.q.view<double>()(0, 0 * 8 + 1) = std::sqrt(8);
  v.q.view<double>()(0, 3 * 8 + 3) = std::sqrt(8);
  v.k.view<double>()(0, 0 * 8 + 1) = 1;
  v.k.view<double>()(0, 1 * 8 + 3) = 2;
  return token_model(shape, v);
}

// So that equal scores, of equal tokens at equal distances elsewhere in a window, are inside whatever their roundings.
Measurement widened(Measurement range) {
  for (size_t i = 0; i < range.values.size(); ++i) range.values[i] += i < range.values.size() / 2 ? -1e-9 : 1e-9;
  return range;
}

Tensor zeros(int64_t length) { return Tensor::zeros({2, length}, Dtype::i32); }

}  // namespace

TEST_CASE("score_range: by hand") {
  const Measurement range = score_range(known_model(), zeros(16));
  CHECK(range.name == "score_range");
  CHECK(range.dimensions[3].words == std::vector<std::string>{"0", "1", "2", "3", "total"});
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (const int64_t component : {1, 4}) {  // the whole score is that of the component
      CHECK(range.at({0, layer, 0, component}) == doctest::Approx(std::cos(1.5)));
      CHECK(range.at({1, layer, 0, component}) == doctest::Approx(1));
    }
    CHECK(range.at({0, layer, 3, 3}) == doctest::Approx(2 * std::cos(0.015)));
    CHECK(range.at({1, layer, 3, 4}) == doctest::Approx(2));
    CHECK(range.at({0, layer, 0, 0}) == 0);
    CHECK(range.at({1, layer, 1, 4}) == 0);
  }
}

TEST_CASE("distance_bins: powers of two, their quarters and the training length") {
  CHECK(distance_bins(24, 16) == std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20});
  CHECK(distance_bins(16, 9) == std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14});
  CHECK(distance_bins(2, 16) == std::vector<int64_t>{1});
}

TEST_CASE("beyond_range and leaves_range_at: a cosine leaves its range once it falls on, and comes back") {
  const Transformer model = known_model();
  const Measurement beyond = beyond_range(model, widened(score_range(model, zeros(16))), zeros(70));
  CHECK(beyond.name == "beyond_range");
  const std::vector<int64_t> begins = distance_bins(70, 16);
  REQUIRE(beyond.dimensions[2].size() == std::ssize(begins));
  for (size_t bin = 0; bin < begins.size(); ++bin) {
    CHECK(beyond.dimensions[2].numbers[bin] == static_cast<double>(begins[bin]));
    const int64_t next = bin + 1 < begins.size() ? begins[bin + 1] : 70;
    // Pairs at distance d: 70 - d in a window. In one of four heads cos(0.1 d) is below cos(1.5), in another cos(0.001
    // d) below cos(0.015); they are the total's too.
    double pairs = 0, fast = 0, slow = 0;
    for (int64_t d = begins[bin]; d < next; ++d) {
      const double of_distance = 70 - d;
      pairs += 4 * of_distance;
      if (d >= 16 && std::cos(0.1 * static_cast<double>(d)) < std::cos(1.5)) fast += of_distance;
      if (d >= 16) slow += of_distance;
    }
    for (int64_t layer = 0; layer < 2; ++layer) {
      const auto at = [&](int64_t part) { return beyond.at({layer, part, static_cast<int64_t>(bin)}); };
      CHECK(at(0) == 0);
      CHECK(at(1) == doctest::Approx(fast / pairs).epsilon(1e-12));
      CHECK(at(2) == 0);
      CHECK(at(3) == doctest::Approx(slow / pairs).epsilon(1e-12));
      CHECK(at(4) == doctest::Approx((fast + slow) / pairs).epsilon(1e-12));
    }
  }
  const Measurement at = leaves_range_at(beyond, 16);
  CHECK(at.name == "leaves_range_at");
  CHECK(at.dimensions == std::vector<Dimension>{indices("layer", 2), components_and_total(4)});
  CHECK(std::isnan(at.at({0, 0})));
  CHECK(at.at({0, 1}) == 16);
  CHECK(at.at({1, 4}) == 16);
  // From 40 on: cos(4) is below; it is back above cos(1.5) from 0.1 d = 2 pi - 1.5 on, at 48.
  CHECK(leaves_range_at(beyond, 33).at({0, 1}) == 40);
  CHECK(std::isnan(leaves_range_at(beyond, 48).at({0, 1})));
}

TEST_CASE("leaves_range_at: above 1 %") {
  Measurement beyond("beyond_range",
                     {indices("layer", 1), components_and_total(1), {.name = "distance", .numbers = {4, 8, 16}}});
  beyond.values = {0.5, 0.01, 0.011, 0.5, 0.01, 0.01};
  const Measurement at = leaves_range_at(beyond, 8);
  CHECK(at.at({0, 0}) == 16);
  CHECK(std::isnan(at.at({0, 1})));
}

TEST_CASE("score_range and beyond_range: plain loops over all scores, with a far rotation and many tiles") {
  const Transformer model(small_model("self_extend", 40), 3);
  stir(model.parameters(), 5);
  Random random{.seed = 8};
  const Tensor ids = random_ids({2, 40}, small_vocabulary, random),
               longer = random_ids({1, 75}, small_vocabulary, random);
  const Measurement range = score_range(model, ids);
  std::vector<Site> sites = components_of(model).sites();
  sites.push_back(Site::score);
  const auto whole = [&](const LayerValues& layer) { return layer[Site::score].view<double>(); };
  visit_layers(model, ids, sites, [&](const LayerValues& layer) {
    for (int64_t head = 0; head < 4; ++head) {
      double low = 1e300, high = -1e300;
      for (int64_t window = 0; window < 2; ++window)
        for (int64_t m = 0; m < 40; ++m)
          for (int64_t n = 0; n <= m; ++n) {
            low = std::min(low, whole(layer)(window, head, m, n));
            high = std::max(high, whole(layer)(window, head, m, n));
          }
      CHECK(range.at({0, layer.layer, head, 4}) == doctest::Approx(low).epsilon(1e-12));
      CHECK(range.at({1, layer.layer, head, 4}) == doctest::Approx(high).epsilon(1e-12));
    }
  });

  const Measurement of_the_same = beyond_range(model, range, ids);
  CHECK(std::all_of(of_the_same.values.begin(), of_the_same.values.end(), [](double share) { return share == 0; }));

  const Measurement wide = widened(range), beyond = beyond_range(model, wide, longer);
  CHECK(std::accumulate(beyond.values.begin(), beyond.values.end(), 0.0) > 0);
  const std::vector<int64_t> begins = distance_bins(75, 40);
  visit_layers(model, longer, sites, [&](const LayerValues& layer) {
    const Tensor parts = component_scores(components_of(model), layer);
    for (int64_t part = 0; part < 5; ++part)
      for (size_t bin = 0; bin < begins.size(); ++bin) {
        double outside = 0, pairs = 0;
        for (int64_t d = begins[bin]; d < (bin + 1 < begins.size() ? begins[bin + 1] : 75); ++d)
          for (int64_t head = 0; head < 4; ++head)
            for (int64_t m = d; m < 75; ++m) {
              const double score =
                  part == 4 ? whole(layer)(0, head, m, m - d) : parts.view<double>()(0, head, part, m, m - d);
              ++pairs;
              outside += score < wide.at({0, layer.layer, head, part}) || score > wide.at({1, layer.layer, head, part});
            }
        CHECK(beyond.at({layer.layer, part, static_cast<int64_t>(bin)}) == doctest::Approx(outside / pairs));
      }
  });
}

TEST_CASE("score_range and beyond_range: the same bits for any number of threads") {
  const Transformer model(small_model("rope", 40), 3);
  Random random{.seed = 8};
  const Tensor ids = random_ids({2, 40}, small_vocabulary, random),
               longer = random_ids({1, 90}, small_vocabulary, random);
  std::vector<double> of_one, of_eight;
  with_threads(1, [&] { of_one = beyond_range(model, score_range(model, ids), longer).values; });
  with_threads(8, [&] { of_eight = beyond_range(model, score_range(model, ids), longer).values; });
  CHECK(of_one == of_eight);
}

TEST_CASE("score_range and beyond_range: what cannot be measured is refused") {
  const Transformer rope(small_model("rope", 16), 3), pope(small_model("pope", 16), 3),
      nope(small_model("nope", 16), 3);
  CHECK(refusal([&] { score_range(nope, zeros(16)); }).starts_with("dissect: nope turns no components"));
  CHECK_THROWS_AS(score_range(rope, zeros(15)), ValueError);
  CHECK_THROWS_AS(score_range(rope, Tensor::zeros({0, 16}, Dtype::i32)), ValueError);
  const Measurement range = score_range(rope, zeros(16));
  CHECK_THROWS_AS(beyond_range(rope, range, zeros(1)), ValueError);
  CHECK_THROWS_AS(beyond_range(pope, range, zeros(32)), ValueError);
  CHECK_THROWS_AS(leaves_range_at(range, 16), ValueError);
}
