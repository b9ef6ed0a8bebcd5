// Convolution of scores along the keys.
#include "core/ops/conv_keys.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cmath>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

Tensor zeros(const Shape& shape, Dtype dtype = Dtype::f32) { return Tensor::zeros(shape, dtype); }

// x [2, channels, rows, width], weight [out_channels, channels, taps]
Sample sample(int64_t channels, int64_t out_channels, int64_t taps) {
  return {[=](Extents e, Random& random) {
            return Tensors{random_tensor({2, channels, e.rows, e.width}, random),
                           random_tensor({out_channels, channels, taps}, random)};
          },
          {{0, 0}, {0, 2}, {0, 3}, {1, 0}}};
}

}  // namespace

TEST_CASE("conv_keys: op case" * doctest::test_suite("slow kernels")) {
  check_op({.op = "conv_keys",
            .run = [](const Tensors& x) { return conv_keys(x[0], x[1]); },
            .reference = [](const Tensors& x) { return reference::conv_keys(x[0], x[1]); },
            .differentiable = [](const std::vector<Var>& x) { return conv_keys(x[0], x[1]); },
            .samples = {sample(2, 3, 3), sample(3, 5, 1), sample(3, 2, 7)},
            .refuses = {{[] {
                           conv_keys(zeros({1, 2, 3, 4}), zeros({2, 2, 4}));
                         },
                         "the width, is 4"},
                        {[] {
                           conv_keys(zeros({1, 2, 3, 4}), zeros({2, 2, 0}));
                         },
                         "weight is [2, 2, 0]"},
                        {[] {
                           conv_keys(zeros({1, 2, 3, 4}), zeros({2, 3, 3}));
                         },
                         "x is [1, 2, 3, 4], weight is [2, 3, 3]; axis 1"},
                        {[] {
                           conv_keys(zeros({2, 3, 4}), zeros({2, 2, 3}));
                         },
                         "x is [2, 3, 4]"},
                        {[] {
                           conv_keys(zeros({1, 2, 3, 4}), zeros({2, 2}));
                         },
                         "weight is [2, 2]"}},
            .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("conv_keys: by hand, a correlation that does not turn the kernel round") {
  const Tensor x = Tensor::of<double>({1, 1, 1, 4}, {1, 10, 100, 1000});
  const Tensor weight = Tensor::of<double>({1, 1, 3}, {1, 2, 3});
  CHECK(conv_keys(x, weight).to_vector<double>() == std::vector<double>{32, 321, 3210, 2100});
  CHECK(conv_keys(x, Tensor::of<double>({1, 1, 1}, {7})).to_vector<double>() == std::vector<double>{7, 70, 700, 7000});
  // Wider than the keys: each output sees all of x, through other taps.
  const Tensor wide = Tensor::of<double>({1, 1, 9}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(conv_keys(x, wide).to_vector<double>() == std::vector<double>{8765, 7654, 6543, 5432});
}

TEST_CASE("conv_keys: queries and batches do not mix; channels do, as the weight says") {
  const Tensor x = zeros({2, 2, 3, 5}, Dtype::f64);
  x.view<double>()(1, 0, 2, 4) = 1;
  const Tensor weight = Tensor::of<double>({2, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  const Tensor y = conv_keys(x, weight);
  const Tensor expected = zeros({2, 2, 3, 5}, Dtype::f64);
  expected.view<double>()(1, 0, 2, 3) = 3;
  expected.view<double>()(1, 0, 2, 4) = 2;
  expected.view<double>()(1, 1, 2, 3) = 9;
  expected.view<double>()(1, 1, 2, 4) = 8;
  CHECK(bit_mismatch(y, expected) == "");
}

TEST_CASE("conv_keys: rows of several blocks, and their gradients, as the reference") {
  // The more channels, the fewer keys to a block. All of these cut the rows, and leave a shorter block at the end.
  for (const auto& [channels, out_channels, keys] :
       {std::array<int64_t, 3>{40, 3, 2000}, {130, 2, 301}, {3, 70, 500}}) {
    Random random{.seed = 12};
    const Tensor x = random_tensor({1, channels, 3, keys}, random);
    const Tensor weight = random_tensor({out_channels, channels, 5}, random);
    const Tensor dy = random_tensor({1, out_channels, 3, keys}, random);
    CHECK(mismatch(conv_keys(x, weight), Dtype::f64, reference::conv_keys(x, weight), tolerance::f64(5 * channels)) ==
          "");
    // <dy, conv(x, w)> is linear in x and in w: its derivatives, contracted with any u and v in their place, give
    // <dy, conv(u, w)> and <dy, conv(x, v)>.
    const Tensor u = random_tensor(x.shape(), random), v = random_tensor(weight.shape(), random);
    const auto inner = [](const Tensor& a, const Tensor& b) { return sum(Var(a) * Var(b)).value().item<double>(); };
    CHECK(inner(conv_keys_dx(weight, dy), u) ==
          doctest::Approx(inner(dy, reference::conv_keys(u, weight))).epsilon(1e-11));
    CHECK(inner(conv_keys_dweight(x, 5, dy), v) ==
          doctest::Approx(inner(dy, reference::conv_keys(x, v))).epsilon(1e-11));
  }
}

TEST_CASE("conv_keys: no channels give zeros") {
  const Tensor y = conv_keys(zeros({1, 0, 2, 3}), zeros({2, 0, 3}));
  CHECK(y.to_vector<float>() == std::vector<float>(12, 0));
  CHECK(conv_keys(zeros({1, 2, 2, 3}), zeros({0, 2, 3})).shape() == Shape{1, 0, 2, 3});
  CHECK(conv_keys_dweight(zeros({1, 2, 0, 3}), 3, zeros({1, 1, 0, 3})).to_vector<float>() == std::vector<float>(6, 0));
}

TEST_CASE("conv_keys: NaN reaches as far as the kernel, in its query alone") {
  const Tensor x = zeros({1, 1, 2, 40}, Dtype::f64);
  x.view<double>()(0, 0, 1, 20) = std::nan("");
  const Tensor y = conv_keys(x, Tensor::full({1, 1, 3}, 1, Dtype::f64));
  for (int64_t query = 0; query < 2; ++query)
    for (int64_t key = 0; key < 40; ++key)
      CHECK(std::isnan(y.view<double>()(0, 0, query, key)) == (query == 1 && key >= 19 && key <= 21));
}

TEST_CASE("conv_keys_dx, conv_keys_dweight: refuse what does not fit") {
  const Tensor x = zeros({1, 2, 3, 4}), dy = zeros({1, 5, 3, 4}), weight = zeros({5, 2, 3});
  CHECK_THROWS_AS(conv_keys_dx(zeros({2, 5, 3}), dy), ShapeError);
  CHECK_THROWS_AS(conv_keys_dx(zeros({5, 2, 2}), dy), ShapeError);
  CHECK_THROWS_AS(conv_keys_dx(weight, dy.select(0, 0)), ShapeError);
  CHECK_THROWS_AS(conv_keys_dx(weight, dy.to(Dtype::f64)), DtypeError);
  CHECK_THROWS_AS(conv_keys_dweight(x, 2, dy), ShapeError);
  CHECK_THROWS_AS(conv_keys_dweight(x, -1, dy), ShapeError);
  CHECK_THROWS_AS(conv_keys_dweight(x, 3, zeros({1, 5, 3, 5})), ShapeError);
  CHECK_THROWS_AS(conv_keys_dweight(x, 3, zeros({2, 5, 3, 4})), ShapeError);
  CHECK_THROWS_AS(conv_keys_dweight(x, 3, zeros({1, 5, 2, 4})), ShapeError);
  CHECK_THROWS_AS(conv_keys_dweight(x, 3, dy.to(Dtype::f64)), DtypeError);
}
