// Comparisons, element by element: plain loops over two inputs of one type and a result of another.
#include "core/ops/compare.hpp"

#include <functional>

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/loops.hpp"

namespace phasor {
namespace {

template <class Compare>
Tensor compare(const char* op, const Tensor& a, const Tensor& b) {
  require_operands(op, "a", a, "b", b);
  const Shape shape = broadcast_shape(op, a.shape(), b.shape());
  if constexpr (kHasCuda)
    if (a.is_on(Device::cuda) || b.is_on(Device::cuda)) {
      const Tensor y = Tensor::empty(shape, Dtype::boolean, Device::cuda);
      cuda::compare<Compare>(op, y, a.broadcast_to(shape), b.broadcast_to(shape));
      return y;
    }
  return with_number(op, a.dtype(), [&]<class T>() {
    const Tensor y = Tensor::empty(shape, Dtype::boolean);
    const StridedLoop<3> loop(shape, {y.strides(), a.broadcast_to(shape).strides(), b.broadcast_to(shape).strides()});
    bool* const to = y.data<bool>();
    const T* const from_a = a.data<T>();
    const T* const from_b = b.data<T>();
    // Steps that are constants let the compiler make vectors; a side that is one number is common.
    const auto run = [&](auto step_y, auto step_a, auto step_b) {
      loop.run(grain_for(1), [&](const std::array<int64_t, 3>& at, int64_t count) {
        bool* const row = to + at[0];
        const T* const row_a = from_a + at[1];
        const T* const row_b = from_b + at[2];
        for (int64_t i = 0; i < count; ++i) row[i * step_y] = Compare()(row_a[i * step_a], row_b[i * step_b]);
      });
    };
    const std::integral_constant<int64_t, 0> fixed;
    const std::integral_constant<int64_t, 1> next;
    if (loop.step(0) == 1 && loop.step(1) == 1 && loop.step(2) == 1)
      run(next, next, next);
    else if (loop.step(0) == 1 && loop.step(1) == 1 && loop.step(2) == 0)
      run(next, next, fixed);
    else
      run(loop.step(0), loop.step(1), loop.step(2));
    return y;
  });
}

}  // namespace

Tensor equal(const Tensor& a, const Tensor& b) { return compare<std::equal_to<>>("equal", a, b); }
Tensor not_equal(const Tensor& a, const Tensor& b) { return compare<std::not_equal_to<>>("not_equal", a, b); }
Tensor less(const Tensor& a, const Tensor& b) { return compare<std::less<>>("less", a, b); }
Tensor less_equal(const Tensor& a, const Tensor& b) { return compare<std::less_equal<>>("less_equal", a, b); }
Tensor greater(const Tensor& a, const Tensor& b) { return compare<std::greater<>>("greater", a, b); }
Tensor greater_equal(const Tensor& a, const Tensor& b) { return compare<std::greater_equal<>>("greater_equal", a, b); }

}  // namespace phasor
