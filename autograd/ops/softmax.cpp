// Softmax: y_i = e^(x_i) / sum_j e^(x_j), so  dy_i/dx_j = y_i ([i = j] - y_j)  and
//   dx_j = sum_i dy_i y_i ([i = j] - y_j) = y_j (dy_j - sum_i dy_i y_i)
// Its logarithm: y_i = x_i - log sum_j e^(x_j), so  dy_i/dx_j = [i = j] - e^(y_j)  and
//   dx_j = dy_j - e^(y_j) sum_i dy_i
// Both rules need y alone.
#include "core/ops/softmax.hpp"

#include "autograd/ops.hpp"

namespace phasor {

Var softmax(const Var& x, int axis) {
  const Tensor y = softmax(x.value(), axis);
  return record("softmax", y, {x},
                [y, axis](const Tensor& dy, Wanted) { return std::vector{softmax_backward(y, dy, axis)}; });
}

Var log_softmax(const Var& x, int axis) {
  const Tensor y = log_softmax(x.value(), axis);
  return record("log_softmax", y, {x},
                [y, axis](const Tensor& dy, Wanted) { return std::vector{log_softmax_backward(y, dy, axis)}; });
}

}  // namespace phasor
