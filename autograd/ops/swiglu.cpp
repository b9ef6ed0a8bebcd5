// SwiGLU: y = silu(g) u with silu(g) = g s, s = sigmoid(g).
//   dup   = dy silu(g)
//   dgate = dy u silu'(g),   silu'(g) = s + g s (1 - s)
#include "core/ops/swiglu.hpp"

#include "autograd/ops.hpp"

namespace phasor {

Var swiglu(const Var& gate, const Var& up) {
  return record("swiglu", swiglu(gate.value(), up.value()), {gate, up},
                [gate = gate.value(), up = up.value()](const Tensor& dy, Wanted) {
                  const SwigluGradients gradients = swiglu_backward(gate, up, dy);
                  return std::vector{gradients.dgate, gradients.dup};
                });
}

}  // namespace phasor
