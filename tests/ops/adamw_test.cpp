// AdamW of core: the formula, bounds, and what is refused. The optimizer around it: tests/nn/optimizer_test.cpp.
#include "core/ops/adamw.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "core/error.hpp"

using namespace phasor;

TEST_CASE("adamw: two steps are the formula's, and bounds hold") {
  AdamWParameter p{.weight = Tensor::of<double>({2}, {1, -2}),
                   .first = Tensor::zeros({2}, Dtype::f64),
                   .second = Tensor::zeros({2}, Dtype::f64),
                   .decay = 0.5};
  p.minimum = -2;
  const Tensor gradient = Tensor::of<double>({2}, {0.5, 4});
  double w[] = {1, -2}, m[] = {0, 0}, v[] = {0, 0};
  for (int step = 1; step <= 2; ++step) {
    const double c1 = 1 - std::pow(0.9, step), c2 = 1 - std::pow(0.99, step);
    adamw({p}, {gradient}, {0.9, 0.99, 1e-8}, {0.1, c1, c2}, 0.5);
    for (int i = 0; i < 2; ++i) {
      const double g = gradient.to_vector<double>()[static_cast<size_t>(i)] * 0.5;
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.99 * v[i] + 0.01 * g * g;
      w[i] = std::max(-2.0, w[i] * (1 - 0.1 * 0.5) - 0.1 * (m[i] / c1) / (std::sqrt(v[i] / c2) + 1e-8));
      CHECK(p.weight.to_vector<double>()[static_cast<size_t>(i)] == doctest::Approx(w[i]).epsilon(1e-12));
    }
  }
}

TEST_CASE("adamw: the sum of squares is finite for finite f32, and gradients that do not fit are refused") {
  CHECK(sum_of_squares({Tensor::full({3}, 1e30, Dtype::f32)}) == doctest::Approx(3e60).epsilon(1e-6));
  const AdamWParameter p{.weight = Tensor::zeros({2}, Dtype::f64),
                         .first = Tensor::zeros({2}, Dtype::f64),
                         .second = Tensor::zeros({2}, Dtype::f64)};
  CHECK_THROWS_AS(adamw({p}, {Tensor::zeros({3}, Dtype::f64)}, {0.9, 0.99, 1e-8}, {0.1, 1, 1}), ShapeError);
}
