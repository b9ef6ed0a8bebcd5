// Padding moves x to its place among constants, so dx is that place in dy, as a view.
#include "core/ops/pad.hpp"

#include "autograd/ops.hpp"

namespace phasor {

Var pad(const Var& x, int axis, int64_t before, int64_t after, double value) {
  Tensor y = pad(x.value(), axis, before, after, value);
  return record("pad", std::move(y), {x}, [axis, before, after](const Tensor& dy, Wanted) {
    return std::vector{dy.slice(axis, before, dy.extent(axis) - after)};
  });
}

}  // namespace phasor
