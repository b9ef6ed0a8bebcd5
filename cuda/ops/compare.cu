// Comparisons, element by element.
#include "core/ops/compare.hpp"

#include <functional>

#include "core/dispatch.hpp"
#include "cuda/elementwise.cuh"

namespace phasor::cuda {

template <class Compare>
void compare(const char* op, const Tensor& y, const Tensor& a, const Tensor& b) {
  with_any_number(op, a.dtype(), [&]<class T>() {
    map(op, y.shape(), Compare(), std::tuple(elements<bool>(y)), std::tuple(elements<T>(a), elements<T>(b)));
  });
}

template void compare<std::equal_to<>>(const char*, const Tensor&, const Tensor&, const Tensor&);
template void compare<std::not_equal_to<>>(const char*, const Tensor&, const Tensor&, const Tensor&);
template void compare<std::less<>>(const char*, const Tensor&, const Tensor&, const Tensor&);
template void compare<std::less_equal<>>(const char*, const Tensor&, const Tensor&, const Tensor&);
template void compare<std::greater<>>(const char*, const Tensor&, const Tensor&, const Tensor&);
template void compare<std::greater_equal<>>(const char*, const Tensor&, const Tensor&, const Tensor&);

}  // namespace phasor::cuda
