// Softmax: y_i = e^(x_i) / sum_j e^(x_j), so  dy_i/dx_j = y_i ([i = j] - y_j)  and
//   dx_j = sum_i dy_i y_i ([i = j] - y_j) = y_j (dy_j - sum_i dy_i y_i)
// The rule needs y alone.
#include "core/ops/softmax.hpp"

#include "autograd/ops.hpp"

namespace phasor {

Var softmax(const Var& x) {
  const Tensor y = softmax(x.value());
  return record("softmax", y, {x}, [y](const Tensor& dy, Wanted) { return std::vector{softmax_backward(y, dy)}; });
}

}  // namespace phasor
