// Sums, means and maxima over any axes.
#include "core/ops/reduce.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "core/ops/binary.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

const std::vector<Sample> samples = {{[](Extents e, Random& random) {
                                        return Tensors{random_tensor({2, e.rows, e.width}, random)};
                                      },
                                      {{0, any_axis}}}};

Tensor reference_mean(const Tensor& x, const std::vector<int>& axes) {
  const Tensor total = reference::sum(x.to(Dtype::f64), axes);
  const double count = static_cast<double>(x.size() / total.size());
  return div(total, Tensor::scalar(count, Dtype::f64)).to(x.dtype());
}

const std::vector<std::vector<int>> axes_tried = {{}, {0}, {1}, {-1}, {0, 2}, {1, 2}, {2, 0, 1}};

}  // namespace

TEST_CASE("sum: op case") {
  for (const std::vector<int>& axes : axes_tried)
    check_op({.op = "sum",
              .run = [=](const Tensors& x) { return sum(x[0], axes); },
              .reference = [=](const Tensors& x) { return reference::sum(x[0], axes); },
              .differentiable = [=](const std::vector<Var>& x) { return sum(x[0], axes); },
              .samples = samples,
              .refuses = {{[] {
                             sum(Tensor::zeros({2, 3}, Dtype::f32), {2});
                           },
                           "axis 2"},
                          {[] {
                             sum(Tensor::zeros({2, 3}, Dtype::f32), {1, -1});
                           },
                           "twice"}},
              .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("mean: op case") {
  for (const std::vector<int>& axes : axes_tried)
    check_op({.op = "mean",
              .run = [=](const Tensors& x) { return mean(x[0], axes); },
              .reference = [=](const Tensors& x) { return reference_mean(x[0], axes); },
              .differentiable = [=](const std::vector<Var>& x) { return mean(x[0], axes); },
              .samples = samples,
              .refuses = {{[] {
                             mean(Tensor::zeros({2, 0}, Dtype::f32), {1});
                           },
                           "nothing"},
                          {[] {
                             mean(Tensor::zeros({2, 3}, Dtype::f32), {-3});
                           },
                           "axis -3"}},
              .empty = {}});
}

TEST_CASE("max: op case") {
  for (const std::vector<int>& axes : axes_tried)
    check_op({.op = "max",
              .run = [=](const Tensors& x) { return max(x[0], axes); },
              .reference = [=](const Tensors& x) { return reference::max(x[0], axes); },
              .differentiable = {},
              .samples = samples,
              .refuses = {{[] {
                             max(Tensor::zeros({0, 2}, Dtype::f32), {0});
                           },
                           "nothing"}},
              .empty = {}});
}

TEST_CASE("max: NaN wherever it stands, and rows of -inf") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (int64_t place = 0; place < 40; ++place) {
    CAPTURE(place);
    const Tensor x = Tensor::full({40, 2}, 1, Dtype::f32);
    x.view<float>()(place, 1) = nan;
    CHECK(max(x, {0}).to_vector<float>()[0] == 1);
    CHECK(std::isnan(max(x, {0}).to_vector<float>()[1]));
    CHECK(std::isnan(max(x.transpose(0, 1).contiguous(), {1}).to_vector<float>()[1]));
    CHECK(std::isnan(max(x).item<float>()));
  }
  CHECK(max(Tensor::full({5}, -infinity, Dtype::f32)).item<float>() == -infinity);
}

TEST_CASE("sum and mean of everything are scalars as Vars") {
  const Var x = Var::leaf(Tensor::of<double>({2, 2}, {1, 2, 3, 4}));
  CHECK(sum(x).rank() == 0);
  CHECK(sum(x).value().item<double>() == 10);
  CHECK(mean(x).value().item<double>() == 2.5);
  CHECK(backward(mean(x))[x].to_vector<double>() == std::vector<double>(4, 0.25));
  CHECK(sum(x.value()).shape() == Shape{1, 1});
}

TEST_CASE("sum: a long f32 sum keeps its digits") {
  // One accumulator would stop growing at 2^24.
  const int64_t count = int64_t{1} << 25;
  CHECK(sum(Tensor::full({count}, 1, Dtype::f32)).item<float>() == static_cast<float>(count));
}

TEST_CASE("sum_to: undoes broadcasting") {
  Random random{.seed = 5};
  const Tensor x = random_tensor({3, 4, 5}, random);
  CHECK(bit_mismatch(sum_to(x, {3, 4, 5}), x) == "");
  CHECK(mismatch(sum_to(x, {4, 1}), Dtype::f64, reference::sum(x, {0, 2}).reshape({4, 1}), tolerance::f64(15)) == "");
  CHECK(mismatch(sum_to(x, {}), Dtype::f64, reference::sum(x).reshape({}), tolerance::f64(60)) == "");
  CHECK(mismatch(sum_to(x, {1, 1, 5}), Dtype::f64, reference::sum(x, {0, 1}), tolerance::f64(12)) == "");
  CHECK_THROWS_AS(sum_to(x, {4}), ShapeError);
  CHECK_THROWS_AS(sum_to(x, {2, 3, 4, 5}), ShapeError);
}
