// The gated product of SwiGLU (Shazeer, arXiv:2002.05202): y = silu(gate) * up, one pass.
//   gate, up   one shape, f32 or f64 (on the GPU bf16 too), any strides
// Errors: ShapeError, DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor swiglu(const Tensor& gate, const Tensor& up);

struct SwigluGradients {
  Tensor dgate, dup;
};
SwigluGradients swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& dy);

namespace cuda {
// What the functions above call on the GPU, after their checks.
Tensor swiglu(const Tensor& gate, const Tensor& up);
SwigluGradients swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& dy);
}  // namespace cuda

namespace reference {
Tensor swiglu(const Tensor& gate, const Tensor& up);
}

}  // namespace phasor
