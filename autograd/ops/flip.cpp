// y[.., i, ..] = x[.., n - 1 - i, ..] is its own inverse, so dx = flip(dy).
#include "core/ops/flip.hpp"

#include "autograd/ops.hpp"

namespace phasor {

Var flip(const Var& x, int axis) {
  return record("flip", flip(x.value(), axis), {x},
                [axis](const Tensor& dy, Wanted) { return std::vector{flip(dy, axis)}; });
}

}  // namespace phasor
