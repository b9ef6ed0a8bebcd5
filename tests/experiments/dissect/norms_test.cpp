// Norms, offsets and massive channels of a model whose queries, keys and values are known.
#include "experiments/dissect/norms.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "tests/experiments/dissect/token_model.hpp"
#include "tests/support/encoding_scores.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/refusal.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

enum { q_site, k_site, v_site };

// Three tokens; four query heads and two key heads of 8 channels, so that component 1 is channels 1 and 5.
Transformer known_model() {
  ModelShape shape = small_model("rope", 16);
  shape.vocabulary = 3;
  const TokenVectors v = {Tensor::zeros({3, 32}, Dtype::f64), Tensor::zeros({3, 16}, Dtype::f64),
                          Tensor::zeros({3, 16}, Dtype::f64)};
  const auto set = [](const Tensor& x, int64_t token, int64_t head, double first, double second) {
    x.view<double>()(token, head * 8 + 1) = first;
    x.view<double>()(token, head * 8 + 5) = second;
  };
  for (int64_t token = 0; token < 3; ++token) set(v.k, token, 0, 0, 2);  // constant, along the second channel
  const double length[] = {5, 10, 15};
  for (int64_t token = 0; token < 3; ++token) {
    set(v.q, token, 1, 0.6 * length[token], 0.8 * length[token]);  // one direction, mean length 10
    set(v.v, token, 1, 3, 4);
  }
  set(v.q, 0, 3, 1, 0);  // three vectors that cancel
  set(v.q, 1, 3, -0.5, std::sqrt(0.75));
  set(v.q, 2, 3, -0.5, -std::sqrt(0.75));
  return token_model(shape, v);
}

}  // namespace

TEST_CASE("norms: lengths, offsets and the angle between them, by hand") {
  const Norms n = norms(known_model(), Tensor::of<int32_t>({2, 3}, {0, 1, 2, 2, 1, 0}));
  const Dimension layer = indices("layer", 2), head = indices("head", 4), component = indices("component", 4);
  CHECK(n.norm.dimensions ==
        std::vector<Dimension>{{.name = "site", .words = {"q", "k", "v"}}, layer, head, component});
  CHECK(n.offset.dimensions == std::vector<Dimension>{{.name = "site", .words = {"q", "k"}}, layer, head, component});
  CHECK(n.offset_angle.dimensions == std::vector<Dimension>{layer, head, component});
  for (int64_t l = 0; l < 2; ++l) {
    CHECK(n.norm.at({q_site, l, 1, 1}) == doctest::Approx(10));
    CHECK(n.norm.at({q_site, l, 3, 1}) == doctest::Approx(1));
    CHECK(n.norm.at({q_site, l, 0, 1}) == 0);
    CHECK(n.norm.at({q_site, l, 1, 2}) == 0);
    for (int64_t h = 0; h < 4; ++h) {
      CHECK(n.norm.at({k_site, l, h, 1}) == doctest::Approx(h < 2 ? 2 : 0));  // of its group
      CHECK(n.norm.at({v_site, l, h, 1}) == doctest::Approx(h < 2 ? 0 : 5));
    }
    CHECK(n.offset.at({q_site, l, 1, 1}) == doctest::Approx(1));
    CHECK(n.offset.at({k_site, l, 1, 1}) == doctest::Approx(1));
    CHECK(n.offset.at({q_site, l, 3, 1}) == doctest::Approx(0));
    CHECK(std::isnan(n.offset.at({q_site, l, 0, 1})));
    // From k, at pi / 2, to q.
    CHECK(n.offset_angle.at({l, 1, 1}) == doctest::Approx(std::atan2(0.8, 0.6) - std::numbers::pi / 2));
    CHECK(std::isnan(n.offset_angle.at({l, 0, 1})));
    CHECK(std::isnan(n.offset_angle.at({l, 3, 1})));
  }
}

TEST_CASE("norms: massive channels by hand") {
  const Norms n = norms(known_model(), Tensor::of<int32_t>({1, 3}, {0, 1, 2}));
  CHECK(n.massive.dimensions == std::vector<Dimension>{{.name = "site", .words = {"q", "k", "v"}},
                                                       indices("layer", 2),
                                                       indices("head", 4),
                                                       indices("channel", 8)});
  // L2 norms over tokens are in the proportion 0.6 : 0.8, and the mean is over 8 channels.
  CHECK(n.massive.at({q_site, 1, 1, 1}) == doctest::Approx(8 * 0.6 / 1.4));
  CHECK(n.massive.at({q_site, 1, 1, 5}) == doctest::Approx(8 * 0.8 / 1.4));
  CHECK(n.massive.at({q_site, 1, 1, 0}) == 0);
  // Of squares, not of magnitudes: 1, 1/4, 1/4 and 0, 3/4, 3/4.
  CHECK(n.massive.at({q_site, 0, 3, 1}) == doctest::Approx(8 * 1 / 2.0));
  CHECK(n.massive.at({v_site, 0, 2, 5}) == doctest::Approx(8 * 4 / 7.0));
  CHECK(std::isnan(n.massive.at({q_site, 0, 0, 1})));
}

TEST_CASE("norms: pope's are those of what it turns, whose lengths are softplus of the channels; v has no pairs") {
  const Transformer model(small_model("pope", 16), 3);
  stir(model.parameters(), 5);
  Random random{.seed = 8};
  const Tensor ids = random_ids({1, 9}, small_vocabulary, random);
  const Norms n = norms(model, ids);
  visit_layers(model, ids, {Site::q, Site::k}, [&](const LayerValues& layer) {
    for (int64_t head = 0; head < 4; ++head)
      for (int64_t c = 0; c < 8; ++c) {
        double q = 0, k = 0;
        for (int64_t token = 0; token < 9; ++token) {
          q += std::log1p(std::exp(layer[Site::q].view<double>()(0, head, token, c))) / 9;
          k += std::log1p(std::exp(layer[Site::k].view<double>()(0, head / 2, token, c))) / 9;
        }
        CHECK(n.norm.at({q_site, layer.layer, head, c}) == doctest::Approx(q));
        CHECK(n.norm.at({k_site, layer.layer, head, c}) == doctest::Approx(k));
        CHECK(std::isnan(n.norm.at({v_site, layer.layer, head, c})));
        CHECK(n.offset.at({k_site, layer.layer, head, c}) == doctest::Approx(1));  // one phase for all tokens
      }
  });
}

TEST_CASE("norms: what cannot be measured is refused") {
  const Transformer rope(small_model("rope", 16), 3), alibi(small_model("alibi", 16), 3);
  CHECK(refusal([&] { norms(alibi, Tensor::zeros({1, 4}, Dtype::i32)); }).starts_with("dissect: alibi turns no"));
  CHECK_THROWS_AS(norms(rope, Tensor::zeros({1, 0}, Dtype::i32)), ValueError);
}
