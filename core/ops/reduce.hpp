// Reductions of f32 and f64 tensors over some axes (on the GPU of bf16 too, added up in f32).
//   axes   negative axes count from the end; none given means all
//   result the reduced axes are kept as extent 1 (squeeze or reshape drops them)
// The order of additions depends on shape and strides alone.
// Errors: ShapeError (an axis outside, or named twice; the mean, maximum, logsumexp or variance of nothing),
// DtypeError.
#pragma once

#include <vector>

#include "core/tensor.hpp"

namespace phasor {

Tensor sum(const Tensor& x, const std::vector<int>& axes = {});
Tensor mean(const Tensor& x, const std::vector<int>& axes = {});
Tensor max(const Tensor& x, const std::vector<int>& axes = {});  // NaN if any element is NaN
// log(sum e^x), without overflow; -inf if all elements are, +inf if one is and none is NaN.
Tensor logsumexp(const Tensor& x, const std::vector<int>& axes = {});
// The mean of (x - mean)^2: divided by the count (torch.var's correction=0), in two passes. Of equal numbers it is 0.
Tensor variance(const Tensor& x, const std::vector<int>& axes = {});

// Gradients for x; y is the value, and y and dy have extent 1 at the axes.
//   max         elements that equal the maximum share dy evenly (torch.amax); NaN where the maximum is NaN
//   logsumexp   e^(x - y) dy; 0 where y is -inf
//   variance    2 (x - mean) / count dy
Tensor max_backward(const Tensor& x, const std::vector<int>& axes, const Tensor& y, const Tensor& dy);
Tensor logsumexp_backward(const Tensor& x, const std::vector<int>& axes, const Tensor& y, const Tensor& dy);
Tensor variance_backward(const Tensor& x, const std::vector<int>& axes, const Tensor& dy);

// Undoes broadcasting: sums x over the axes in which `shape` was stretched to x's shape. `shape` must broadcast to it.
Tensor sum_to(const Tensor& x, const Shape& shape);

namespace cuda {
// What the functions above call on the GPU, after their checks. `kept` is x's shape with extent 1 for the reduced axes.
Tensor sum(const Tensor& x, const Shape& kept);
Tensor mean(const Tensor& x, const Shape& kept);
Tensor max(const Tensor& x, const Shape& kept);
Tensor logsumexp(const Tensor& x, const Shape& kept);
Tensor variance(const Tensor& x, const Shape& kept);
Tensor max_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor logsumexp_backward(const Tensor& x, const Tensor& y, const Tensor& dy);
Tensor variance_backward(const Tensor& x, const Tensor& dy);
}  // namespace cuda

namespace reference {
Tensor sum(const Tensor& x, const std::vector<int>& axes = {});
Tensor max(const Tensor& x, const std::vector<int>& axes = {});
Tensor logsumexp(const Tensor& x, const std::vector<int>& axes = {});
Tensor variance(const Tensor& x, const std::vector<int>& axes = {});
}  // namespace reference

}  // namespace phasor
