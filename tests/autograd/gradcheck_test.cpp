// gradcheck refuses to pass what it did not check. That it rejects wrong rules is in tests/support/op_case_test.cpp.
#include "autograd/gradcheck.hpp"

#include <doctest/doctest.h>

#include "autograd/ops.hpp"

using namespace phasor;

TEST_CASE("gradcheck: nothing to check is an error, not a pass") {
  const auto doubled = [](const std::vector<Var>& x) { return x[0] * 2.0; };
  const Tensor numbers = Tensor::of<double>({2}, {1, 2});
  CHECK(gradcheck(doubled, {numbers}).worst <= 1e-8);
  CHECK_THROWS_WITH_AS(gradcheck(doubled, {numbers.to(Dtype::f32)}), doctest::Contains("nothing to check"), ValueError);
  CHECK_THROWS_AS(gradcheck(doubled, {Tensor::zeros({0}, Dtype::f64)}), ValueError);
  CHECK_THROWS_AS(gradcheck(doubled, {numbers}, {.cotangents = 0}), ValueError);
  CHECK_THROWS_AS(gradcheck(doubled, {numbers}, {.directions = 0}), ValueError);
  CHECK_THROWS_AS(gradcheck([](const std::vector<Var>& x) { return slice(x[0], 0, 0, 0); }, {numbers}), ShapeError);
}
