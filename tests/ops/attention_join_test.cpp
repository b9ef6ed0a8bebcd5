// Attention with its log-sum-exp as a differentiable result, and the joining of disjoint sets of keys by it.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/gradcheck.hpp"
#include "autograd/ops.hpp"
#include "core/ops/attention.hpp"
#include "tests/ops/attention_samples.hpp"
#include "tests/support/comparison.hpp"

using namespace phasor;
using namespace phasor::attention_samples;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// [batch, heads, length] beside [batch, heads, length, dim]
Var as_column(const Var& x) { return reshape(x, {x.extent(0), x.extent(1), x.extent(2), 1}); }

// Scores here are small: no shift is needed before exp.
Var joined(const AttentionOutputs& a, const AttentionOutputs& b) {
  const Var total = log(exp(a.log_sum_exp) + exp(b.log_sum_exp));
  return a.out * as_column(exp(a.log_sum_exp - total)) + b.out * as_column(exp(b.log_sum_exp - total));
}

void check_same(const std::function<Var(const std::vector<Var>&)>& got,
                const std::function<Var(const std::vector<Var>&)>& expected, const Tensors& x, int64_t terms) {
  std::vector<Var> a, b;
  for (const Tensor& t : x) a.push_back(Var::leaf(t)), b.push_back(Var::leaf(t));
  const Var y = got(a), z = expected(b);
  CHECK(mismatch(y.value(), Dtype::f64, z.value(), tolerance::f64(terms)) == "");
  Random random{.seed = 3};
  const Tensor cotangent = random_tensor(y.shape(), random);
  const Gradients of_y = backward(y, cotangent), of_z = backward(z, cotangent);
  for (size_t i = 0; i < x.size(); ++i) {
    CAPTURE(i);
    CHECK(mismatch(of_y[a[i]], Dtype::f64, of_z[b[i]], tolerance::f64(terms)) == "");
  }
}

}  // namespace

TEST_CASE("attention_with_log_sum_exp: both results are those of the op of core") {
  for (const Variant& variant : variants) {
    CAPTURE(variant.name);
    Random random{.seed = 8};
    const Tensors x = qkv({2, 4, 2, 70, 90, 8, 6}, random);
    const AttentionOptions options = variant.options(x);
    const AttentionOutputs got = attention_with_log_sum_exp(x[0], x[1], x[2], options);
    const AttentionResult expected = attention(x[0], x[1], x[2], options);
    CHECK(bit_mismatch(got.out.value(), expected.out) == "");
    CHECK(bit_mismatch(got.log_sum_exp.value(), expected.log_sum_exp) == "");
  }
}

TEST_CASE("attention_with_log_sum_exp: gradients of either result and of both together") {
  const auto combinations = std::vector<std::function<Var(const AttentionOutputs&)>>{
      [](const AttentionOutputs& y) { return y.out; },
      [](const AttentionOutputs& y) { return y.log_sum_exp; },
      [](const AttentionOutputs& y) { return y.out * as_column(y.log_sum_exp) + as_column(exp(y.log_sum_exp)); },
  };
  for (const Variant& variant : variants)
    for (size_t i = 0; i < combinations.size(); ++i)
      for (const Sizes& n : {Sizes{2, 4, 2, 3, 6, 3, 2}, Sizes{1, 2, 2, 17, 17, 5, 4}}) {
        CAPTURE(variant.name);
        CAPTURE(i);
        CAPTURE(n.q_length);
        Random random{.seed = 9};
        Tensors x = qkv(n, random);
        const AttentionOptions options = variant.options(x);
        const bool is_causal = options.causal == Causal::yes;
        x.push_back(random_tensor({n.heads, n.k_length}, random));
        x.push_back(random_tensor({1, n.q_length, n.k_length}, random));
        const GradcheckResult result = gradcheck(
            [&](const std::vector<Var>& y) {
              // Everything has a part in the result: gradients of what has none cannot be asked for.
              const Var by_distance = is_causal ? y[3] : Var();
              return combinations[i](attention_with_log_sum_exp(y[0], y[1], y[2], options,
                                                                {.by_distance = by_distance, .by_position = y[4]})) +
                     0.0 * (sum(y[2]) + sum(y[3]));
            },
            x);
        CHECK_MESSAGE(result.worst <= tolerance::gradient, result.message);
      }
}

TEST_CASE("attention_with_log_sum_exp: log_sum_exp beyond one tile is that of the scores") {
  const Sizes n{1, 4, 2, 129, 257, 8, 8};
  Random random{.seed = 9};
  Tensors x = qkv(n, random);
  x.push_back(random_tensor({1, n.k_length}, random));
  check_same(
      [](const std::vector<Var>& y) {
        return as_column(attention_with_log_sum_exp(y[0], y[1], y[2], {}, {.by_distance = y[3]}).log_sum_exp) +
               0.0 * sum(y[2]);
      },
      [](const std::vector<Var>& y) {
        // log(sum e^s): the score of each query with every key, seen through the stages of the unfused path.
        Var scores;
        attention_unfused(y[0], y[1], y[2], {}, {.by_distance = y[3]}, {.at = [&](ScoreStage stage, const Var& value) {
                            if (stage == ScoreStage::score_biased) scores = value;
                            return value;
                          }});
        const Tensor visible = visible_pairs(129, 257, {});
        const Tensor as_numbers = Tensor::zeros(visible.shape(), Dtype::f64);
        for (int64_t i = 0; i < visible.size(); ++i) as_numbers.data<double>()[i] = visible.data<bool>()[i];
        return log(sum(exp(scores) * as_numbers, {3})) + 0.0 * sum(y[2]);
      },
      x, n.k_length * 8);
}

TEST_CASE("attention_with_log_sum_exp: two halves of the keys join to all keys") {
  const Sizes n{2, 4, 2, 70, 90, 8, 6};
  Random random{.seed = 10};
  const AttentionOptions options{.causal = Causal::no};
  check_same(
      [&](const std::vector<Var>& y) {
        const auto part = [&](int64_t start, int64_t stop) {
          return attention_with_log_sum_exp(y[0], slice(y[1], 2, start, stop), slice(y[2], 2, start, stop), options);
        };
        return joined(part(0, 37), part(37, 90));
      },
      [&](const std::vector<Var>& y) { return attention(y[0], y[1], y[2], options); }, qkv(n, random), n.k_length * 8);
}

TEST_CASE("attention_with_log_sum_exp: keys hidden by a bias join, also where one set is empty for a row") {
  const Sizes n{2, 4, 2, 90, 90, 8, 6};
  Random random{.seed = 11};
  Tensors x = qkv(n, random);
  x.push_back(random_tensor({4, n.k_length}, random));
  const Tensor only_even = Tensor::zeros({n.k_length}, Dtype::f64), only_odd = only_even.clone();
  for (int64_t j = 0; j < n.k_length; ++j) (j % 2 ? only_even : only_odd).data<double>()[j] = -infinity;
  check_same(
      [&](const std::vector<Var>& y) {
        const auto part = [&](const Tensor& hidden) {
          return attention_with_log_sum_exp(y[0], y[1], y[2], {}, {.by_distance = y[3], .by_position = hidden});
        };
        return joined(part(only_even), part(only_odd));
      },
      [&](const std::vector<Var>& y) { return attention(y[0], y[1], y[2], {}, {.by_distance = y[3]}); }, x,
      n.k_length * 8);
}

TEST_CASE("attention_backward: refuses cotangents that do not fit, and leaves out what is not wanted") {
  Random random{.seed = 12};
  const Tensors x = qkv({1, 2, 1, 5, 7, 4, 3}, random);
  const AttentionBias bias{random_tensor({2, 9}, random), random_tensor({5, 7}, random)};
  const AttentionResult forward = attention(x[0], x[1], x[2], {}, bias);
  const Tensor dout = random_tensor({1, 2, 5, 3}, random), dlog_sum_exp = random_tensor({1, 2, 5}, random);
  const auto run = [&](const Tensor& of_out, const Tensor& of_log_sum_exp, const WantedBiases& wanted = {}) {
    return attention_backward(x[0], x[1], x[2], {}, bias, forward, of_out, of_log_sum_exp, wanted);
  };
  CHECK_THROWS_WITH_AS(run({}, {}), doctest::Contains("neither dout nor dlog_sum_exp"), ValueError);
  CHECK_THROWS_WITH_AS(run(dlog_sum_exp, {}), doctest::Contains("dout is [1, 2, 5]"), ShapeError);
  CHECK_THROWS_WITH_AS(run(dout, dout), doctest::Contains("dlog_sum_exp is [1, 2, 5, 3]"), ShapeError);
  CHECK_THROWS_AS(run(dout.to(Dtype::f32), {}), DtypeError);
  CHECK_THROWS_AS(run({}, dlog_sum_exp.to(Dtype::f32)), DtypeError);

  const AttentionGradients all = run(dout, dlog_sum_exp);
  CHECK(all.dbias.by_distance.shape() == Shape{2, 9});
  CHECK(all.dbias.by_position.shape() == Shape{1, 2, 5, 7});
  for (const double g : all.dbias.by_distance.slice(1, 7, 9).to_vector<double>()) CHECK(g == 0);
  const AttentionGradients some = run(dout, dlog_sum_exp, {.by_position = false});
  CHECK(bit_mismatch(some.dbias.by_distance, all.dbias.by_distance) == "");
  CHECK_FALSE(some.dbias.by_position.defined());
  CHECK(bit_mismatch(some.dq, all.dq) == "");
  // An undefined cotangent is one of zeros.
  const AttentionGradients of_nothing = run(Tensor::zeros(dout.shape(), Dtype::f64), dlog_sum_exp);
  const AttentionGradients of_undefined = run({}, dlog_sum_exp);
  CHECK(bit_mismatch(of_undefined.dq, of_nothing.dq) == "");
  CHECK(bit_mismatch(of_undefined.dk, of_nothing.dk) == "");
  for (const double g : of_undefined.dv.to_vector<double>()) CHECK(g == 0);
}
