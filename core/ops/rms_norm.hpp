// Root-mean-square norm (Zhang & Sennrich, arXiv:1910.07467): y = x r w,  r = 1 / sqrt(mean(x^2) + epsilon).
//   x [..., width]   weight [width]   f32 or f64; on the GPU also x in bf16, parameters in f32 or bf16 beside it
// Errors: ShapeError, DtypeError, ValueError (epsilon < 0).
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon);

struct RmsNormGradients {
  Tensor dx, dweight;
};
// With an addend, of the shape of x: dx + addend, to the bit as the gradient and then the sum, in one pass.
RmsNormGradients rms_norm_backward(const Tensor& x, const Tensor& weight, double epsilon, const Tensor& dy,
                                   const Tensor& addend = Tensor());

namespace cuda {
// What the functions above call on the GPU, after their checks.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon);
RmsNormGradients rms_norm_backward(const Tensor& x, const Tensor& weight, double epsilon, const Tensor& dy,
                                   const Tensor& addend);
}  // namespace cuda

namespace reference {
Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon);
}

}  // namespace phasor
