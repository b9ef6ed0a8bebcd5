// The elements along one axis in reverse order.
#include "core/ops/flip.hpp"

#include <algorithm>

#include "core/axis.hpp"
#include "core/dispatch.hpp"
#include "core/loops.hpp"

namespace phasor {

Tensor flip(const Tensor& x, int axis) {
  axis = checked_axis("flip", "x", x, axis);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::flip(x, axis);
  const Tensor y = Tensor::empty_like(x);
  if (x.size() == 0) return y;
  // x is read from its last element along the axis, with the step turned round.
  Strides backwards = x.strides();
  backwards[axis] = -backwards[axis];
  const StridedLoop<2> loop(y.shape(), {y.strides(), backwards});
  const int64_t step_y = loop.step(0), step_x = loop.step(1);
  with_any(x.dtype(), [&]<class T>() {
    T* const to = y.data<T>();
    const T* const from = x.data<T>() + (x.extent(axis) - 1) * x.stride(axis);
    loop.run(grain_for(1), [&](const std::array<int64_t, 2>& at, int64_t count) {
      T* const row_y = to + at[0];
      const T* const row_x = from + at[1];
      if (step_y == 1 && step_x == 1)
        std::copy_n(row_x, count, row_y);
      else if (step_y == 1 && step_x == -1)
        for (int64_t i = 0; i < count; ++i) row_y[i] = row_x[-i];
      else
        for (int64_t i = 0; i < count; ++i) row_y[i * step_y] = row_x[i * step_x];
    });
  });
  return y;
}

}  // namespace phasor
