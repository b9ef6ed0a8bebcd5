// The derivative of the matrix product.
#include "core/ops/matmul.hpp"

#include "autograd/device.hpp"
#include "autograd/ops.hpp"

namespace phasor {

// y = a b, a [..., m, k], b [..., k, n].  y_ij = sum_p a_ip b_pj, so
//   da_ip = sum_j dy_ij b_pj:  da = dy b^T
//   db_pj = sum_i a_ip dy_ij:  db = a^T dy
// One matrix b for a batch of a: the batch is more rows of the sum over i, and one product of [k, all rows] with
// [all rows, n] gives db; a batch of products that are summed afterwards would write every summand to memory.
Var matmul(const Var& of_a, const Var& of_b) {
  const Device device = common_device({of_a.device(), of_b.device()});
  const Var a = on(device, of_a), b = on(device, of_b);
  return record("matmul", matmul(a.value(), b.value()), {a, b},
                [a = b.needs_gradient() ? a.value() : Tensor(), b = a.needs_gradient() ? b.value() : Tensor(),
                 b_shape = b.shape()](const Tensor& dy, Wanted wanted) {
                  std::vector<Tensor> gradients(2);
                  // Where a was broadcast, dy b^T is wider than what has arrived at a.
                  if (wanted[0])
                    gradients[0] = b_shape.rank() == 2 ? matmul_plus(dy, b.transpose(-1, -2), wanted.take(0))
                                                       : matmul(dy, b.transpose(-1, -2));
                  if (!wanted[1]) return gradients;
                  const int64_t k = b_shape[-2], n = b_shape[-1];
                  if (b_shape.rank() == 2 && k > 0) {
                    const int64_t rows = a.size() / k;
                    gradients[1] = matmul(a.reshape({rows, k}).transpose(0, 1), dy.reshape({rows, n}));
                  } else {
                    gradients[1] = matmul(a.transpose(-1, -2), dy);
                  }
                  return gradients;
                });
}

}  // namespace phasor
