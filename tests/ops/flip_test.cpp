// Reversal along one axis.
#include "core/ops/flip.hpp"

#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

// Element by element along the axis.
Tensor flipped(const Tensor& x, int axis) {
  const Tensor y = Tensor::empty(x.shape(), x.dtype());
  const int64_t n = x.extent(axis);
  for (int64_t i = 0; i < n; ++i) copy_into(y.select(axis, i), x.select(axis, n - 1 - i));
  return y;
}

Tensors cube(Extents e, Random& random) { return {random_tensor({2, e.rows, e.width}, random)}; }

}  // namespace

TEST_CASE("flip: op case") {
  for (const int axis : {0, 1, -1})
    check_op({.op = "flip",
              .run = [=](const Tensors& x) { return flip(x[0], axis); },
              .reference = [=](const Tensors& x) { return flipped(x[0], axis); },
              .differentiable = [=](const std::vector<Var>& x) { return flip(x[0], axis); },
              .samples = {{cube, {{0, any_axis}}}},
              .refuses = {{[] {
                             flip(Tensor::zeros({2, 3}, Dtype::f32), 2);
                           },
                           "axis 2 is outside x, which is [2, 3]; valid: -2 .. 1"},
                          {[] {
                             flip(Tensor::zeros({2, 3}, Dtype::f32), -3);
                           },
                           "axis -3"},
                          {[] { flip(Tensor::scalar(1, Dtype::f32), 0); }, "x is a scalar"}},
              .empty = {{0, 5}, {3, 0}},
              .takes_any_dtype = true});
}

TEST_CASE("flip: any dtype, one element, a broadcast view, and twice is the identity") {
  CHECK(flip(Tensor::of<bool>({3}, {true, false, false}), 0).to_vector<bool>() ==
        std::vector<bool>{false, false, true});
  CHECK(flip(Tensor::of<int64_t>({1, 2}, {int64_t{1} << 62 | 1, 3}), -1).to_vector<int64_t>() ==
        std::vector<int64_t>{3, int64_t{1} << 62 | 1});
  CHECK(flip(Tensor::of<float>({1}, {7}), 0).to_vector<float>() == std::vector<float>{7});
  const Tensor row = Tensor::of<float>({2}, {1, 2}).broadcast_to({2, 2});
  CHECK(flip(row, 0).to_vector<float>() == std::vector<float>{1, 2, 1, 2});
  CHECK(flip(row, 1).to_vector<float>() == std::vector<float>{2, 1, 2, 1});
  Random random{.seed = 3};
  const Tensor x = random_tensor({3, 5, 40}, random).transpose(0, 2);
  for (int axis = 0; axis < 3; ++axis) CHECK(bit_mismatch(flip(flip(x, axis), axis), x) == "");
}
