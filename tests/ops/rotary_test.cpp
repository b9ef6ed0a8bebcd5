// Turning components by tables of cosines and sines.
#include "core/ops/rotary.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

// `passed` channels beyond the components that turn.
Sample sample(std::function<Shape(Extents)> table, int64_t passed, std::vector<ArgumentAxis> free_axes) {
  return {[=](Extents e, Random& random) {
            return Tensors{random_tensor({2, 3, e.rows, 2 * e.width + passed}, random), random_tensor(table(e), random),
                           random_tensor(table(e), random)};
          },
          std::move(free_axes)};
}

const std::vector<Sample> samples = {
    sample(
        [](Extents e) {
          return Shape{e.rows, e.width};
        },
        0, {{0, 0}, {0, 1}}),
    sample(
        [](Extents e) {
          return Shape{2, 1, e.rows, e.width};
        },
        4, {{0, 1}}),
    sample(
        [](Extents e) {
          return Shape{3, 1, e.width};
        },
        2, {{0, 0}, {0, 2}}),
    sample(
        [](Extents e) {
          return Shape{2, 3, e.rows, e.width};
        },
        2, {}),
};

struct Tables {
  Tensor cos, sin;
};

// Real angles: component p of position t turns by t / 10^p.
Tables angle_tables(int64_t length, int64_t components) {
  const Tables tables = {Tensor::empty({length, components}, Dtype::f64),
                         Tensor::empty({length, components}, Dtype::f64)};
  for (int64_t t = 0; t < length; ++t)
    for (int64_t p = 0; p < components; ++p) {
      const double angle = static_cast<double>(t) * std::pow(10.0, -static_cast<double>(p));
      tables.cos.view<double>()(t, p) = std::cos(angle);
      tables.sin.view<double>()(t, p) = std::sin(angle);
    }
  return tables;
}

// [0 2 4 .. 1 3 5 ..]: where half_split keeps the channels of interleaved; channels beyond `turning` stay.
Tensor half_split_order(const Tensor& x, int64_t turning) {
  const Tensor y = x.clone();
  for (int64_t p = 0; p < turning / 2; ++p) {
    copy_into(y.select(-1, p), x.select(-1, 2 * p));
    copy_into(y.select(-1, p + turning / 2), x.select(-1, 2 * p + 1));
  }
  return y;
}

Tensor zeros(const Shape& shape) { return Tensor::zeros(shape, Dtype::f32); }

}  // namespace

TEST_CASE("rotary: op case") {
  for (const RotaryLayout layout : {RotaryLayout::interleaved, RotaryLayout::half_split}) {
    const auto run = [layout](const Shape& x, const Shape& cos, const Shape& sin) {
      return [=] { rotary(zeros(x), zeros(cos), zeros(sin), layout); };
    };
    check_op({.op = "rotary",
              .run = [=](const Tensors& x) { return rotary(x[0], x[1], x[2], layout); },
              .reference = [=](const Tensors& x) { return reference::rotary(x[0], x[1], x[2], layout); },
              .differentiable = [=](const std::vector<Var>& x) { return rotary(x[0], x[1], x[2], layout); },
              .samples = samples,
              .refuses = {{run({1, 1, 4, 5}, {4, 2}, {4, 2}), "odd"},
                          {run({1, 1, 4, 4}, {4, 3}, {4, 3}), "components"},
                          {run({1, 1, 4, 6}, {4, 3}, {4, 2}), "sin is [4, 2]"},
                          {run({1, 4, 6}, {4, 3}, {4, 3}), "head_dim"},
                          {run({1, 1, 4, 6}, {5, 3}, {5, 3}), "[5, 3]"}},
              .empty = {{0, 5}, {3, 0}},
              .large = {300, 70}});
  }
}

TEST_CASE("rotary: by hand, a quarter turn") {
  const Tensor x = Tensor::of<double>({1, 1, 1, 6}, {1, 2, 3, 4, 5, 6});
  const Tensor cos = zeros({1, 2}).to(Dtype::f64), sin = Tensor::full({1, 2}, 1, Dtype::f64);
  CHECK(rotary(x, cos, sin, RotaryLayout::interleaved).to_vector<double>() == std::vector<double>{-2, 1, -4, 3, 5, 6});
  CHECK(rotary(x, cos, sin, RotaryLayout::half_split).to_vector<double>() == std::vector<double>{-3, -4, 1, 2, 5, 6});
}

TEST_CASE("rotary: both layouts agree after the permutation of channels") {
  Random random{.seed = 9};
  const Tensor x = random_tensor({2, 3, 7, 24}, random);
  const auto [cos, sin] = angle_tables(7, 10);
  const Tensor interleaved = rotary(x, cos, sin, RotaryLayout::interleaved);
  const Tensor half_split = rotary(half_split_order(x, 20), cos, sin, RotaryLayout::half_split);
  CHECK(mismatch(half_split, Dtype::f64, half_split_order(interleaved, 20), tolerance::f64(2)) == "");
}

TEST_CASE("rotary: the transposed turn undoes the turn, and lengths stay") {
  Random random{.seed = 9};
  const Tensor x = random_tensor({2, 3, 7, 20}, random);
  const auto [cos, sin] = angle_tables(7, 9);
  for (const RotaryLayout layout : {RotaryLayout::interleaved, RotaryLayout::half_split}) {
    const Tensor y = rotary(x, cos, sin, layout);
    CHECK(mismatch(rotary_transposed(y, cos, sin, layout), Dtype::f64, x, tolerance::f64(2)) == "");
    const auto squares = [](const Tensor& t) { return sum(Var(t) * Var(t), {3}).value(); };
    CHECK(mismatch(squares(y), Dtype::f64, squares(x), tolerance::f64(20)) == "");
    CHECK(relative_error(y, x) > 0.1);
  }
}

TEST_CASE("rotary: channels beyond the components pass through, bit for bit") {
  Random random{.seed = 9};
  const Tensor x = random_tensor({2, 3, 7, 24}, random);
  const auto [cos, sin] = angle_tables(7, 5);
  for (const RotaryLayout layout : {RotaryLayout::interleaved, RotaryLayout::half_split})
    CHECK(bit_mismatch(rotary(x, cos, sin, layout).slice(3, 10, 24), x.slice(3, 10, 24)) == "");
}

TEST_CASE("rotary: a broadcast table is the table repeated, and its gradient the sum") {
  Random random{.seed = 9};
  const Tensor x = random_tensor({2, 3, 7, 16}, random), dy = random_tensor({2, 3, 7, 16}, random);
  const auto [cos, sin] = angle_tables(7, 8);
  const Tensor wide_cos = cos.broadcast_to({2, 3, 7, 8}).clone(), wide_sin = sin.broadcast_to({2, 3, 7, 8}).clone();
  for (const RotaryLayout layout : {RotaryLayout::interleaved, RotaryLayout::half_split}) {
    CHECK(mismatch(rotary(x, cos, sin, layout), Dtype::f64, rotary(x, wide_cos, wide_sin, layout), tolerance::f64(2)) ==
          "");
    const RotaryTableGradients narrow = rotary_table_backward(x, cos, sin, layout, dy);
    const RotaryTableGradients wide = rotary_table_backward(x, wide_cos, wide_sin, layout, dy);
    const auto summed = [](const Tensor& t) { return sum(Var(t), {0, 1}).value().reshape({7, 8}); };
    CHECK(mismatch(narrow.dcos, Dtype::f64, summed(wide.dcos), tolerance::f64(6)) == "");
    CHECK(mismatch(narrow.dsin, Dtype::f64, summed(wide.dsin), tolerance::f64(6)) == "");
  }
}

TEST_CASE("rotary: the result keeps the order of axes in memory") {
  Random random{.seed = 9};
  const Tensor x = random_tensor({2, 7, 3, 16}, random).transpose(1, 2);
  const auto [cos, sin] = angle_tables(7, 8);
  CHECK(rotary(x, cos, sin, RotaryLayout::half_split).strides() == x.strides());
}
