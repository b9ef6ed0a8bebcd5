// Element-wise functions of one tensor: f32 or f64, any shape and strides; the result keeps the order of axes in
// memory. The formulas and their derivatives stand in core/scalar_math.hpp. Errors: DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor neg(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);   // natural; -inf at 0, NaN below
Tensor sqrt(const Tensor& x);  // NaN below 0
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);  // 1 / (1 + e^-x)
Tensor silu(const Tensor& x);     // x sigmoid(x)

// dy f'(x), where y = f(x). One for each function above but neg. exp, sqrt, tanh and sigmoid read y, the others x; the
// one that is not read may be left undefined.
Tensor exp_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor log_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor sqrt_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor sin_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor cos_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor tanh_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor sigmoid_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor silu_backward(const Tensor& x, const Tensor& y, const Tensor& dy);

}  // namespace phasor
