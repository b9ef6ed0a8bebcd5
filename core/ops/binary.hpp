// Element-wise ops of two tensors with broadcasting.
//   a, b   f32, f64, i32 or i64, the same dtype, shapes that broadcast (numpy's rule)
//   result the broadcast shape
// Errors: ShapeError, DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);  // division of integers truncates; by zero: ValueError

// y += x, x broadcasts to y. For sums that own their block: gradients, optimizers. x may be y, but must not overlap it
// otherwise.
void add_into(const Tensor& y, const Tensor& x);

}  // namespace phasor
