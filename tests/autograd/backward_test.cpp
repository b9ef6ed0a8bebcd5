// backward: order, sharing, misuse, what record() checks, and very long graphs.
#include <doctest/doctest.h>

#include <thread>

#include <cmath>

#include "autograd/ops.hpp"
#include "core/allocator.hpp"
#include "core/ops/binary.hpp"

using namespace phasor;

namespace {

using Values = std::vector<double>;

Var leaf(const Values& values) { return Var::leaf(Tensor::of<double>({static_cast<int64_t>(values.size())}, values)); }
Values values(const Tensor& t) { return t.to_vector<double>(); }

// y = x with a rule of one's own.
Var with_rule(const Var& x, Rule rule) { return record("planted", x.value(), {x}, std::move(rule)); }

}  // namespace

TEST_CASE("backward: a leaf that is the loss, and constants") {
  const Var x = leaf({3});
  CHECK(values(backward(x)[x]) == Values{1});
  const Var constant = Tensor::of<double>({1}, {2});
  CHECK_FALSE(constant.needs_gradient());
  CHECK_FALSE((constant * constant).needs_gradient());
  CHECK_THROWS_AS(backward(constant * constant), GradientError);
  CHECK(values(backward(constant * x)[x]) == Values{2});
  CHECK_THROWS_AS(Var::leaf(Tensor::of<int32_t>({1}, {1})), DtypeError);
}

TEST_CASE("backward: shared sub-expressions add up, also when a node is reached by paths of different length") {
  const Var x = leaf({3});
  const Var square = x * x;
  const Var y = square * x + square + x;  // x^3 + x^2 + x
  CHECK(values(backward(y)[x]) == Values{3 * 9 + 2 * 3 + 1});
  Var doubled = leaf({1});
  const Var start = doubled;
  for (int i = 0; i < 40; ++i) doubled = doubled + doubled;  // 2^40 paths, 41 nodes
  CHECK(values(backward(doubled)[start]) == Values{std::ldexp(1.0, 40)});
}

TEST_CASE("backward: rules run once each, by descending creation number") {
  std::vector<int> order;
  const auto noting = [&order](const Var& x, int number) {
    return with_rule(x, [&order, number](const Tensor& dy, Wanted) {
      order.push_back(number);
      return std::vector{dy};
    });
  };
  const Var x = leaf({1});
  const Var a = noting(x, 0), b = noting(a, 1), c = noting(a, 2), d = noting(b, 3);
  backward(c + d + b);
  CHECK(order == std::vector<int>{3, 2, 1, 0});
}

TEST_CASE("backward: gradients that a rule shares between inputs are not changed in place") {
  const Var a = leaf({1}), b = leaf({1});
  const Var sum_of_both = a + b;  // hands the same dy to both
  const Gradients gradients = backward(sum_of_both + a * 10.0);
  CHECK(values(gradients[a]) == Values{11});
  CHECK(values(gradients[b]) == Values{1});
  const Tensor cotangent = Tensor::of<double>({1}, {5});
  const Var c = leaf({1});
  CHECK(values(backward(c + c, cotangent)[c]) == Values{10});
  CHECK(values(cotangent) == Values{5});
}

TEST_CASE("backward: a cotangent weighs the output") {
  const Var x = leaf({1, 2, 3});
  CHECK(values(backward(x * x, Tensor::of<double>({3}, {1, 10, 100}))[x]) == Values{2, 40, 600});
  CHECK_THROWS_AS(backward(x * x), ShapeError);
  CHECK_THROWS_AS(backward(x * x, Tensor::of<double>({1, 3}, {1, 10, 100})), ShapeError);
  CHECK_THROWS_AS(backward(x * x, Tensor::of<float>({3}, {1, 10, 100})), DtypeError);
}

TEST_CASE("backward: a graph is used once") {
  const Var x = leaf({3});
  const Var square = x * x, y = square * 2.0, z = square * 3.0;
  CHECK(values(backward(y)[x]) == Values{12});
  CHECK_THROWS_AS(backward(y), GradientError);
  CHECK_THROWS_WITH_AS(backward(z), doctest::Contains("used by an earlier backward"), GradientError);
}

TEST_CASE("gradients: unused leaves and results have none") {
  const Var x = leaf({1}), unused = leaf({1});
  const Var y = x * 2.0;
  const Gradients gradients = backward(y);
  CHECK(gradients.has(x));
  CHECK_FALSE(gradients.has(unused));
  CHECK_FALSE(gradients.has(y));
  CHECK_FALSE(gradients.has(Tensor::of<double>({1}, {1})));
  CHECK_THROWS_WITH_AS(gradients[unused], doctest::Contains("does not depend"), GradientError);
  CHECK_THROWS_WITH_AS(gradients[y], doctest::Contains("only leaves"), GradientError);
}

TEST_CASE("backward: what a rule returns is checked") {
  const Var x = leaf({1, 2});
  const auto message_of = [&](Rule rule) -> std::string {
    try {
      backward(with_rule(x, std::move(rule)), Tensor::of<double>({2}, {1, 1}));
    } catch (const GradientError& error) {
      return error.what();
    }
    return "accepted";
  };
  const auto says = [&](Rule rule, const char* part) {
    const std::string message = message_of(std::move(rule));
    CHECK_MESSAGE(message.find(part) != std::string::npos, message);
    CHECK(message.find("'planted'") != std::string::npos);
  };
  says([](const Tensor&, Wanted) { return std::vector<Tensor>{}; }, "0 gradients for 1 inputs");
  says([](const Tensor& dy, Wanted) { return std::vector{dy, dy}; }, "2 gradients for 1 inputs");
  says([](const Tensor&, Wanted) { return std::vector{Tensor()}; }, "no gradient for input 0 of shape [2]");
  says([](const Tensor& dy, Wanted) { return std::vector{dy.to(Dtype::f32)}; }, "f32 for input 0 of f64");
  says([](const Tensor&, Wanted) { return std::vector{Tensor::zeros({3}, Dtype::f64)}; },
       "gradient [3] for input 0 of shape [2]");
  says([](const Tensor&, Wanted) { return std::vector{Tensor::zeros({2, 1}, Dtype::f64)}; }, "gradient [2, 1]");
  says([](const Tensor&, Wanted) { return std::vector{Tensor::scalar(1, Dtype::f64)}; }, "gradient []");
}

TEST_CASE("backward: only inputs that need a gradient are wanted, and may be left out otherwise") {
  const Var a = leaf({1}), constant = Tensor::of<double>({1}, {2});
  bool wanted_a = false, wanted_constant = true;
  const Var y = record("planted", a.value(), {constant, a}, [&](const Tensor& dy, Wanted wanted) {
    wanted_constant = wanted[0];
    wanted_a = wanted[1];
    return std::vector{Tensor(), dy};
  });
  CHECK(values(backward(y)[a]) == Values{1});
  CHECK(wanted_a);
  CHECK_FALSE(wanted_constant);
}

TEST_CASE("backward: what is wanted is told apart for any number of inputs") {
  constexpr int count = 130;
  const Var x = leaf({1});
  for (const int needs : {0, 63, 64, 65, 128}) {
    std::vector<Var> parents(count, Tensor::of<double>({1}, {2}));
    parents[needs] = x;
    std::vector<int> wanted_inputs;
    const Var y = record("planted", x.value(), parents, [&](const Tensor& dy, Wanted wanted) {
      for (int i = 0; i < count; ++i)
        if (wanted[i]) wanted_inputs.push_back(i);
      return std::vector(count, dy);
    });
    CHECK(values(backward(y)[x]) == Values{1});
    CHECK(wanted_inputs == std::vector{needs});
  }
}

TEST_CASE("backward: broadcasting is undone for every op") {
  const Var column = Var::leaf(Tensor::of<double>({2, 1}, {1, 2})), row = leaf({10, 20, 30});
  const Var scalar = Var::leaf(Tensor::scalar(2, Dtype::f64));
  const Gradients gradients = backward(sum(column * row * scalar));
  CHECK(gradients[column].shape() == Shape{2, 1});
  CHECK(values(gradients[column]) == Values{120, 120});
  CHECK(gradients[row].shape() == Shape{3});
  CHECK(values(gradients[row]) == Values{6, 6, 6});
  CHECK(gradients[scalar].shape() == Shape{});
  CHECK(values(gradients[scalar]) == Values{180});
}

TEST_CASE("NoGradient: nothing is recorded inside, everything after, also nested and after an exception") {
  const Var x = leaf({3});
  {
    const NoGradient outer;
    CHECK_FALSE((x * x).needs_gradient());
    { const NoGradient inner; }
    CHECK_FALSE((x * x).needs_gradient());
  }
  try {
    const NoGradient scope;
    throw 1;
  } catch (int) {
  }
  CHECK((x * x).needs_gradient());
  CHECK(x.needs_gradient());
}

TEST_CASE("leaf: copies are handles to one value, and assign reaches them all") {
  const Var w = leaf({1, 2});
  const Var handle = w;
  const Var before = w * 10.0;
  w.assign(Tensor::of<double>({2}, {3, 4}));
  CHECK(values(handle.value()) == Values{3, 4});
  CHECK(values(before.value()) == Values{10, 20});
  CHECK(values(backward(sum(handle * handle))[w]) == Values{6, 8});
  CHECK_THROWS_AS(w.assign(Tensor::of<double>({3}, {1, 2, 3})), ShapeError);
  CHECK_THROWS_AS(w.assign(Tensor::of<float>({2}, {1, 2})), DtypeError);
  CHECK_THROWS_AS(before.assign(Tensor::of<double>({2}, {1, 2})), GradientError);
  CHECK_THROWS_AS(Var(Tensor::of<double>({1}, {1})).assign(Tensor::of<double>({1}, {2})), GradientError);
  // A rule keeps the values it was computed from.
  const Var product = w * w;
  w.assign(Tensor::of<double>({2}, {100, 100}));
  CHECK(values(backward(sum(product))[w]) == Values{6, 8});
}

TEST_CASE("backward: memory that rules kept is given back as it goes") {
  const int64_t before = memory_counts().bytes_in_use, elements = 1 << 16, bytes = elements * 8;
  {
    const Var x = Var::leaf(Tensor::full({elements}, 1.0, Dtype::f64));
    Var y = x;
    for (int i = 0; i < 20; ++i) y = exp(y * 0.5);
    const int64_t held = memory_counts().bytes_in_use - before;
    reset_peak_memory();
    const Gradients gradients = backward(y, Tensor::full({elements}, 1, Dtype::f64));
    CHECK(held >= 20 * bytes);
    CHECK(memory_counts().bytes_in_use - before <= 4 * bytes);
    CHECK(memory_counts().peak_bytes - before <= held + 5 * bytes);
  }
  CHECK(memory_counts().bytes_in_use == before);
}

TEST_SUITE("full") {
  TEST_CASE("backward: a chain of a million nodes differentiates and is freed without recursion") {
    const int64_t before = memory_counts().bytes_in_use;
    const Var x = leaf({1});
    for (const bool differentiate : {true, false}) {
      Var y = x;
      for (int i = 0; i < 1'000'000; ++i) y = neg(y);
      // Without backward, the release of the whole graph at once is what is tested.
      if (differentiate) CHECK(values(backward(y)[x]) == Values{1});
    }
    CHECK(memory_counts().bytes_in_use - before <= 256);
  }
}

TEST_CASE("backward: a leaf of one thread, a graph of another") {
  const Var w = Var::leaf(Tensor::scalar(1, Dtype::f64));
  double gradient = 0;
  std::thread([&] {
    const Var shared = w * 2.0;
    gradient = backward(shared * shared + w * 5.0)[w].item<double>();
  }).join();
  CHECK(gradient == 13);  // d(4 w^2 + 5 w) at 1
}

TEST_CASE("a number with a fraction does not meet integers, and divides exactly") {
  const Var integers = Tensor::of<int32_t>({2}, {10, 20});
  CHECK_THROWS_AS(integers / 2.0, DtypeError);
  CHECK_THROWS_AS(integers * 0.5, DtypeError);
  CHECK_THROWS_AS(integers + 0.5, DtypeError);
  CHECK((Var(Tensor::scalar(1e-310, Dtype::f64)) / 1e-310).value().item<double>() == 1);
}

TEST_CASE("backward: a rule that takes what has arrived at its input returns the sum") {
  const Var x = leaf({2}), once = 3.0 * x;
  std::vector<Tensor> taken;
  const Var taker = record("taker", once.value(), {once}, [&](const Tensor& dy, Wanted wanted) {
    taken.push_back(wanted.take(0));
    CHECK(!wanted.take(0).defined());
    return std::vector{taken.back().defined() ? add(dy, taken.back()) : dy};
  });
  // Younger than the taker: it has sent its gradient when the taker's turn comes. 3 (1 + 5 + 1)
  const Var younger = 5.0 * once;
  const Gradients gradients = backward(sum(taker) + sum(younger) + sum(once));
  CHECK(values(gradients[x]) == Values{21});
  REQUIRE(taken.size() == 1);
  CHECK(values(taken[0]) == Values{6});

  taken.clear();
  const Var alone = leaf({2});
  const Var first = record("taker", alone.value(), {alone}, [&](const Tensor& dy, Wanted wanted) {
    taken.push_back(wanted.take(0));
    return std::vector{dy};
  });
  CHECK(values(backward(sum(first) + sum(2.0 * first))[alone]) == Values{3});
  REQUIRE(taken.size() == 1);
  CHECK(!taken[0].defined());
}
