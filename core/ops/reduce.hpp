// Reductions of f32 and f64 tensors over some axes.
//   axes   negative axes count from the end; none given means all
//   result the reduced axes are kept as extent 1 (squeeze or reshape drops them)
// The order of additions depends on shape and strides alone.
// Errors: ShapeError (an axis outside, or named twice; the mean or maximum of nothing), DtypeError.
#pragma once

#include <vector>

#include "core/tensor.hpp"

namespace phasor {

Tensor sum(const Tensor& x, const std::vector<int>& axes = {});
Tensor mean(const Tensor& x, const std::vector<int>& axes = {});
Tensor max(const Tensor& x, const std::vector<int>& axes = {});  // NaN if any element is NaN

// Undoes broadcasting: sums x over the axes in which `shape` was stretched to x's shape. `shape` must broadcast to it.
Tensor sum_to(const Tensor& x, const Shape& shape);

namespace reference {
Tensor sum(const Tensor& x, const std::vector<int>& axes = {});
Tensor max(const Tensor& x, const std::vector<int>& axes = {});
}  // namespace reference

}  // namespace phasor
