// Sums, means, maxima, logsumexps and variances over any axes.
#include "core/ops/reduce.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "core/ops/binary.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();

const std::vector<Sample> samples = {{[](Extents e, Random& random) {
                                        return Tensors{random_tensor({2, e.rows, e.width}, random)};
                                      },
                                      {{0, any_axis}}}};

Tensor reference_mean(const Tensor& x, const std::vector<int>& axes) {
  const Tensor total = reference::sum(x.to(Dtype::f64), axes);
  const double count = static_cast<double>(x.size() / std::max<int64_t>(total.size(), 1));
  return div(total, Tensor::scalar(count, Dtype::f64)).to(x.dtype());
}

const std::vector<std::vector<int>> axes_tried = {{}, {0}, {1}, {-1}, {0, 2}, {1, 2}, {2, 0, 1}};

// The extents with a 0 for which something is there to reduce: the samples are [2, rows, width].
std::vector<Extents> with_something_to_reduce(const std::vector<int>& axes) {
  const auto reduces = [&](int axis) {
    return axes.empty() || std::any_of(axes.begin(), axes.end(), [=](int given) { return (given + 3) % 3 == axis; });
  };
  std::vector<Extents> extents;
  if (!reduces(1)) extents.push_back({0, 5});
  if (!reduces(2)) extents.push_back({3, 0});
  if (!reduces(1) && !reduces(2)) extents.push_back({0, 0});
  return extents;
}

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
              .empty = with_something_to_reduce(axes)});
}

TEST_CASE("max: op case") {
  for (const std::vector<int>& axes : axes_tried)
    check_op({.op = "max",
              .run = [=](const Tensors& x) { return max(x[0], axes); },
              .reference = [=](const Tensors& x) { return reference::max(x[0], axes); },
              .differentiable = [=](const std::vector<Var>& x) { return max(x[0], axes); },
              .samples = samples,
              .refuses = {{[] {
                             max(Tensor::zeros({0, 2}, Dtype::f32), {0});
                           },
                           "nothing: x is [0, 2]"}},
              .empty = with_something_to_reduce(axes)});
}

TEST_CASE("logsumexp: op case") {
  for (const std::vector<int>& axes : axes_tried)
    check_op({.op = "logsumexp",
              .run = [=](const Tensors& x) { return logsumexp(x[0], axes); },
              .reference = [=](const Tensors& x) { return reference::logsumexp(x[0], axes); },
              .differentiable = [=](const std::vector<Var>& x) { return logsumexp(x[0], axes); },
              .samples = samples,
              .refuses = {{[] {
                             logsumexp(Tensor::zeros({2, 0}, Dtype::f32), {1});
                           },
                           "nothing: x is [2, 0]"},
                          {[] {
                             logsumexp(Tensor::zeros({2, 3}, Dtype::f32), {0, 4});
                           },
                           "axis 4 is outside x, which is [2, 3]"}},
              .empty = with_something_to_reduce(axes)});
}

TEST_CASE("variance: op case") {
  for (const std::vector<int>& axes : axes_tried)
    check_op({.op = "variance",
              .run = [=](const Tensors& x) { return variance(x[0], axes); },
              .reference = [=](const Tensors& x) { return reference::variance(x[0], axes); },
              .differentiable = [=](const std::vector<Var>& x) { return variance(x[0], axes); },
              .samples = samples,
              .refuses = {{[] { variance(Tensor::zeros({0}, Dtype::f32)); }, "nothing: x is [0]"},
                          {[] { variance(Tensor::scalar(1, Dtype::f32), {0}); }, "scalar"}},
              .empty = with_something_to_reduce(axes)});
}

TEST_CASE("reductions: of many elements, in several tiles, as the reference says") {
  struct Long {
    Shape shape;
    std::vector<int> axes;
  };
  // Runs of several segments, many runs to an output, columns in several pieces, blocks of columns, everything.
  const Long cases[] = {{{2, 70001}, {1}},      {{70001, 3}, {0}}, {{90, 400, 3}, {0, 1}}, {{300, 700}, {0}},
                        {{50, 3, 600}, {0, 2}}, {{400, 300}, {}},  {{7, 40000}, {}}};
  for (const Long& c : cases) {
    CAPTURE(c.shape);
    Random random{.seed = 8};
    const Tensor x = random_tensor(c.shape, random);
    const int64_t terms = x.size() / sum(x, c.axes).size();
    for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
      const Tensor from = x.to(dtype), exact = from.to(Dtype::f64);
      const double limit = dtype == Dtype::f64 ? tolerance::f64(terms) : tolerance::f32(terms, 0);
      CHECK(bit_mismatch(max(from, c.axes).to(Dtype::f64), reference::max(exact, c.axes)) == "");
      CHECK(mismatch(logsumexp(from, c.axes), dtype, reference::logsumexp(exact, c.axes), limit) == "");
      CHECK(mismatch(variance(from, c.axes), dtype, reference::variance(exact, c.axes), limit) == "");
      // As many ones as there are ties: shares of 1 come back.
      const Tensor ones = Tensor::full(c.shape, 1, dtype), y = max(ones, c.axes);
      const Tensor dy = Tensor::full(y.shape(), static_cast<double>(terms), dtype);
      CHECK(bit_mismatch(max_backward(ones, c.axes, y, dy), ones) == "");
    }
  }
}

TEST_CASE("max: NaN wherever it stands, and rows of -inf") {
  for (int64_t place = 0; place < 40; ++place) {
    CAPTURE(place);
    const Tensor x = Tensor::full({40, 2}, 1, Dtype::f32);
    x.view<float>()(place, 1) = nan_value;
    CHECK(max(x, {0}).to_vector<float>()[0] == 1);
    CHECK(std::isnan(max(x, {0}).to_vector<float>()[1]));
    CHECK(std::isnan(max(x.transpose(0, 1).contiguous(), {1}).to_vector<float>()[1]));
    CHECK(std::isnan(max(x).item<float>()));
  }
  CHECK(max(Tensor::full({5}, -infinity, Dtype::f32)).item<float>() == -infinity);
}

TEST_CASE("max: equal elements share the gradient evenly") {
  const Var x = Var::leaf(Tensor::of<float>({3, 4}, {1, 2, 2, 0, -5, -5, -5, -5, 7, 0, 0, 0}));
  CHECK(backward(max(x, {1}), Tensor::of<float>({3, 1}, {6, 8, 10}))[x].to_vector<float>() ==
        std::vector<float>{0, 3, 3, 0, 2, 2, 2, 2, 10, 0, 0, 0});
  CHECK(backward(max(x, {0}), Tensor::of<float>({1, 4}, {1, 2, 3, 4}))[x].to_vector<float>() ==
        std::vector<float>{0, 2, 3, 2, 0, 0, 0, 0, 1, 0, 0, 2});
  const Var least = Var::leaf(Tensor::full({2, 5}, -infinity, Dtype::f32));
  CHECK(backward(max(least, {}))[least].to_vector<float>() == std::vector<float>(10, 0.1f));
  const Var tied = Var::leaf(Tensor::of<float>({3}, {infinity, 0, infinity}));
  CHECK(backward(max(tied, {}))[tied].to_vector<float>() == std::vector<float>{0.5f, 0, 0.5f});
}

TEST_CASE("max: the gradient of a line with NaN is NaN, of the others a number") {
  const Var x = Var::leaf(Tensor::of<float>({2, 3}, {1, nan_value, 3, 4, 5, 6}));
  const std::vector<float> dx = backward(sum(max(x, {1})))[x].to_vector<float>();
  for (int i = 0; i < 3; ++i) CHECK(std::isnan(dx[i]));
  CHECK(std::vector<float>(dx.begin() + 3, dx.end()) == std::vector<float>{0, 0, 1});
}

TEST_CASE("logsumexp: large numbers, infinities and NaN, along rows and columns") {
  const std::vector<float> lines[] = {{1e30f, 1e30f, -1e30f},    {-1000, -1000, -1000},
                                      {-infinity, 2, -infinity}, {-infinity, -infinity, -infinity},
                                      {infinity, 0, 5},          {infinity, -infinity, infinity},
                                      {nan_value, 1, infinity},  {-infinity, nan_value, -infinity}};
  const float expected[] = {1e30f, -1000 + std::log(3.0f), 2, -infinity, infinity, infinity, nan_value, nan_value};
  // Repeated, so that several tiles meet.
  for (const int64_t repeats : {1, 7, 30000}) {
    CAPTURE(repeats);
    for (int line = 0; line < 8; ++line) {
      CAPTURE(line);
      Tensor x = Tensor::of<float>({1, 1, 3}, lines[line]).broadcast_to({2, repeats, 3}).contiguous();
      x = x.reshape({2, repeats * 3});
      const bool is_finite = std::isfinite(expected[line]) && std::abs(expected[line]) < 1e6f;
      const float want = expected[line] + (is_finite ? std::log(static_cast<float>(repeats)) : 0);
      for (const Tensor& y : {logsumexp(x, {1}), logsumexp(x.transpose(0, 1).contiguous(), {0}), logsumexp(x, {0, 1})})
        for (float got : y.to_vector<float>()) {
          if (is_finite && y.size() == 1) got -= std::log(2.0f);
          if (std::isnan(want))
            CHECK(std::isnan(got));
          else if (is_finite)
            CHECK(got == doctest::Approx(want).epsilon(1e-6));
          else
            CHECK(got == want);
        }
    }
  }
}

TEST_CASE("logsumexp: tiles of -inf do not hide small numbers in another tile") {
  const Tensor x = Tensor::full({100000, 2}, -infinity, Dtype::f32);
  x.view<float>()(99000, 0) = x.view<float>()(99000, 1) = -500;
  CHECK(logsumexp(x, {0}).to_vector<float>() == std::vector<float>{-500, -500});
  CHECK(logsumexp(x.transpose(0, 1).contiguous(), {1}).to_vector<float>() == std::vector<float>{-500, -500});
}

TEST_CASE("logsumexp: the gradient is finite where the value is, and 0 where it is -inf") {
  const Var x = Var::leaf(Tensor::of<float>({4, 2}, {1e30f, -1e30f, -infinity, 3, -infinity, -infinity, -200, -200}));
  const Tensor dy = Tensor::full({4, 1}, 2, Dtype::f32);
  const std::vector<float> dx = backward(logsumexp(x, {1}), dy)[x].to_vector<float>();
  CHECK(std::vector<float>(dx.begin(), dx.begin() + 6) == std::vector<float>{2, 0, 0, 2, 0, 0});
  // -200 + log(2) is rounded by up to 2^-17, and the gradient with it.
  CHECK(dx[6] == doctest::Approx(1).epsilon(1e-5));
  CHECK(dx[7] == dx[6]);
}

TEST_CASE("variance: a small spread around a large mean does not collapse, nor does its gradient") {
  Random random{.seed = 6};
  const Tensor noise = random_tensor({70000, 2}, random);
  const Tensor x = add(mul(noise, Tensor::scalar(1e-2, Dtype::f64)), Tensor::scalar(1e4, Dtype::f64)).to(Dtype::f32);
  const Tensor exact = x.to(Dtype::f64), cotangent = Tensor::full({1, 2}, 35000, Dtype::f64);
  const Tensor expected = reference::variance(exact, {0}), gradient = variance_backward(exact, {0}, cotangent);
  const auto check = [&](const Tensor& from, int axis) {
    const auto placed = [&](const Tensor& t) { return axis == 0 ? t : t.transpose(0, 1); };
    CHECK(mismatch(placed(variance(from, {axis})), Dtype::f32, expected, 1e-6) == "");
    CHECK(mismatch(placed(variance_backward(from, {axis}, placed(cotangent.to(Dtype::f32)))), Dtype::f32, gradient,
                   1e-6) == "");
  };
  check(x, 0);
  check(x.transpose(0, 1).contiguous(), 1);
}

TEST_CASE("variance: of equal numbers it is exactly 0, and so is its gradient; NaN and infinity give NaN") {
  for (const Shape& shape : {Shape{3, 41}, Shape{50000, 3}, Shape{3, 50000}})
    for (const std::vector<int>& axes : {std::vector<int>{0}, {1}, {}}) {
      CAPTURE(shape);
      const Var x = Var::leaf(Tensor::full(shape, 0.1, Dtype::f32));
      const Var y = variance(x, axes);
      CHECK(bit_mismatch(y.value(), Tensor::zeros(y.shape(), Dtype::f32)) == "");
      CHECK(bit_mismatch(backward(sum(y))[x], Tensor::zeros(shape, Dtype::f32)) == "");
    }
  // Whose squares overflow, so that merging with the spread of nothing must not look at them.
  for (const Shape& shape : {Shape{40000}, Shape{3, 4, 5}, Shape{40000, 3}})
    for (const std::vector<int>& axes : {std::vector<int>{}, {0}, {0, shape.rank() - 1}}) {
      if (shape.rank() == 1 && axes.size() == 2) continue;
      CAPTURE(shape);
      CHECK(variance(Tensor::full(shape, 1e200, Dtype::f64), axes).to_vector<double>()[0] == 0);
    }
  const Tensor x = Tensor::of<float>({3, 2}, {1, infinity, 0, nan_value, 0, 2});
  const std::vector<float> y = variance(x, {1}).to_vector<float>();
  CHECK(std::isnan(y[0]));
  CHECK(std::isnan(y[1]));
  CHECK(y[2] == 1);
}

TEST_CASE("reductions: gradients refuse what does not belong together") {
  const Tensor x = Tensor::zeros({2, 3}, Dtype::f32), y = Tensor::zeros({2, 1}, Dtype::f32);
  CHECK_THROWS_WITH_AS(max_backward(x, {1}, Tensor::zeros({1, 3}, Dtype::f32), y),
                       doctest::Contains("y is [1, 3], x is [2, 3]; y must be [2, 1]"), ShapeError);
  CHECK_THROWS_WITH_AS(logsumexp_backward(x, {1}, y, x), doctest::Contains("dy is [2, 3]"), ShapeError);
  CHECK_THROWS_AS(variance_backward(x, {1}, Tensor::zeros({2, 1}, Dtype::f64)), DtypeError);
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
