// Running sums: y_i = sum_(j <= i) x_j, so x_j enters y_j and all that follow:
//   dx_j = sum_(i >= j) dy_i
// the running sum from the other end. The rule needs nothing but the axis.
#include "core/ops/cumsum.hpp"

#include "autograd/ops.hpp"

namespace phasor {

Var cumsum(const Var& x, int axis) {
  return record("cumsum", cumsum(x.value(), axis), {x},
                [axis](const Tensor& dy, Wanted) { return std::vector{cumsum_backward(dy, axis)}; });
}

}  // namespace phasor
