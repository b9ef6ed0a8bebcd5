// Softmax and its logarithm along any axis.
#include "core/ops/softmax.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "core/ops/binary.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
constexpr int axes_tried[] = {0, 1, 2, -1, -2};

// The extents with a 0 for which lines along the axis have elements: the samples are [3, rows, width].
std::vector<Extents> with_something_along(int axis) {
  if (axis == 0) return {{0, 5}, {3, 0}};
  if (axis == 1 || axis == -2) return {{3, 0}};
  return {{0, 5}};
}

const std::vector<Sample> samples = {{[](Extents e, Random& random) {
                                        return Tensors{random_tensor({3, e.rows, e.width}, random)};
                                      },
                                      {{0, any_axis}}}};

std::vector<Refusal> refusals(Tensor op(const Tensor& x, int axis)) {
  return {{[=] { op(Tensor::scalar(1, Dtype::f32), -1); }, "scalar"},
          {[=] {
             op(Tensor::zeros({2, 0}, Dtype::f32), -1);
           },
           "axis -1 of x, which is [2, 0]"},
          {[=] {
             op(Tensor::zeros({4, 7}, Dtype::f32), 3);
           },
           "axis 3 is outside x, which is [4, 7]; valid: -2 .. 1"}};
}

}  // namespace

TEST_CASE("softmax: op case" * doctest::test_suite("slow kernels")) {
  for (const int axis : axes_tried)
    check_op({.op = "softmax",
              .run = [=](const Tensors& x) { return softmax(x[0], axis); },
              .reference = [=](const Tensors& x) { return reference::softmax(x[0], axis); },
              .differentiable = [=](const std::vector<Var>& x) { return softmax(x[0], axis); },
              .samples = samples,
              .refuses = refusals(softmax),
              .empty = with_something_along(axis)});
}

TEST_CASE("log_softmax: op case" * doctest::test_suite("slow kernels")) {
  for (const int axis : axes_tried)
    check_op({.op = "log_softmax",
              .run = [=](const Tensors& x) { return log_softmax(x[0], axis); },
              .reference = [=](const Tensors& x) { return reference::log_softmax(x[0], axis); },
              .differentiable = [=](const std::vector<Var>& x) { return log_softmax(x[0], axis); },
              .samples = samples,
              .refuses = refusals(log_softmax),
              .empty = with_something_along(axis)});
}

TEST_CASE("softmax: the last axis unless another is named") {
  Random random{.seed = 5};
  const Tensor x = random_tensor({3, 4}, random);
  CHECK(bit_mismatch(softmax(x), softmax(x, 1)) == "");
  CHECK(bit_mismatch(log_softmax(x), log_softmax(x, 1)) == "");
  CHECK(bit_mismatch(softmax(Var(x)).value(), softmax(x, 1)) == "");
}

TEST_CASE("softmax: many lines side by side, in several tiles, as the reference says") {
  Random random{.seed = 6};
  for (const Shape& shape : {Shape{5, 700}, Shape{300, 90}, Shape{2, 3, 1500}}) {
    const int axis = shape.rank() - 2;
    const Tensor x = random_tensor(shape, random).to(Dtype::f32), exact = x.to(Dtype::f64);
    const double limit = tolerance::f32(shape[axis], 0);
    CHECK(mismatch(softmax(x, axis), Dtype::f32, reference::softmax(exact, axis), limit) == "");
    CHECK(mismatch(log_softmax(x, axis), Dtype::f32, reference::log_softmax(exact, axis), limit) == "");
  }
}

TEST_CASE("softmax: a sum of many terms keeps its digits along any axis, and so do the gradients") {
  const int64_t length = int64_t{1} << 18;
  Random random{.seed = 8};
  const Tensor rows = random_tensor({2, length}, random).to(Dtype::f32), columns = rows.transpose(0, 1).contiguous();
  const Tensor dy_rows = add(random_tensor({2, length}, random), Tensor::scalar(1, Dtype::f64)).to(Dtype::f32);
  const Tensor dy_columns = dy_rows.transpose(0, 1).contiguous();
  // Compared with f64, for which one sum is exact enough.
  const Tensor exact = rows.to(Dtype::f64), exact_dy = dy_rows.to(Dtype::f64);
  const Tensor y = reference::softmax(exact, 1), log_y = reference::log_softmax(exact, 1);
  const Tensor dx = softmax_backward(y, exact_dy, 1), log_dx = log_softmax_backward(log_y, exact_dy, 1);
  const auto turned = [](const Tensor& t) { return t.transpose(0, 1); };
  const auto close = [](const Tensor& got, const Tensor& expected, double limit = 2e-6) {
    const std::string complaint = mismatch(got, Dtype::f32, expected, limit);
    CHECK_MESSAGE(complaint == "", complaint);
  };
  close(softmax(rows, 1), y);
  close(turned(softmax(columns, 0)), y);
  close(log_softmax(rows, 1), log_y, 3e-7);  // a logarithm shrinks the error of the sum
  close(turned(log_softmax(columns, 0)), log_y, 3e-7);
  const Tensor y_columns = turned(y).contiguous().to(Dtype::f32),
               log_y_columns = turned(log_y).contiguous().to(Dtype::f32);
  close(turned(softmax_backward(y_columns, dy_columns, 0)), dx);
  close(turned(log_softmax_backward(log_y_columns, dy_columns, 0)), log_dx);
}

TEST_CASE("softmax: the result keeps the order of axes in memory, and broadcast views are taken") {
  const Tensor x = Tensor::zeros({4, 3, 5}, Dtype::f32).transpose(0, 2);
  for (const int axis : {0, 1, 2}) CHECK(softmax(x, axis).strides() == x.strides());
  Random random{.seed = 7};
  const Tensor row = random_tensor({3, 1, 5}, random), wide = row.broadcast_to({3, 4, 5});
  for (const int axis : {0, 1, 2})
    CHECK(mismatch(softmax(wide, axis), Dtype::f64, reference::softmax(wide.contiguous(), axis), tolerance::f64(5)) ==
          "");
}

TEST_CASE("softmax: large scores do not overflow, and -inf is probability 0") {
  const Tensor x = Tensor::of<float>({2, 3}, {1e30f, 1e30f, -1e30f, 5, -infinity, 5});
  const std::vector<float> expected = {0.5f, 0.5f, 0, 0.5f, 0, 0.5f};
  CHECK(softmax(x).to_vector<float>() == expected);
  CHECK(softmax(x.transpose(0, 1).contiguous(), 0).transpose(0, 1).to_vector<float>() == expected);
  const float half = std::log(0.5f);
  const std::vector<float> logarithms = {half, half, -2e30f, half, -infinity, half};
  CHECK(log_softmax(x).to_vector<float>() == logarithms);
  CHECK(log_softmax(x.transpose(0, 1).contiguous(), 0).transpose(0, 1).to_vector<float>() == logarithms);
}

TEST_CASE("softmax: NaN reaches its whole line and no other; a line of -inf or with +inf is NaN") {
  const Tensor x = Tensor::full({4, 37}, 0, Dtype::f32);
  x.view<float>()(1, 30) = nan_value;
  fill(x.select(0, 2), -infinity);
  x.view<float>()(3, 0) = infinity;
  const Tensor turned = x.transpose(0, 1).contiguous();
  for (const Tensor& y :
       {softmax(x), log_softmax(x), softmax(turned, 0).transpose(0, 1), log_softmax(turned, 0).transpose(0, 1)}) {
    const std::vector<float> values = y.to_vector<float>();
    for (int i = 0; i < 148; ++i) CHECK(std::isnan(values[i]) == (i >= 37));
  }
}

TEST_CASE("log_softmax: finite, with its gradient, where softmax rounds to 0") {
  const Var x = Var::leaf(Tensor::of<float>({1, 3}, {0, -300, 10}));
  const Var y = log_softmax(x);
  CHECK(softmax(x.value()).to_vector<float>()[1] == 0);
  CHECK(y.value().to_vector<float>()[1] == doctest::Approx(-310.0000454).epsilon(1e-6));
  const std::vector<float> dx = backward(y, Tensor::of<float>({1, 3}, {0, 1, 0}))[x].to_vector<float>();
  CHECK(dx[1] == 1);
  CHECK(dx[2] == doctest::Approx(-0.9999546));
}

TEST_CASE("softmax: adding a number to a row changes nothing") {
  Random random{.seed = 4};
  const Tensor x = random_tensor({4, 50}, random);
  const Tensor shifted = (Var(x) + 100.0).value();
  // x + 100 is rounded by up to 2^-47, and e^x with it.
  CHECK(mismatch(softmax(shifted), Dtype::f64, softmax(x), 0x1p-45) == "");
}
