// Convolution of scores along the keys, heads as channels (the 1 x k kernel of DAPE v2, Zheng et al.):
//
//   y[b, o, i, j] = sum over c, t of weight[o, c, t] x[b, c, i, j + t - (width - 1) / 2]
//
//   x       [batch, channels, q_length, k_length], 0 outside 0 .. k_length-1
//   weight  [out_channels, channels, width], width odd
//   y       [batch, out_channels, q_length, k_length]
//
// f32 or f64 (on the GPU bf16 too, beside which the weight may be f32). Reaches (width - 1) / 2 keys to the right:
// under causality zero the scores of later keys first. Errors: ShapeError, DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor conv_keys(const Tensor& x, const Tensor& weight);

// The gradients, each from what it needs. That of the weight sums over batch, queries and keys: in tiles that depend on
// the shape alone, added in their order.
Tensor conv_keys_dx(const Tensor& weight, const Tensor& dy);
Tensor conv_keys_dweight(const Tensor& x, int64_t width, const Tensor& dy);
Tensor conv_keys_dweight(const Tensor& x, int64_t width, const Tensor& dy, Dtype dtype);  // x's, or f32 beside bf16

namespace cuda {
// What the functions above call on the GPU, after their checks. The weight is row-major.
void conv_keys(const Tensor& y, const Tensor& x, const Tensor& weight);
Tensor conv_keys_dweight(const Tensor& x, int64_t width, const Tensor& dy, Dtype dtype);
}  // namespace cuda

namespace reference {
Tensor conv_keys(const Tensor& x, const Tensor& weight);
}

}  // namespace phasor
