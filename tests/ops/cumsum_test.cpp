// Running sums along an axis.
#include "core/ops/cumsum.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

TEST_CASE("cumsum: op case") {
  for (const int axis : {0, 1, 2, -1, -2})
    check_op({.op = "cumsum",
              .run = [=](const Tensors& x) { return cumsum(x[0], axis); },
              .reference = [=](const Tensors& x) { return reference::cumsum(x[0], axis); },
              .differentiable = [=](const std::vector<Var>& x) { return cumsum(x[0], axis); },
              .samples = {{[](Extents e, Random& random) {
                             return Tensors{random_tensor({3, e.rows, e.width}, random)};
                           },
                           {{0, any_axis}}}},
              .refuses = {{[] { cumsum(Tensor::scalar(1, Dtype::f32), 0); }, "scalar"},
                          {[] {
                             cumsum(Tensor::zeros({2, 3}, Dtype::f32), -3);
                           },
                           "axis -3 is outside x, which is [2, 3]"}},
              .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("cumsum: small example") {
  const Tensor x = Tensor::of<float>({2, 3}, {1, 2, 3, 10, 20, 30});
  CHECK(cumsum(x, 1).to_vector<float>() == std::vector<float>{1, 3, 6, 10, 30, 60});
  CHECK(cumsum(x, 0).to_vector<float>() == std::vector<float>{1, 2, 3, 11, 22, 33});
  CHECK(cumsum_backward(x, 1).to_vector<float>() == std::vector<float>{6, 5, 3, 60, 50, 30});
  CHECK(cumsum_backward(x, -2).to_vector<float>() == std::vector<float>{11, 22, 33, 10, 20, 30});
}

TEST_CASE("cumsum: added in order, bit by bit, whatever the axis, the width and the memory") {
  Random random{.seed = 3};
  for (const Shape& shape : {Shape{5, 7, 3}, Shape{70, 9, 2}, Shape{3, 4, 600}, Shape{300, 1, 2}}) {
    const Tensor x = random_tensor(shape, random);
    for (const Tensor& from : {x, x.transpose(0, 2), x.slice(0, 0, 2), x.unsqueeze(1).broadcast_to(shape.insert(1, 2))})
      for (int axis = 0; axis < from.rank(); ++axis)
        CHECK(bit_mismatch(cumsum(from, axis), reference::cumsum(from, axis)) == "");
  }
}

TEST_CASE("cumsum: f32 is added in double") {
  const int64_t count = 100000;
  const Tensor x = Tensor::full({count, 2}, 0.1, Dtype::f32);
  for (const Tensor& y : {cumsum(x, 0), cumsum(x.transpose(0, 1).contiguous(), 1).transpose(0, 1)})
    for (const int64_t i : {int64_t{0}, int64_t{12345}, count - 1})
      CHECK(y.view<float>()(i, 1) == static_cast<float>(double{0.1f} * static_cast<double>(i + 1)));
}

TEST_CASE("cumsum: NaN and infinity reach what follows, in their own line") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::full({40, 3}, 1, Dtype::f32);
  x.view<float>()(20, 1) = nan;
  x.view<float>()(10, 2) = infinity;
  const Tensor y = cumsum(x, 0);
  for (int64_t i = 0; i < 40; ++i) {
    CHECK(y.view<float>()(i, 0) == static_cast<float>(i + 1));
    CHECK(std::isnan(y.view<float>()(i, 1)) == (i >= 20));
    CHECK(std::isinf(y.view<float>()(i, 2)) == (i >= 10));
  }
}

TEST_CASE("cumsum: the result keeps the order of axes in memory") {
  const Tensor x = Tensor::zeros({4, 5}, Dtype::f32).transpose(0, 1);
  CHECK(cumsum(x, 0).strides() == x.strides());
  CHECK(cumsum(x, 1).strides() == x.strides());
}
