// Comparisons, element by element with broadcasting: boolean tensors, for where(). Not differentiable.
//   a, b   f32, f64, i32 or i64 (on the GPU bf16 too), the same dtype, shapes that broadcast (numpy's rule); a number
//          (rank 0) of the CPU goes with a tensor of the GPU
// NaN is unequal to everything and neither less nor greater. Errors: ShapeError, DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor equal(const Tensor& a, const Tensor& b);
Tensor not_equal(const Tensor& a, const Tensor& b);
Tensor less(const Tensor& a, const Tensor& b);
Tensor less_equal(const Tensor& a, const Tensor& b);
Tensor greater(const Tensor& a, const Tensor& b);
Tensor greater_equal(const Tensor& a, const Tensor& b);

namespace cuda {
// What the functions above call on the GPU, after their checks: Compare is std::less<> and the like. Operands have the
// shape of y; one on the CPU is a number.
template <class Compare>
void compare(const char* op, const Tensor& y, const Tensor& a, const Tensor& b);
}  // namespace cuda

}  // namespace phasor
