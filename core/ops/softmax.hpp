// Softmax along the last axis: y = e^(x - max) / sum e^(x - max), of f32 or f64.
// A row that is -inf throughout has no distribution: NaN. Errors: ShapeError (rank 0, an empty row), DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor softmax(const Tensor& x);
Tensor softmax_backward(const Tensor& y, const Tensor& dy);  // dx = y (dy - sum(dy y))

namespace reference {
Tensor softmax(const Tensor& x);
}

}  // namespace phasor
