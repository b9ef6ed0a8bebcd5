// Choice by a condition: y = c ? a : b.
//   da = c ? dy : 0      db = c ? 0 : dy
// Chosen, not multiplied by 0 and 1: an infinite dy meets no 0. What a and b hold is not read.
#include "core/ops/where.hpp"

#include "autograd/ops.hpp"

namespace phasor {

Var where(const Tensor& condition, const Var& a, const Var& b) {
  return record("where", where(condition, a.value(), b.value()), {a, b}, [condition](const Tensor& dy, Wanted wanted) {
    const Tensor zero = Tensor::scalar(0, dy.dtype());
    return std::vector{wanted[0] ? where(condition, dy, zero) : Tensor(),
                       wanted[1] ? where(condition, zero, dy) : Tensor()};
  });
}

}  // namespace phasor
