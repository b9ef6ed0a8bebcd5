// The derivative of turning components by given angles.
#include "core/ops/rotary.hpp"

#include "autograd/device.hpp"
#include "autograd/ops.hpp"

namespace phasor {

// Per component y = R x with R = [c -s; s c].  Then
//   dx = R^T dy                     the same kernel with s -> -s (also right when c^2 + s^2 != 1)
//   dc = dy0 x0 + dy1 x1            summed over the axes that the table broadcasts
//   ds = dy1 x0 - dy0 x1
Var rotary(const Var& x, const Var& of_cos, const Var& of_sin, RotaryLayout layout) {
  const Var cos = on(x.device(), of_cos), sin = on(x.device(), of_sin);
  // x is needed for the tables only: with fixed tables nothing of it is kept.
  const Tensor kept = cos.needs_gradient() || sin.needs_gradient() ? x.value() : Tensor();
  return record("rotary", rotary(x.value(), cos.value(), sin.value(), layout), {x, cos, sin},
                [kept, cos = cos.value(), sin = sin.value(), layout](const Tensor& dy, Wanted wanted) {
                  std::vector<Tensor> gradients(3);
                  if (wanted[0]) gradients[0] = rotary_transposed(dy, cos, sin, layout);
                  if (wanted[1] || wanted[2]) {
                    const RotaryTableGradients tables = rotary_table_backward(kept, cos, sin, layout, dy);
                    gradients[1] = tables.dcos;
                    gradients[2] = tables.dsin;
                  }
                  return gradients;
                });
}

}  // namespace phasor
