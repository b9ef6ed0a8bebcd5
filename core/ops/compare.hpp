// Comparisons, element by element with broadcasting: boolean tensors, for where(). Not differentiable.
//   a, b   f32, f64, i32 or i64, the same dtype, shapes that broadcast (numpy's rule)
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

}  // namespace phasor
