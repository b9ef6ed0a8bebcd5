// Constant padding along one axis.
#include "core/ops/pad.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

// Place by place along the axis.
Tensor padded(const Tensor& x, int axis, int64_t before, int64_t after, double value) {
  const int64_t n = x.extent(axis);
  const Tensor y = Tensor::full(x.shape().with(axis, before + n + after), value, x.dtype());
  for (int64_t i = 0; i < n; ++i) copy_into(y.select(axis, before + i), x.select(axis, i));
  return y;
}

Tensors cube(Extents e, Random& random) { return {random_tensor({2, e.rows, e.width}, random)}; }
Tensor zeros(const Shape& shape, Dtype dtype = Dtype::f32) { return Tensor::zeros(shape, dtype); }

}  // namespace

TEST_CASE("pad: op case") {
  constexpr int64_t most = std::numeric_limits<int64_t>::max();
  for (const int axis : {0, -2, 2})
    check_op({.op = "pad",
              .run = [=](const Tensors& x) { return pad(x[0], axis, 1, 3, -2.5); },
              .reference = [=](const Tensors& x) { return padded(x[0], axis, 1, 3, -2.5); },
              .differentiable = [=](const std::vector<Var>& x) { return pad(x[0], axis, 1, 3, -2.5); },
              .samples = {{cube, {{0, any_axis}}}},
              .refuses = {{[] {
                             pad(zeros({2, 3}), 2, 0, 0);
                           },
                           "axis 2 is outside x, which is [2, 3]"},
                          {[] { pad(Tensor::scalar(1, Dtype::f32), 0, 1, 1); }, "x is a scalar"},
                          {[] {
                             pad(zeros({2, 3}), 1, -1, 0);
                           },
                           "x, which is [2, 3], gets -1 elements before"},
                          {[] {
                             pad(zeros({2, 3}), 1, 0, -2);
                           },
                           "-2 after"},
                          {[] {
                             pad(zeros({2, 3}), 1, most, 1);
                           },
                           "more than 63 bits"},
                          {[] { pad(zeros({2}, Dtype::boolean), 0, 1, 1); }, "boolean"},
                          {[] { pad(zeros({2}, Dtype::i32), 0, 1, 1, 0.5); }, "value is 0.5"},
                          {[] { pad(zeros({2}, Dtype::i32), 0, 1, 1, 2147483648.0); }, "i32"},
                          {[] { pad(zeros({2}, Dtype::i64), 0, 1, 1, std::nan("")); }, "nan"}},
              .empty = {{0, 5}, {3, 0}},
              .takes_any_dtype = true});
}

TEST_CASE("pad: integers, nothing to add, infinity, and the value 0 if none is given") {
  CHECK(pad(Tensor::of<int32_t>({2}, {1, 2}), 0, 2, 1, -2147483648.0).to_vector<int32_t>() ==
        std::vector<int32_t>{INT32_MIN, INT32_MIN, 1, 2, INT32_MIN});
  CHECK(pad(Tensor::of<int64_t>({1}, {5}), -1, 0, 2).to_vector<int64_t>() == std::vector<int64_t>{5, 0, 0});
  const Tensor x = Tensor::of<float>({1, 2}, {1, 2});
  CHECK(bit_mismatch(pad(x, 1, 0, 0), x) == "");
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(pad(x, 0, 1, 0, -infinity).to_vector<float>() == std::vector<float>{-infinity, -infinity, 1, 2});
  CHECK(pad(zeros({0}), 0, 1, 1, 4).to_vector<float>() == std::vector<float>{4, 4});
}
