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

TEST_CASE("gradcheck: an input without influence is no fault, a gradient claimed for it is") {
  // A constant added to all numbers changes no softmax: the true gradient of the second input is 0.
  const std::vector<Tensor> points = {Tensor::of<double>({3}, {0.3, -1, 2}), Tensor::of<double>({1}, {0.7})};
  const auto right = [](const std::vector<Var>& x) { return softmax(x[0] * x[0] + x[1]); };
  CHECK(gradcheck(right, points).worst <= 1e-8);
  const auto wrong = [](const std::vector<Var>& x) {
    const Var y = softmax(x[0] * x[0] + x[1]);
    return record("wrong", y.value(), {x[0], x[1]}, [y](const Tensor& dy, Wanted) {
      Tensor claimed = Tensor::full({1}, 1e-6, Dtype::f64);
      return std::vector{Tensor::zeros({3}, dy.dtype()), claimed};
    });
  };
  CHECK(gradcheck(wrong, points).worst > 0.1);
}

TEST_CASE("gradcheck: of leaves that a function reads, which hold their values again afterwards") {
  const Var w = Var::leaf(Tensor::of<double>({2, 2}, {1, -2, 0.5, 3})),
            unread = Var::leaf(Tensor::scalar(1, Dtype::f64));
  const Var x = Tensor::of<double>({1, 2}, {0.3, 0.8});
  const GradcheckResult right = gradcheck([&] { return tanh(matmul(x, w)); }, {w, unread});
  CHECK_MESSAGE(right.worst <= 1e-8, right.message);
  CHECK(w.value().to_vector<double>() == std::vector<double>{1, -2, 0.5, 3});
  const auto wrong = [&] {
    return record("wrong", tanh(w).value(), {w}, [](const Tensor& dy, Wanted) { return std::vector{dy}; });
  };
  CHECK(gradcheck(wrong, {w}).worst > 0.01);
  int calls = 0;
  CHECK_THROWS_AS(gradcheck(
                      [&] {
                        if (++calls > 3) fail<ValueError>("test", "now");
                        return exp(w);
                      },
                      {w}),
                  ValueError);
  CHECK(w.value().to_vector<double>() == std::vector<double>{1, -2, 0.5, 3});
}
