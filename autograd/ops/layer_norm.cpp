// Layer norm: y_i = n_i w_i + b_i with n = (x - m) r, m = mean(x), r = (mean((x - m)^2) + epsilon)^(-1/2).
//   dm/dx_j = 1 / width      dr/dx_j = -r^3 (x_j - m) / width = -r^2 n_j / width
//   dn_i/dx_j = r ([i = j] - 1 / width) + (x_i - m) dr/dx_j = r ([i = j] - 1 / width - n_i n_j / width)
// so with g = dy w
//   dx_j = sum_i g_i dn_i/dx_j = r (g_j - mean(g) - n_j mean(g n))
//   dw_i = dy_i n_i, db_i = dy_i, both summed over the rows
// m and r are computed again: they cost passes over a row that is in the cache anyway.
#include "core/ops/layer_norm.hpp"

#include "autograd/ops.hpp"

namespace phasor {

Var layer_norm(const Var& x, const Var& weight, const Var& bias, double epsilon) {
  return record("layer_norm", layer_norm(x.value(), weight.value(), bias.value(), epsilon), {x, weight, bias},
                [x = x.value(), weight = weight.value(), epsilon](const Tensor& dy, Wanted) {
                  const LayerNormGradients gradients = layer_norm_backward(x, weight, epsilon, dy);
                  return std::vector{gradients.dx, gradients.dweight, gradients.dbias};
                });
}

}  // namespace phasor
