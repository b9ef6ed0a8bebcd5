// Element-wise functions of one tensor: f32 or f64 (on the GPU bf16 too), any shape and strides; the result keeps the
// order of axes in memory. The formulas and their derivatives stand in core/scalar_math.hpp. NaN stays NaN.
// Errors: DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor neg(const Tensor& x);
Tensor abs(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);    // natural; -inf at 0, NaN below
Tensor log1p(const Tensor& x);  // log(1 + x), right for small x too; -inf at -1, NaN below
Tensor sqrt(const Tensor& x);   // NaN below 0
Tensor rsqrt(const Tensor& x);  // 1 / sqrt(x); infinity at 0, NaN below
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor sigmoid(const Tensor& x);  // 1 / (1 + e^-x)
Tensor silu(const Tensor& x);     // x sigmoid(x)
// Hendrycks & Gimpel, arXiv:1606.08415: x Phi(x) with the normal distribution function Phi, exact (PyTorch's default),
// and its approximation x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (GPT-2's).
Tensor gelu(const Tensor& x);
Tensor gelu_tanh(const Tensor& x);
Tensor relu(const Tensor& x);      // max(x, 0); its derivative at 0 is 0
Tensor softplus(const Tensor& x);  // log(1 + e^x), without overflow
// x brought into [low, high]; NaN stays. The derivative is 1 from low to high, both included, and 0 outside.
// ValueError unless low <= high.
Tensor clamp(const Tensor& x, double low, double high);

// dy f'(x), where y = f(x). One for each function above but neg. exp, sqrt, rsqrt, tanh and sigmoid read y, the others
// x; the one that is not read may be left undefined.
Tensor abs_backward(const Tensor& x, const Tensor& y, const Tensor& dy);  // 0 at 0
Tensor exp_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor log_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor log1p_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor sqrt_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor rsqrt_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor sin_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor cos_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor tanh_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor sigmoid_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor silu_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor gelu_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor gelu_tanh_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor relu_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor softplus_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor clamp_backward(const Tensor& x, double low, double high, const Tensor& dy);

namespace cuda {
// What the functions above call on the GPU, after their checks: F is a formula of core/scalar_math.hpp, `read` the one
// of x and y that its derivative reads.
template <class F>
Tensor unary(const char* op, const Tensor& x, F f);
template <class F>
Tensor unary_backward(const char* op, const Tensor& read, const Tensor& dy, F f);
}  // namespace cuda

}  // namespace phasor
