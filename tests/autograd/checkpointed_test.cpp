// Activation checkpointing: the gradients of the plain graph to the last bit, with less kept.
#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "core/allocator.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

// Reads its parameter several times, and x on two paths, so that the order of additions shows in the bits.
Var layer(const Var& x, const Var& w) {
  const Var hidden = tanh(matmul(x, w));
  return x + matmul(silu(hidden), w) * hidden + sum(w, {0});
}

struct Weights {
  Var x, w, shared;
  explicit Weights(Dtype dtype) {
    Random random{.seed = 3};
    x = Var::leaf(random_tensor({5, 8}, random).to(dtype));
    w = Var::leaf(random_tensor({8, 8}, random).to(dtype));
    shared = Var::leaf(random_tensor({8, 8}, random).to(dtype));
  }
};

enum class Keep { everything, inputs };

// Three layers, one of whose weights they share; what they share is computed before them.
Var chain(const Weights& weights, Keep keep) {
  const Var mixed = exp(weights.shared * 0.1);
  Var x = weights.x;
  for (int i = 0; i < 3; ++i) {
    const auto f = [x, mixed, w = weights.w] { return layer(layer(x, w), mixed); };
    x = keep == Keep::everything ? f() : checkpointed(f);
  }
  return sum(x * x);
}

}  // namespace

TEST_CASE("checkpointed: value and gradients are those of the plain graph to the last bit") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    const Weights weights(dtype);
    const Var plain = chain(weights, Keep::everything), kept = chain(weights, Keep::inputs);
    CHECK(bit_mismatch(kept.value(), plain.value()) == "");
    const Gradients expected = backward(plain), got = backward(kept);
    for (const Var& leaf : {weights.x, weights.w, weights.shared}) CHECK(bit_mismatch(got[leaf], expected[leaf]) == "");
  }
}

TEST_CASE("checkpointed: the function runs again in backward, once, and inside one another") {
  const Var x = Var::leaf(Tensor::of<double>({2}, {0.5, -2}));
  int outer_calls = 0, inner_calls = 0;
  const auto inner = [&inner_calls](const Var& y) {
    return checkpointed([&inner_calls, y] {
      ++inner_calls;
      return sin(y) * y;
    });
  };
  const Var y = checkpointed([&, x] {
    ++outer_calls;
    return exp(inner(x));
  });
  CHECK(outer_calls == 1);
  CHECK(inner_calls == 1);
  const Tensor got = backward(sum(y))[x];
  CHECK(outer_calls == 2);
  CHECK(inner_calls == 3);  // with the outer one, and for its own gradient
  const Tensor expected = backward(sum(exp(sin(x) * x)))[x];
  CHECK(bit_mismatch(got, expected) == "");
}

TEST_CASE("checkpointed: keeps no activations, and backward works inside a NoGradient") {
  const Var x = Var::leaf(Tensor::full({64, 1024}, 0.1, Dtype::f32));
  const auto deep = [](Var y) {
    for (int i = 0; i < 8; ++i) y = tanh(y);
    return y;
  };
  const int64_t before = memory_counts().bytes_in_use;
  const Var plain = deep(x);
  const int64_t of_plain = memory_counts().bytes_in_use - before;
  const Var kept = checkpointed([=] { return deep(x); });
  const int64_t of_kept = memory_counts().bytes_in_use - before - of_plain;
  CHECK(of_plain == 8 * x.size() * 4);
  CHECK(of_kept == x.size() * 4);  // the result alone
  const Var loss = sum(kept), plain_loss = sum(plain);
  const NoGradient scope;
  CHECK(bit_mismatch(backward(loss)[x], backward(plain_loss)[x]) == "");
}

TEST_CASE("checkpointed: what needs no gradient is computed once") {
  int calls = 0;
  const Var x = Tensor::of<double>({1}, {2});
  const Var constant = checkpointed([&calls, x] {
    ++calls;
    return x * x;
  });
  CHECK(!constant.needs_gradient());
  const Var leaf = Var::leaf(Tensor::of<double>({1}, {2}));
  const Var itself = checkpointed([leaf] { return leaf; });
  CHECK(itself.is_leaf());
  {
    const NoGradient scope;
    CHECK(!checkpointed([leaf] { return leaf * leaf; }).needs_gradient());
  }
  CHECK(calls == 1);
}

TEST_CASE("checkpointed: a function that computes something else is refused, and a graph is used once") {
  const Var x = Var::leaf(Tensor::of<double>({2}, {1, 2}));
  int calls = 0;
  const Var other = checkpointed([&calls, x] { return calls++ == 0 ? exp(x) : exp(slice(x, 0, 0, 1)); });
  CHECK_THROWS_WITH_AS(backward(sum(other)), doctest::Contains("returned [2] f64 first and [1] f64"), GradientError);
  const Var y = sum(checkpointed([x] { return exp(x); }));
  backward(y);
  CHECK_THROWS_WITH_AS(backward(y), doctest::Contains("used by an earlier backward"), GradientError);
}

TEST_CASE("checkpointed: a leaf that changes between the two calls is refused") {
  const Var x = Var::leaf(Tensor::of<double>({2}, {1, 2}));
  const Var assigned = sum(checkpointed([x] { return x * x; }));
  x.assign(Tensor::of<double>({2}, {5, 6}));
  CHECK_THROWS_WITH_AS(backward(assigned), doctest::Contains("given a new value since"), GradientError);
  const Var written = sum(checkpointed([x] { return x * x; }));
  fill(x.value_to_change(), 7);
  CHECK_THROWS_AS(backward(written), GradientError);
  CHECK_THROWS_AS((x * x).value_to_change(), GradientError);
}

TEST_CASE("checkpointed: what a function captures and never reads is released without recursion too") {
  const Var x = Var::leaf(Tensor::of<double>({1}, {1}));
  Var y = x;
  for (int i = 0; i < 300000; ++i) y = checkpointed([unread = y, x] { return neg(x); });
  y = Var();
}

TEST_CASE("checkpointed: a long chain is released without recursion") {
  Var y = Var::leaf(Tensor::of<double>({1}, {1}));
  const Var x = y;
  for (int i = 0; i < 100000; ++i) y = checkpointed([y] { return neg(y); });
  SUBCASE("after backward") { CHECK(backward(sum(y))[x].item<double>() == 1); }
  SUBCASE("never used") {}
  y = Var();
}
