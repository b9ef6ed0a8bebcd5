// What only the unfused attention can do: transforms, stages, and a second set of scores.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/gradcheck.hpp"
#include "autograd/ops.hpp"
#include "tests/ops/attention_samples.hpp"
#include "tests/support/comparison.hpp"

using namespace phasor;
using namespace phasor::attention_samples;

namespace {

// q, k, v, far_q, far_k
Tensors two_sets(const Sizes& n, Random& random) {
  Tensors x = qkv(n, random);
  x.push_back(random_tensor(x[0].shape(), random));
  x.push_back(random_tensor(x[1].shape(), random));
  return x;
}

Var with_far(const std::vector<Var>& x, int64_t far_from, const AttentionOptions& options = {},
             const ScoreBias& bias = {}) {
  return attention_unfused(x[0], x[1], x[2], options, bias, {.far_q = x[3], .far_k = x[4], .far_from = far_from});
}

// Loops: every pair takes its score from the set of its distance.
Tensor two_set_attention(const Tensors& x, int64_t far_from, double scale) {
  const int64_t batch = x[0].extent(0), heads = x[0].extent(1), q_length = x[0].extent(2), qk_dim = x[0].extent(3);
  const int64_t k_length = x[1].extent(2), v_dim = x[2].extent(3), group = heads / x[1].extent(1);
  const Tensor out = Tensor::zeros({batch, heads, q_length, v_dim}, Dtype::f64);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < q_length; ++i) {
        const int64_t q_index = i + k_length - q_length;
        double sum = 0;
        std::vector<double> total(v_dim, 0.0);
        for (int64_t j = 0; j <= q_index; ++j) {
          const bool far = q_index - j >= far_from;
          double score = 0;
          for (int64_t c = 0; c < qk_dim; ++c)
            score += x[far ? 3 : 0].view<double>()(b, h, i, c) * x[far ? 4 : 1].view<double>()(b, h / group, j, c);
          const double p = std::exp(score * scale);
          sum += p;
          for (int64_t c = 0; c < v_dim; ++c) total[c] += p * x[2].view<double>()(b, h / group, j, c);
        }
        for (int64_t c = 0; c < v_dim; ++c) out.view<double>()(b, h, i, c) = total[c] / sum;
      }
  return out;
}

}  // namespace

TEST_CASE("attention_unfused: an explicit bias that broadcasts, and a transform of the scores, differentiate") {
  Random random{.seed = 13};
  Tensors x = qkv({2, 2, 1, 4, 6, 5, 5}, random);
  x.push_back(random_tensor({2, 1, 6}, random));
  const GradcheckResult result = gradcheck(
      [](const std::vector<Var>& y) {
        return attention_unfused(y[0], y[1], y[2], {}, {.by_position = y[3]},
                                 {.transform = [](const Var& s) { return tanh(s) * 3.0; }});
      },
      x);
  CHECK_MESSAGE(result.worst <= tolerance::gradient, result.message);
}

TEST_CASE("attention_unfused: far pairs take the second set of scores") {
  const Sizes n{2, 4, 2, 5, 8, 6, 5};
  Random random{.seed = 14};
  const Tensors x = two_sets(n, random);
  const std::vector<Var> constants(x.begin(), x.end());
  for (const int64_t far_from : {0, 1, 3, 7}) {
    CAPTURE(far_from);
    CHECK(mismatch(with_far(constants, far_from, {.scale = 0.3}).value(), Dtype::f64,
                   two_set_attention(x, far_from, 0.3), tolerance::f64(n.k_length)) == "");
    const GradcheckResult result =
        gradcheck([&](const std::vector<Var>& y) { return with_far(y, far_from, {.scale = 0.3}); }, x);
    CHECK_MESSAGE(result.worst <= tolerance::gradient, result.message);
  }
  // Nothing is far, and everything.
  CHECK(bit_mismatch(with_far(constants, 8).value(), attention_unfused(x[0], x[1], x[2]).value()) == "");
  CHECK(bit_mismatch(with_far(constants, 0).value(), attention_unfused(x[3], x[4], x[2]).value()) == "");
  // Without causality keys after the query have negative distances.
  const AttentionOptions all_keys{.causal = Causal::no};
  CHECK(bit_mismatch(with_far(constants, -4, all_keys).value(),
                     attention_unfused(x[3], x[4], x[2], all_keys).value()) == "");
  CHECK(bit_mismatch(with_far(constants, -3, all_keys).value(),
                     attention_unfused(x[3], x[4], x[2], all_keys).value()) != "");
}

TEST_CASE("attention_unfused: two sets of scores with bias, segments and grouped heads differentiate") {
  Random random{.seed = 15};
  Tensors x = two_sets({2, 4, 2, 6, 9, 4, 3}, random);
  x.push_back(random_tensor({4, 9}, random));
  const GradcheckResult result = gradcheck(
      [](const std::vector<Var>& y) { return with_far(y, 2, {.segments = segments_for(2, 9)}, {.by_distance = y[5]}); },
      x);
  CHECK_MESSAGE(result.worst <= tolerance::gradient, result.message);
}

TEST_CASE("attention_unfused: scores that are not chosen leave no trace") {
  Random random{.seed = 16};
  Tensors x = two_sets({1, 1, 1, 4, 4, 3, 3}, random);
  const Tensor expected = with_far({x.begin(), x.end()}, 2).value();
  // Queries 0 and 1 see no far key; keys 2 and 3 are never far.
  fill(x[3].slice(2, 0, 2), std::numeric_limits<double>::quiet_NaN());
  fill(x[4].slice(2, 2, 4), std::numeric_limits<double>::infinity());
  std::vector<Var> leaves;
  for (const Tensor& t : x) leaves.push_back(Var::leaf(t));
  const Var out = with_far(leaves, 2);
  CHECK(bit_mismatch(out.value(), expected) == "");
  const Gradients gradients = backward(out, random_tensor(out.shape(), random));
  for (const int i : {0, 1, 2})
    for (const double g : gradients[leaves[i]].to_vector<double>()) CHECK(std::isfinite(g));
}

TEST_CASE("attention_unfused: each stage is shown what it is said to be") {
  const Sizes n{2, 4, 2, 3, 5, 6, 5};
  Random random{.seed = 17};
  const Tensors x = qkv(n, random);
  const Tensor bias = random_tensor({4, 5}, random);
  std::vector<ScoreStage> stages;
  Tensors shown;
  const AttentionExtras extras{.transform = [](const Var& s) { return s * 2.0; },
                               .at =
                                   [&](ScoreStage stage, const Var& value) {
                                     stages.push_back(stage);
                                     shown.push_back(value.value());
                                     return value;
                                   }};
  const Tensor out = attention_unfused(x[0], x[1], x[2], {.scale = 0.5}, {.by_distance = bias}, extras).value();
  REQUIRE(stages == std::vector{ScoreStage::score, ScoreStage::score_biased, ScoreStage::pattern});
  const auto shown_at = [&](int stage, int64_t b, int64_t h, int64_t i, int64_t j) {
    return shown[stage].view<double>()(b, h, i, j);
  };
  for (int64_t h = 0; h < 4; ++h)
    for (int64_t i = 0; i < 3; ++i) {
      double total = 0, mixed = 0;
      for (int64_t j = 0; j < 5; ++j) {
        double score = 0;
        for (int64_t c = 0; c < 6; ++c) score += x[0].view<double>()(1, h, i, c) * x[1].view<double>()(1, h / 2, j, c);
        CHECK(shown_at(0, 1, h, i, j) == doctest::Approx(0.5 * score));
        if (j > i + 2) {
          CHECK(shown_at(2, 1, h, i, j) == 0);
          continue;
        }
        CHECK(shown_at(1, 1, h, i, j) == doctest::Approx(2 * (0.5 * score + bias.view<double>()(h, i + 2 - j))));
        total += shown_at(2, 1, h, i, j);
        mixed += shown_at(2, 1, h, i, j) * x[2].view<double>()(1, h / 2, j, 4);
      }
      CHECK(total == doctest::Approx(1));
      CHECK(out.view<double>()(1, h, i, 4) == doctest::Approx(mixed));
    }
}

TEST_CASE("attention_unfused: what a stage returns takes the value's place, and differentiates") {
  const Sizes n{1, 2, 1, 4, 4, 3, 3};
  Random random{.seed = 18};
  Tensors x = qkv(n, random);
  const auto replaced_at = [](ScoreStage at, std::function<Var(const Var&)> replacement) {
    return AttentionExtras{
        .at = [=](ScoreStage stage, const Var& value) { return stage == at ? replacement(value) : value; }};
  };
  const auto doubled = [](const Var& value) { return value * 2.0; };
  const double scale = 1 / std::sqrt(3.0);
  const Tensor twice = attention_unfused(x[0], x[1], x[2], {.scale = 2 * scale}).value();
  const auto run = [&](const AttentionExtras& extras) {
    return attention_unfused(x[0], x[1], x[2], {.scale = scale}, {}, extras).value();
  };
  CHECK(mismatch(run(replaced_at(ScoreStage::score, doubled)), Dtype::f64, twice, tolerance::f64(8)) == "");
  CHECK(mismatch(run(replaced_at(ScoreStage::score_biased, doubled)), Dtype::f64, twice, tolerance::f64(8)) == "");
  CHECK(mismatch(run(replaced_at(ScoreStage::pattern, doubled)), Dtype::f64, doubled(run({})).value(),
                 tolerance::f64(8)) == "");
  x.push_back(random_tensor({1, 2, 4, 4}, random));
  for (const ScoreStage stage : {ScoreStage::score, ScoreStage::score_biased, ScoreStage::pattern}) {
    const GradcheckResult result = gradcheck(
        [&](const std::vector<Var>& y) {
          return attention_unfused(y[0], y[1], y[2], {}, {},
                                   replaced_at(stage, [&](const Var& value) { return value * y[3] + y[3]; }));
        },
        x);
    CHECK_MESSAGE(result.worst <= tolerance::gradient, result.message);
  }
}

TEST_CASE("attention_unfused: refuses extras that do not fit") {
  Random random{.seed = 13};
  const Tensors x = two_sets({2, 4, 2, 5, 8, 6, 6}, random);
  const auto run = [&](const AttentionExtras& extras) { attention_unfused(x[0], x[1], x[2], {}, {}, extras); };
  const auto says = [](const char* text) { return doctest::Contains(text); };
  const auto shorter = [](const Var& s) { return slice(s, 3, 0, 2); };
  CHECK_THROWS_WITH_AS(run({.transform = shorter}), says("transform returned [2, 4, 5, 2]"), ShapeError);
  CHECK_THROWS_WITH_AS(run({.transform = [](const Var& s) { return cast(s, Dtype::f32); }}), says("f32"), DtypeError);
  for (const auto& [stage, name] : {std::pair(ScoreStage::score, "at(score) returned [2, 4, 5, 2]"),
                                    std::pair(ScoreStage::score_biased, "at(score_biased) returned [2, 4, 5, 2]"),
                                    std::pair(ScoreStage::pattern, "at(pattern) returned [2, 4, 5, 2]")})
    CHECK_THROWS_WITH_AS(
        run({.at = [&, wrong = stage](ScoreStage s, const Var& value) { return s == wrong ? shorter(value) : value; }}),
        says(name), ShapeError);
  CHECK_THROWS_AS(run({.at = [](ScoreStage, const Var&) { return Var(); }}), ShapeError);
  CHECK_THROWS_WITH_AS(run({.far_q = x[3]}), says("far_q is given, far_k is not"), ValueError);
  CHECK_THROWS_WITH_AS(run({.far_k = x[4]}), says("far_k is given, far_q is not"), ValueError);
  CHECK_THROWS_WITH_AS(run({.far_from = 3}), says("far_from is 3"), ValueError);
  CHECK_THROWS_WITH_AS(run({.far_q = x[3].slice(2, 0, 4), .far_k = x[4]}), says("far_q"), ShapeError);
  CHECK_THROWS_WITH_AS(run({.far_q = x[3], .far_k = x[4].slice(1, 0, 1)}), says("far_k"), ShapeError);
  CHECK_THROWS_AS(run({.far_q = x[3].to(Dtype::f32), .far_k = x[4].to(Dtype::f32)}), DtypeError);
}
