// Choice by a condition: y = c ? a : b.
//   da = c ? dy : 0      db = c ? 0 : dy
// Chosen, not multiplied by 0 and 1: an infinite dy meets no 0. What a and b hold is not read.
#include "core/ops/where.hpp"

#include "autograd/device.hpp"
#include "autograd/ops.hpp"

namespace phasor {

Var where(const Tensor& of_choice, const Var& of_a, const Var& of_b) {
  const Device device = common_device({of_choice.device(), of_a.device(), of_b.device()});
  const Tensor condition = on(device, of_choice);
  const Var a = on(device, of_a), b = on(device, of_b);
  return record("where", where(condition, a.value(), b.value()), {a, b}, [condition](const Tensor& dy, Wanted wanted) {
    const Tensor zero = Tensor::scalar(0, dy.dtype());
    return std::vector{wanted[0] ? where(condition, dy, zero) : Tensor(),
                       wanted[1] ? where(condition, zero, dy) : Tensor()};
  });
}

}  // namespace phasor
