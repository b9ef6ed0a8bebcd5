// RMS norm: y_i = n_i w_i with n = x r and r = (mean(x^2) + epsilon)^(-1/2).
//   dr/dx_j = -r^3 x_j / width
//   dx_j = sum_i dy_i w_i (r [i = j] + x_i dr/dx_j) = r dy_j w_j - x_j r^3 / width sum_i dy_i w_i x_i
//   dw_i = dy_i n_i, summed over the rows
// r is computed again: it costs a pass over a row that is in the cache anyway.
#include "core/ops/rms_norm.hpp"

#include "autograd/ops.hpp"

namespace phasor {

Var rms_norm(const Var& x, const Var& weight, double epsilon) {
  return record("rms_norm", rms_norm(x.value(), weight.value(), epsilon), {x, weight},
                [x = x.value(), weight = weight.value(), epsilon](const Tensor& dy, Wanted wanted) {
                  const Tensor others = wanted[0] ? wanted.take(0) : Tensor();
                  const RmsNormGradients gradients = rms_norm_backward(x, weight, epsilon, dy, others);
                  return std::vector{gradients.dx, gradients.dweight};
                });
}

}  // namespace phasor
