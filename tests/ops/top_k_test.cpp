// The k largest of each row, and the largest along an axis.
#include "core/ops/top_k.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();

// The extents with a 0 for which lines along the axis have elements: the samples are [3, rows, width].
std::vector<Extents> with_something_along(int axis) {
  if (axis == 0) return {{0, 5}, {3, 0}};
  if (axis == 1 || axis == -2) return {{3, 0}};
  return {{0, 5}};
}

const std::vector<Sample> samples = {{[](Extents e, Random& random) {
                                        return Tensors{random_tensor({2, e.rows, e.width}, random)};
                                      },
                                      {{0, any_axis}}}};

// Few different values, NaN and infinities among them: ties everywhere.
Tensor with_ties(const Shape& shape, Random& random) {
  constexpr float values[] = {nan_value, infinity, -infinity, 0.0f, -0.0f, 1, 2, -3};
  std::vector<float> x(static_cast<size_t>(shape.size()));
  for (float& v : x) v = values[random.below(8)];
  return Tensor::of<float>(shape, x);
}

int64_t three_or_less(const Tensors& x) { return std::min<int64_t>(3, x[0].extent(-1)); }

}  // namespace

TEST_CASE("top_k: op case") {
  const std::vector<Refusal> refusals = {{[] { top_k(Tensor::scalar(1, Dtype::f32), 1); }, "scalar"},
                                         {[] {
                                            top_k(Tensor::zeros({2, 3}, Dtype::f32), 4);
                                          },
                                          "k is 4, x is [2, 3]"},
                                         {[] {
                                            top_k(Tensor::zeros({2, 3}, Dtype::f32), 0);
                                          },
                                          "k is 0"},
                                         {[] {
                                            top_k(Tensor::zeros({2, 0}, Dtype::f32), 1);
                                          },
                                          "x is [2, 0]"}};
  check_op({.op = "top_k",
            .run = [](const Tensors& x) { return top_k(x[0], three_or_less(x)).values; },
            .reference = [](const Tensors& x) { return reference::top_k(x[0], three_or_less(x)).values; },
            .differentiable = {},
            .samples = samples,
            .refuses = refusals});
  check_op(
      {.op = "top_k",
       .run = [](const Tensors& x) { return top_k(x[0], three_or_less(x)).indices.to(x[0].dtype()); },
       .reference = [](const Tensors& x) { return reference::top_k(x[0], three_or_less(x)).indices.to(x[0].dtype()); },
       .differentiable = {},
       .samples = samples});
}

TEST_CASE("argmax: op case") {
  for (const int axis : {0, 1, 2, -1, -2})
    check_op({.op = "argmax",
              .run = [=](const Tensors& x) { return argmax(x[0], axis).to(x[0].dtype()); },
              .reference = [=](const Tensors& x) { return reference::argmax(x[0], axis).to(x[0].dtype()); },
              .differentiable = {},
              .samples = samples,
              .refuses = {{[] { argmax(Tensor::scalar(1, Dtype::f32)); }, "scalar"},
                          {[] {
                             argmax(Tensor::zeros({2, 3}, Dtype::f32), 2);
                           },
                           "axis 2 is outside x, which is [2, 3]"},
                          {[] {
                             argmax(Tensor::zeros({2, 0}, Dtype::f32));
                           },
                           "axis -1 of x, which is [2, 0]"}},
              .empty = with_something_along(axis)});
}

TEST_CASE("top_k: descending, NaN first, the lower index first among equals") {
  const Tensor x = Tensor::of<float>({9}, {1, nan_value, 3, 3, -infinity, nan_value, infinity, 0.0f, -0.0f});
  const TopK all = top_k(x, 9);
  CHECK(all.indices.to_vector<int64_t>() == std::vector<int64_t>{1, 5, 6, 2, 3, 0, 7, 8, 4});
  CHECK(all.indices.dtype() == Dtype::i64);
  const std::vector<float> values = all.values.to_vector<float>();
  CHECK(std::isnan(values[0]));
  CHECK(std::isnan(values[1]));
  CHECK(std::vector<float>(values.begin() + 2, values.end()) == std::vector<float>{infinity, 3, 3, 1, 0, 0, -infinity});
  CHECK(std::signbit(values[7]));
  CHECK(top_k(x, 4).indices.to_vector<int64_t>() == std::vector<int64_t>{1, 5, 6, 2});
  CHECK(argmax(x).item<int64_t>() == 1);
  CHECK(argmax(Tensor::of<float>({4}, {-infinity, 2, 2, 1})).item<int64_t>() == 1);
  CHECK(argmax(Tensor::full({50}, -infinity, Dtype::f32)).item<int64_t>() == 0);
}

TEST_CASE("top_k: rows full of ties, any k, as a full sort says") {
  Random random{.seed = 9};
  for (const int64_t width : {1, 2, 15, 16, 17, 33, 64, 200, 1000})
    for (const int64_t k : {int64_t{1}, int64_t{2}, int64_t{7}, width / 2, width - 1, width}) {
      if (k < 1 || k > width) continue;
      CAPTURE(width);
      CAPTURE(k);
      const Tensor x = with_ties({4, width}, random);
      const TopK got = top_k(x, k), expected = reference::top_k(x, k);
      CHECK(bit_mismatch(got.indices, expected.indices) == "");
      CHECK(got.values.shape() == Shape{4, k});
      // The values are those at the indices, bit by bit: also the sign of zero.
      for (int64_t row = 0; row < 4; ++row)
        for (int64_t i = 0; i < k; ++i) {
          const float value = got.values.view<float>()(row, i);
          const float at = x.view<float>()(row, got.indices.view<int64_t>()(row, i));
          CHECK(bit_mismatch(Tensor::of<float>({1}, {value}), Tensor::of<float>({1}, {at})) == "");
        }
    }
}

TEST_CASE("top_k: rising, falling and equal rows") {
  constexpr int64_t width = 5000, k = 40;
  const Tensor x = Tensor::zeros({3, width}, Dtype::f64);
  for (int64_t i = 0; i < width; ++i) {
    x.view<double>()(0, i) = static_cast<double>(i);
    x.view<double>()(1, i) = static_cast<double>(-i);
  }
  const TopK top = top_k(x, k);
  for (int64_t i = 0; i < k; ++i) {
    CHECK(top.indices.view<int64_t>()(0, i) == width - 1 - i);
    CHECK(top.indices.view<int64_t>()(1, i) == i);
    CHECK(top.indices.view<int64_t>()(2, i) == i);
  }
}

TEST_CASE("argmax: ties and NaN along every axis, in rows and in columns") {
  Random random{.seed = 10};
  for (const Shape& shape : {Shape{3, 40, 5}, Shape{5, 3, 700}, Shape{400, 2, 1}})
    for (const int axis : {0, 1, 2}) {
      CAPTURE(shape);
      CAPTURE(axis);
      const Tensor x = with_ties(shape, random);
      CHECK(bit_mismatch(argmax(x, axis), reference::argmax(x, axis)) == "");
      const Tensor turned = x.transpose(0, 2);
      CHECK(bit_mismatch(argmax(turned, axis), reference::argmax(turned, axis)) == "");
    }
}
