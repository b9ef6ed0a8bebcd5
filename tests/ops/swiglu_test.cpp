// The gated product of SwiGLU.
#include "core/ops/swiglu.hpp"

#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

TEST_CASE("swiglu: op case") {
  check_op({.op = "swiglu",
            .run = [](const Tensors& x) { return swiglu(x[0], x[1]); },
            .reference = [](const Tensors& x) { return reference::swiglu(x[0], x[1]); },
            .differentiable = [](const std::vector<Var>& x) { return swiglu(x[0], x[1]); },
            .samples = {{[](Extents e, Random& random) {
              return Tensors{random_tensor({e.rows, e.width}, random), random_tensor({e.rows, e.width}, random)};
            }}},
            .refuses = {{[] {
                           swiglu(Tensor::zeros({2, 3}, Dtype::f32), Tensor::zeros({3}, Dtype::f32));
                         },
                         "up is [3]"}},
            .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("swiglu: the halves of one product, and the same as silu(gate) * up") {
  Random random{.seed = 6};
  const Tensor both = random_tensor({5, 38}, random);
  const Tensor gate = both.slice(1, 0, 19), up = both.slice(1, 19, 38);
  const Tensor composed = (silu(Var(gate)) * Var(up)).value();
  CHECK(mismatch(swiglu(gate, up), Dtype::f64, composed, tolerance::f64(1)) == "");
}
