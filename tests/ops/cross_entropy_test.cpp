// Cross-entropy: by row and as a mean, with ignored rows.
#include "core/ops/cross_entropy.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/ops.hpp"
#include "core/ops/reduce.hpp"
#include "core/random.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr int64_t ignored = -100;

Tensors logits_and_targets(Extents e, Random& random) {
  return {random_tensor({e.rows, e.width}, random), random_ids({e.rows}, std::max<int64_t>(e.width, 1), random)};
}

// The first row is ignored, but for a row that stands alone: a mean needs one that counts.
Tensors with_ignored_row(Extents e, Random& random) {
  Tensors x = logits_and_targets(e, random);
  if (e.rows > 1) x[1].data<int64_t>()[0] = ignored;
  return x;
}

Tensor reference_mean(const Tensors& x) {
  const Tensor losses = reference::cross_entropy_by_row(x[0].to(Dtype::f64), x[1], ignored);
  int64_t counted = 0;
  double total = 0;
  for (int64_t row = 0; row < x[1].size(); ++row) {
    counted += x[1].to_vector<int64_t>()[row] != ignored;
    total += losses.to_vector<double>()[row];
  }
  return Tensor::scalar(total / static_cast<double>(counted), x[0].dtype());
}

const Tensor& logits() {
  static const Tensor t = Tensor::of<float>({2, 3}, {0, 1, 2, 3, 4, 5});
  return t;
}

}  // namespace

TEST_CASE("cross_entropy_by_row: op case") {
  check_op(
      {.op = "cross_entropy_by_row",
       .run = [](const Tensors& x) { return cross_entropy_by_row(x[0], x[1], ignored); },
       .reference = [](const Tensors& x) { return reference::cross_entropy_by_row(x[0], x[1], ignored); },
       .differentiable = [](const std::vector<Var>& x) { return cross_entropy_by_row(x[0], x[1].value(), ignored); },
       .samples = {{logits_and_targets, {{0, 1}}},
                   {with_ignored_row, {{0, 1}}},
                   {[](Extents e, Random& random) {
                      return Tensors{random_tensor({2, e.rows, e.width}, random),
                                     random_ids({2, e.rows}, std::max<int64_t>(e.width, 1), random)};
                    },
                    {{0, 2}}}},
       .refuses = {{[] {
                      cross_entropy_by_row(logits(), Tensor::of<int32_t>({2}, {0, 3}));
                    },
                    "target 3 at index [1]"},
                   {[] {
                      cross_entropy_by_row(logits(), Tensor::of<int32_t>({2}, {0, -2}));
                    },
                    "target -2"}},
       .empty = {{0, 5}, {0, 0}}});
}

TEST_CASE("cross_entropy: op case") {
  check_op({.op = "cross_entropy",
            .run = [](const Tensors& x) { return cross_entropy(x[0], x[1], ignored); },
            .reference = reference_mean,
            .differentiable = [](const std::vector<Var>& x) { return cross_entropy(x[0], x[1].value(), ignored); },
            .samples = {{logits_and_targets, {{0, 1}}}, {with_ignored_row, {{0, 1}}}},
            .refuses = {{[] {
                           cross_entropy(logits(), Tensor::of<int32_t>({2}, {-1, -1}));
                         },
                         "ignored"},
                        {[] {
                           cross_entropy(Tensor::zeros({0, 3}, Dtype::f32), Tensor::zeros({0}, Dtype::i32));
                         },
                         "row"}},
            .empty = {}});
}

TEST_CASE("cross_entropy: by hand") {
  const double row = std::log(std::exp(0.0) + std::exp(1.0) + std::exp(2.0));
  const Tensor targets = Tensor::of<int32_t>({2}, {2, 0});
  const std::vector<double> losses = cross_entropy_by_row(logits().to(Dtype::f64), targets).to_vector<double>();
  CHECK(losses[0] == doctest::Approx(row - 2).epsilon(1e-14));
  CHECK(losses[1] == doctest::Approx(row).epsilon(1e-14));
  CHECK(cross_entropy(logits().to(Dtype::f64), targets).item<double>() == doctest::Approx(row - 1).epsilon(1e-14));
}

TEST_CASE("cross_entropy: an ignored row costs nothing, is not counted and has no gradient") {
  const Tensor targets = Tensor::of<int64_t>({2}, {no_ignored_target, 1});
  const Var x = Var::leaf(logits().to(Dtype::f64));
  CHECK(cross_entropy_by_row(x.value(), targets).to_vector<double>()[0] == 0);
  const Var loss = cross_entropy(x, targets);
  CHECK(loss.value().item<double>() == cross_entropy_by_row(x.value(), targets).to_vector<double>()[1]);
  const std::vector<double> gradient = backward(loss)[x].to_vector<double>();
  for (int i = 0; i < 3; ++i) CHECK(gradient[i] == 0);
  CHECK(gradient[3] + gradient[5] == doctest::Approx(-gradient[4]).epsilon(1e-14));
}

TEST_CASE("cross_entropy: an ignored row may hold anything") {
  const Tensor x = logits().clone();
  fill(x.select(0, 0), std::numeric_limits<double>::quiet_NaN());
  const Var leaf = Var::leaf(x);
  const Var loss = cross_entropy(leaf, Tensor::of<int32_t>({2}, {-1, 1}));
  CHECK(std::isfinite(loss.value().item<float>()));
  for (const float g : backward(loss)[leaf].to_vector<float>()) CHECK(std::isfinite(g));
}

TEST_CASE("cross_entropy: ignored rows without classes") {
  const Tensor x = Tensor::zeros({2, 0}, Dtype::f32), targets = Tensor::full({2}, -1, Dtype::i64);
  CHECK(cross_entropy_by_row(x, targets).to_vector<float>() == std::vector<float>{0, 0});
  CHECK(cross_entropy_backward(x, targets, -1, Tensor::zeros({2}, Dtype::f32)).shape() == x.shape());
}

TEST_CASE("cross_entropy: a NaN shows in its row, wherever it stands, and in no other") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64})
    for (const int64_t at : {0, 1, 15, 16, 40, 64, 65}) {
      Random random{.seed = 4};
      const Tensor x = normal({5, 66}, 0, 3, dtype, random);
      fill(x.select(0, 2).select(0, at), std::numeric_limits<double>::quiet_NaN());
      const Tensor targets = Tensor::of<int64_t>({5}, {0, 65, 30, 3, 64});
      const std::vector<double> losses = cross_entropy_by_row(x, targets).to(Dtype::f64).to_vector<double>();
      const std::vector<double> dx = cross_entropy_backward(x, targets, no_ignored_target, Tensor::full({5}, 1, dtype))
                                         .to(Dtype::f64)
                                         .to_vector<double>();
      for (int64_t row = 0; row < 5; ++row) {
        CHECK(std::isnan(losses[row]) == (row == 2));
        for (int64_t i = 0; i < 66; ++i) CHECK(std::isnan(dx[row * 66 + i]) == (row == 2));
      }
    }
}

TEST_CASE("cross_entropy: another logit any distance above or below the target's, all others masked") {
  constexpr int64_t classes = 66, target = 3, other = 40;
  const Tensor targets = Tensor::of<int64_t>({1}, {target});
  for (const Dtype dtype : {Dtype::f32, Dtype::f64})
    for (const double above :
         {-1e30, -200.0, -30.0, -1.0, 0.0, 1.0, 15.0, 17.0, 60.0, 88.0, 90.0, 710.0, 1e5, 4e7, 1e30}) {
      CAPTURE(above);
      const double limit = dtype == Dtype::f32 ? 2e-6 : 1e-14;
      const Tensor x = Tensor::full({1, classes}, -std::numeric_limits<double>::infinity(), dtype);
      fill(x.select(1, target), 0.5);
      fill(x.select(1, other), above + 0.5);
      const double loss = cross_entropy_by_row(x, targets).to(Dtype::f64).to_vector<double>()[0];
      const double expected = std::max(above, 0.0) + std::log1p(std::exp(-std::abs(above)));
      CHECK(std::abs(loss - expected) <= limit * std::max(expected, 1.0));
      const std::vector<double> dx = cross_entropy_backward(x, targets, no_ignored_target, Tensor::full({1}, 1, dtype))
                                         .to(Dtype::f64)
                                         .to_vector<double>();
      for (int64_t i = 0; i < classes; ++i) {
        const double share = i == target ? -1 : i == other ? 1 : 0;
        CHECK(std::abs(dx[i] - share / (1 + std::exp(-above))) <= limit);
      }
    }
}

TEST_CASE("cross_entropy: logits of any size give a finite loss") {
  const Tensor x = Tensor::of<float>({2, 2}, {1e4f, -1e4f, 300, 300});
  const std::vector<float> losses = cross_entropy_by_row(x, Tensor::of<int32_t>({2}, {1, 0})).to_vector<float>();
  CHECK(losses[0] == 2e4f);
  CHECK(losses[1] == doctest::Approx(std::log(2.0)).epsilon(1e-6));
}
