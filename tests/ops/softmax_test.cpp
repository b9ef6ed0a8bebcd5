// Softmax along the last axis.
#include "core/ops/softmax.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

TEST_CASE("softmax: op case") {
  check_op({.op = "softmax",
            .run = [](const Tensors& x) { return softmax(x[0]); },
            .reference = [](const Tensors& x) { return reference::softmax(x[0]); },
            .differentiable = [](const std::vector<Var>& x) { return softmax(x[0]); },
            .samples = {{[](Extents e, Random& random) {
                           return Tensors{random_tensor({e.rows, e.width}, random)};
                         },
                         {{0, any_axis}}},
                        {[](Extents e, Random& random) {
                           return Tensors{random_tensor({2, e.rows, e.width}, random)};
                         },
                         {{0, any_axis}}}},
            .refuses = {{[] { softmax(Tensor::scalar(1, Dtype::f32)); }, "last axis"},
                        {[] {
                           softmax(Tensor::zeros({2, 0}, Dtype::f32));
                         },
                         "empty row"}}});
}

TEST_CASE("softmax: large scores do not overflow, and -inf is probability 0") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::of<float>({2, 3}, {1e30f, 1e30f, -1e30f, 5, -infinity, 5});
  CHECK(softmax(x).to_vector<float>() == std::vector<float>{0.5f, 0.5f, 0, 0.5f, 0, 0.5f});
}

TEST_CASE("softmax: NaN reaches the whole row and no other; a row of -inf is NaN") {
  const Tensor x = Tensor::full({3, 37}, 0, Dtype::f32);
  x.view<float>()(1, 30) = std::numeric_limits<float>::quiet_NaN();
  fill(x.select(0, 2), -std::numeric_limits<double>::infinity());
  const std::vector<float> y = softmax(x).to_vector<float>();
  for (int i = 0; i < 111; ++i) CHECK(std::isnan(y[i]) == (i >= 37));
}

TEST_CASE("softmax: adding a number to a row changes nothing") {
  Random random{.seed = 4};
  const Tensor x = random_tensor({4, 50}, random);
  const Tensor shifted = (Var(x) + 100.0).value();
  // x + 100 is rounded by up to 2^-47, and e^x with it.
  CHECK(mismatch(softmax(shifted), Dtype::f64, softmax(x), 0x1p-45) == "");
}
