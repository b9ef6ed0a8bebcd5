// AdamW, clipping and the schedule on cases small enough to compute by hand. PyTorch's steps are in tests/golden.
#include "nn/optimizer.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/random.hpp"

using namespace phasor;

TEST_CASE("adamw: one step by hand, with and without decay") {
  ParameterList parameters;
  parameters.add("weight", Tensor::of<double>({2}, {1.0, -2.0}), {.weight_decay_factor = 1});
  parameters.add("norm", Tensor::of<double>({1}, {1.0}));
  AdamW optimizer(parameters, {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.1});
  optimizer.step(parameters, {Tensor::of<double>({2}, {0.5, -4.0}), Tensor::of<double>({1}, {2.0})}, 0.01);
  // After one step the corrected means are g and g^2: the move is learning_rate * g / (|g| + epsilon).
  const std::vector<double> w = parameters["weight"].value().to_vector<double>();
  CHECK(w[0] == doctest::Approx(1.0 * (1 - 0.001) - 0.01 * 0.5 / (0.5 + 1e-8)).epsilon(1e-13));
  CHECK(w[1] == doctest::Approx(-2.0 * (1 - 0.001) + 0.01 * 4.0 / (4.0 + 1e-8)).epsilon(1e-13));
  CHECK(parameters["norm"].value().item<double>() == doctest::Approx(1.0 - 0.01 * 2.0 / (2.0 + 1e-8)).epsilon(1e-13));
  CHECK(optimizer.steps == 1);
}

TEST_CASE("adamw: a gradient scale is the same as scaled gradients, and sizes around the vector width work") {
  for (const int64_t size : {1, 7, 8, 9, 16, 17, 50, 40000}) {
    CAPTURE(size);
    Random random{.seed = 1};
    const Tensor start = normal({size}, 0, 1, Dtype::f64, random), g = normal({size}, 0, 1, Dtype::f64, random);
    const Tensor quarter = g.clone();
    for (int64_t i = 0; i < size; ++i) quarter.data<double>()[i] *= 0.25;
    ParameterList a, b;
    a.add("w", start.clone(), {.weight_decay_factor = 1});
    b.add("w", start.clone(), {.weight_decay_factor = 1});
    AdamW of_a(a, {}), of_b(b, {});
    for (int step = 0; step < 3; ++step) {
      of_a.step(a, {g}, 0.1, 0.25);
      of_b.step(b, {quarter}, 0.1);
    }
    CHECK(a["w"].value().to_vector<double>() == b["w"].value().to_vector<double>());
    CHECK(a["w"].value().to_vector<double>() != start.to_vector<double>());
  }
}

TEST_CASE("adamw: gradients that do not fit are refused") {
  ParameterList parameters;
  parameters.add("w", Tensor::zeros({2}, Dtype::f32), {.weight_decay_factor = 1});
  AdamW optimizer(parameters, {});
  CHECK_THROWS_AS(optimizer.step(parameters, {}, 0.1), ShapeError);
  CHECK_THROWS_WITH_AS(optimizer.step(parameters, {Tensor::zeros({3}, Dtype::f32)}, 0.1), doctest::Contains("w is [2]"),
                       ShapeError);
  CHECK_THROWS_AS(optimizer.step(parameters, {Tensor::zeros({2}, Dtype::f64)}, 0.1), DtypeError);
}

TEST_CASE("adamw: a list owns its values; what does not fit changes nothing") {
  ParameterList parameters;
  const Tensor mine = Tensor::of<double>({2, 3}, {1, 2, 3, 4, 5, 6}).transpose(0, 1);
  parameters.add("w", mine, {.weight_decay_factor = 1});
  CHECK(parameters["w"].value().is_contiguous());
  CHECK(!parameters["w"].value().shares_storage(mine));
  AdamW optimizer(parameters, {});
  const GradientList ones = {Tensor::full({3, 2}, 1, Dtype::f64)};

  parameters["w"].assign(mine);  // not row-major
  CHECK_THROWS_AS(optimizer.step(parameters, ones, 0.1), ShapeError);
  parameters["w"].assign(mine.clone());
  ParameterList other;
  other.add("w", Tensor::zeros({2}, Dtype::f64), {.weight_decay_factor = 1});
  AdamW of_other(other, {});
  CHECK_THROWS_AS(of_other.step(parameters, ones, 0.1), ShapeError);
  CHECK(of_other.steps == 0);
  CHECK(optimizer.steps == 0);
  CHECK(parameters["w"].value().to_vector<double>() == mine.to_vector<double>());
}

TEST_CASE("adamw: a parameter's own learning rate, weight decay and clip") {
  ParameterList parameters;
  const Tensor start = Tensor::of<double>({2}, {1.0, -2.0}), gradient = Tensor::of<double>({2}, {30.0, -40.0});
  parameters.add("plain", start, {.weight_decay_factor = 1});
  parameters.add("slow", start, {.weight_decay_factor = 0.5, .learning_rate_factor = 0.1});
  parameters.add("fixed", start, {.weight_decay_factor = 1, .learning_rate_factor = 0});
  parameters.add("clipped", start, {.gradient_clip = 5});
  GradientList gradients(4, gradient);
  clip_each(parameters, gradients);
  CHECK(gradients[0].shares_storage(gradient));  // untouched
  CHECK(gradients[3].to_vector<double>() == std::vector<double>{3, -4});
  CHECK(gradient.to_vector<double>() == std::vector<double>{30, -40});
  AdamW optimizer(parameters, {.epsilon = 1e-8, .weight_decay = 0.1});
  optimizer.step(parameters, gradients, 0.01);
  const auto first = [&](const char* name) { return parameters[name].value().to_vector<double>()[0]; };
  CHECK(first("plain") == doctest::Approx(1 - 0.001 - 0.01).epsilon(1e-9));
  CHECK(first("slow") == doctest::Approx(1 - 0.001 * 0.05 - 0.001).epsilon(1e-9));
  CHECK(first("fixed") == 1);
  CHECK(first("clipped") == doctest::Approx(1 - 0.01).epsilon(1e-8));

  CHECK_THROWS_WITH_AS(parameters.add("bad", start, {.learning_rate_factor = -1}),
                       doctest::Contains("bad: weight_decay_factor 0, learning_rate_factor -1"), UsageError);
  CHECK_THROWS_AS(clip_each(parameters, gradients = {gradient}), ShapeError);
}

TEST_CASE("adamw: a parameter with bounds stays between them, and comes back from them") {
  ParameterList parameters;
  const Var x = parameters.add("x", Tensor::of<double>({3}, {0.05, 0.9, 0.5}), {.minimum = 0.01, .maximum = 1});
  const Var above = parameters.add("above", Tensor::of<float>({1}, {-3}), {.maximum = -2.5});
  AdamW optimizer(parameters, {.weight_decay = 0});
  const auto step = [&](double sign) {
    optimizer.step(parameters, {Tensor::of<double>({3}, {sign, -sign, 0}), Tensor::of<float>({1}, {-1})}, 0.3);
  };
  step(1);
  CHECK(x.value().to_vector<double>() == std::vector<double>{0.01, 1, 0.5});
  CHECK(above.value().to_vector<float>()[0] == doctest::Approx(-2.7));
  for (int i = 0; i < 9; ++i) step(-1);
  CHECK(x.value().to_vector<double>() == std::vector<double>{1, 0.01, 0.5});  // the bound held neither of them
  CHECK(above.value().to_vector<float>()[0] == -2.5F);
  // A number that is none stays, for the caller to see.
  x.assign(Tensor::full({3}, std::nan(""), Dtype::f64));
  step(1);
  CHECK(std::isnan(x.value().to_vector<double>()[0]));

  CHECK_NOTHROW(parameters.add("on the bound", Tensor::full({1}, 0.01, Dtype::f32), {.minimum = 0.01}));
  CHECK_THROWS_WITH_AS(parameters.add("out", Tensor::of<double>({2}, {1, 3}), {.minimum = 0, .maximum = 2}),
                       doctest::Contains("out: an initial value is 3; needs 0 to 2"), UsageError);
}

TEST_CASE("clip_each: a gradient whose squares overflow is scaled, one that is not finite stays for the caller") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  ParameterList parameters;
  for (const char* const name : {"large", "infinite", "nan"})
    parameters.add(name, Tensor::zeros({2}, Dtype::f32), {.gradient_clip = 5});
  GradientList gradients = {Tensor::of<float>({2}, {1e20f, 0}), Tensor::of<float>({2}, {infinity, 1}),
                            Tensor::of<float>({2}, {std::nanf(""), 1})};
  clip_each(parameters, gradients);
  CHECK(gradients[0].to_vector<float>()[0] == doctest::Approx(5).epsilon(1e-6));
  CHECK(gradients[0].to_vector<float>()[1] == 0);
  CHECK(gradients[1].to_vector<float>() == std::vector<float>{infinity, 1});
  CHECK(std::isnan(gradients[2].to_vector<float>()[0]));
  CHECK(gradients[2].to_vector<float>()[1] == 1);
  CHECK_FALSE(std::isfinite(global_norm(gradients)));
}

TEST_CASE("global norm and clipping") {
  CHECK(global_norm({Tensor::of<double>({2}, {3, 0}), Tensor::of<double>({1, 1}, {4})}) ==
        doctest::Approx(5).epsilon(1e-15));
  CHECK(global_norm({Tensor::full({300000}, 1e-3, Dtype::f32)}) ==
        doctest::Approx(1e-3 * std::sqrt(300000.0)).epsilon(1e-6));
  CHECK(std::isnan(global_norm({Tensor::full({3}, std::nan(""), Dtype::f32)})));
  CHECK(global_norm({Tensor::of<float>({2}, {1e20f, 0})}) == doctest::Approx(1e20).epsilon(1e-6));
  CHECK(std::isinf(global_norm({Tensor::of<float>({2}, {std::numeric_limits<float>::infinity(), 0})})));
  CHECK(clip_factor(5, 1) == 0.2);
  CHECK(clip_factor(0.5, 1) == 1);
  CHECK(clip_factor(5, 0) == 1);
}

TEST_CASE("the schedule warms up, peaks and ends at its final fraction") {
  CHECK(learning_rate_at(0, 100, 10, 1e-3, 0.1) == doctest::Approx(1e-4));
  CHECK(learning_rate_at(9, 100, 10, 1e-3, 0.1) == doctest::Approx(1e-3));
  CHECK(learning_rate_at(10, 100, 10, 1e-3, 0.1) == doctest::Approx(1e-3));
  CHECK(learning_rate_at(55, 100, 10, 1e-3, 0.1) == doctest::Approx(0.55e-3));
  CHECK(learning_rate_at(100, 100, 10, 1e-3, 0.1) == doctest::Approx(1e-4));
  CHECK(learning_rate_at(0, 1, 0, 1e-3, 0.1) == doctest::Approx(1e-3));
}
