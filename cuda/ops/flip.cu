// The elements along one axis in reverse order.
#include "core/ops/flip.hpp"

#include "core/dispatch.hpp"
#include "cuda/elementwise.cuh"

namespace phasor::cuda {

Tensor flip(const Tensor& x, int axis) {
  const Tensor y = Tensor::empty_like(x);
  if (x.size() == 0) return y;
  with_any(x.dtype(), [&]<class T>() {
    // x is read from its last element along the axis, with the step turned round.
    auto backwards = bits<T>(x);
    backwards.elements.first += (x.extent(axis) - 1) * x.stride(axis);
    backwards.strides[axis] = -backwards.strides[axis];
    map("flip", y.shape(), Same(), std::tuple(bits<T>(y)), std::tuple(backwards));
  });
  return y;
}

}  // namespace phasor::cuda
