// x with `before` and `after` elements of `value` added along one axis, as a row-major copy. f32, f64, i32, i64; the
// value of an integer dtype is one of its integers. Negative axes count from the end.
// Errors: ShapeError (axis outside), ValueError (negative padding, a value that the dtype cannot hold), DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor pad(const Tensor& x, int axis, int64_t before, int64_t after, double value = 0);

}  // namespace phasor
