// Derivatives of the reductions. Each element enters its sum with factor 1 and its mean with factor 1 / count, so
//   y = sum(x)          dx = dy            stretched over the reduced axes
//   y = mean(x)         dx = dy / count    stretched over the reduced axes
// The stretched gradient is a broadcast view: it costs no memory. The others keep x:
//   y = max(x)          dx_i = dy / n where x_i = y, else 0    n elements are the largest: the mean of the n choices
//   y = logsumexp(x)    dx_i = dy e^(x_i) / sum e^x = dy e^(x_i - y)
//   y = variance(x)     with m = mean(x), y = mean((x - m)^2):
//                       dy/dx_i = 2 (x_i - m) / count - 2 mean(x - m) dm/dx_i, and mean(x - m) = 0
#include "core/ops/reduce.hpp"

#include <algorithm>

#include "autograd/ops.hpp"
#include "core/ops/binary.hpp"

namespace phasor {
namespace {

Var record_sum(const Var& x, Tensor y) {
  return record("sum", std::move(y), {x},
                [shape = x.shape()](const Tensor& dy, Wanted) { return std::vector{dy.broadcast_to(shape)}; });
}

Var record_mean(const Var& x, Tensor y) {
  return record("mean", std::move(y), {x}, [shape = x.shape()](const Tensor& dy, Wanted) {
    // dy may be empty only where x is, and then there is nothing to stretch.
    const double count = static_cast<double>(shape.size()) / static_cast<double>(std::max<int64_t>(dy.size(), 1));
    return std::vector{div(dy, Tensor::scalar(count, dy.dtype())).broadcast_to(shape)};
  });
}

}  // namespace

Var sum(const Var& x, const std::vector<int>& axes) { return record_sum(x, sum(x.value(), axes)); }
Var mean(const Var& x, const std::vector<int>& axes) { return record_mean(x, mean(x.value(), axes)); }
Var sum(const Var& x) { return record_sum(x, sum(x.value()).reshape({})); }
Var mean(const Var& x) { return record_mean(x, mean(x.value()).reshape({})); }

Var max(const Var& x, const std::vector<int>& axes) {
  const Tensor y = max(x.value(), axes);
  return record("max", y, {x}, [x = x.value(), axes, y](const Tensor& dy, Wanted) {
    return std::vector{max_backward(x, axes, y, dy)};
  });
}

Var logsumexp(const Var& x, const std::vector<int>& axes) {
  const Tensor y = logsumexp(x.value(), axes);
  return record("logsumexp", y, {x}, [x = x.value(), axes, y](const Tensor& dy, Wanted) {
    return std::vector{logsumexp_backward(x, axes, y, dy)};
  });
}

Var variance(const Var& x, const std::vector<int>& axes) {
  return record("variance", variance(x.value(), axes), {x}, [x = x.value(), axes](const Tensor& dy, Wanted) {
    return std::vector{variance_backward(x, axes, dy)};
  });
}

}  // namespace phasor
