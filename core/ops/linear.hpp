// The affine map of a layer: y = x weight + bias, one pass over y less than matmul and add, to the same bits.
//   x [..., inputs]   weight [inputs, outputs]   bias [outputs], or [..., outputs] (a residual stream)
// f32 or f64; on the GPU bf16 too, beside which the bias may be f32, and the sum's last bits may be others.
// Errors: ShapeError, DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias);

namespace reference {
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias);
}

}  // namespace phasor
