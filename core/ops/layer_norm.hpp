// Layer norm (Ba et al., arXiv:1607.06450): y = (x - mean) r w + b,  r = 1 / sqrt(variance + epsilon), the variance of
// a row divided by its width.
//   x [..., width]   weight, bias [width]   f32 or f64; on the GPU also x in bf16, parameters in f32 or bf16 beside it
// A row of equal numbers gives the bias exactly, where epsilon > 0. Errors: ShapeError, DtypeError, ValueError
// (epsilon < 0).
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon);

struct LayerNormGradients {
  Tensor dx, dweight, dbias;
};
LayerNormGradients layer_norm_backward(const Tensor& x, const Tensor& weight, double epsilon, const Tensor& dy);

namespace cuda {
// What the functions above call on the GPU, after their checks.
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon);
LayerNormGradients layer_norm_backward(const Tensor& x, const Tensor& weight, double epsilon, const Tensor& dy);
}  // namespace cuda

namespace reference {
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon);
}

}  // namespace phasor
