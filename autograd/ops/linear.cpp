// The affine map y_j = sum_i x_i w_ij + b_j, for every row x.
//   dx_i = sum_j dy_j w_ij:   dx = dy w^T
//   dw_ij = sum over rows of x_i dy_j:   dw = x^T dy, all rows in one product
//   db_j = sum over rows of dy_j, which is undoing the broadcast of b: record() does it to dy itself
#include "core/ops/linear.hpp"

#include "autograd/device.hpp"
#include "autograd/kept.hpp"
#include "autograd/ops.hpp"
#include "core/ops/matmul.hpp"

namespace phasor {

Var linear(const Var& given, const Var& weight, const Var& bias) {
  const Var x = on(common_device({given.device(), weight.device()}), given);
  return record("linear", linear(x.value(), weight.value(), bias.value()), {x, weight, bias},
                [x = kept_if(weight.needs_gradient(), x.value()), weight = kept_if(x.needs_gradient(), weight.value()),
                 of_bias = bias.dtype()](const Tensor& dy, Wanted wanted) {
                  std::vector<Tensor> gradients = {Tensor(), Tensor(), wanted[2] ? dy.to(of_bias) : Tensor()};
                  const auto matrix = [rows = dy.shape().without(-1).size()](const Tensor& t) {
                    return t.reshape({rows, t.extent(-1)});
                  };
                  if (wanted[0]) {
                    const Tensor dx =
                        matmul_plus(dy.rank() == 1 ? dy.unsqueeze(0) : dy, weight.transpose(0, 1), wanted.take(0));
                    gradients[0] = dy.rank() == 1 ? dx.squeeze(0) : dx;
                  }
                  if (wanted[1]) gradients[1] = matmul(matrix(x).transpose(0, 1), matrix(dy));
                  return gradients;
                });
}

}  // namespace phasor
