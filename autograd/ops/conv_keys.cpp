// y[b, o, i, j] = sum over c, t of weight[o, c, t] x[b, c, i, j + t - r],  r = (width - 1) / 2,  is linear in both:
//   dx[b, c, i, j]   = sum over o, t of weight[o, c, t] dy[b, o, i, j - t + r]
//   dweight[o, c, t] = sum over b, i, j of dy[b, o, i, j] x[b, c, i, j + t - r]
// where x and dy are 0 outside the keys.
#include "core/ops/conv_keys.hpp"

#include "autograd/kept.hpp"
#include "autograd/ops.hpp"

namespace phasor {

Var conv_keys(const Var& x, const Var& weight) {
  Tensor y = conv_keys(x.value(), weight.value());
  return record("conv_keys", std::move(y), {x, weight},
                [x = kept_if(weight.needs_gradient(), x.value()), weight = kept_if(x.needs_gradient(), weight.value()),
                 width = weight.extent(2), dtype = weight.dtype()](const Tensor& dy, Wanted wanted) {
                  return std::vector{wanted[0] ? conv_keys_dx(weight, dy) : Tensor(),
                                     wanted[1] ? conv_keys_dweight(x, width, dy, dtype) : Tensor()};
                });
}

}  // namespace phasor
