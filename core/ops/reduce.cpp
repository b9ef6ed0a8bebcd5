// The reductions and their gradients; core/ops/reduce_kernel.hpp walks, core/ops/reduce_summary.hpp adds up.
#include "core/ops/reduce.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/elementwise.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/reduce_kernel.hpp"
#include "core/ops/reduce_summary.hpp"

namespace phasor {
namespace reference {
namespace {

// y[kept index] = combine(y[kept index], x[index], place of the kept index) over all of x in row-major order.
template <class Combine>
Tensor reduce(const Tensor& x, const std::vector<int>& axes, double start, Combine combine) {
  std::array<bool, max_rank> reduced{};
  if (axes.empty()) reduced.fill(true);
  for (const int axis : axes) reduced[axis < 0 ? axis + x.rank() : axis] = true;
  Shape shape = x.shape();
  for (int axis = 0; axis < x.rank(); ++axis)
    if (reduced[axis]) shape = shape.with(axis, 1);
  const Tensor y = Tensor::full(shape, start, Dtype::f64);
  const std::vector<double> values = x.to(Dtype::f64).to_vector<double>();
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t rest = i, place = 0;
    for (int axis = x.rank() - 1; axis >= 0; --axis) {
      if (!reduced[axis]) place += rest % x.extent(axis) * y.stride(axis);
      rest /= x.extent(axis);
    }
    y.data<double>()[place] = combine(y.data<double>()[place], values[i], place);
  }
  return y;
}

}  // namespace

Tensor sum(const Tensor& x, const std::vector<int>& axes) {
  return reduce(x, axes, 0, [](double a, double b, int64_t) { return a + b; }).to(x.dtype());
}

Tensor max(const Tensor& x, const std::vector<int>& axes) {
  return reduce(x, axes, -std::numeric_limits<double>::infinity(),
                [](double a, double b, int64_t) { return a != a || a > b ? a : b; })
      .to(x.dtype());
}

Tensor logsumexp(const Tensor& x, const std::vector<int>& axes) {
  std::vector<double> largest = reference::max(x.to(Dtype::f64), axes).to_vector<double>();
  for (double& v : largest)
    if (std::isinf(v)) v = 0;  // inf - inf would be NaN
  const Tensor y =
      reduce(x, axes, 0, [&](double total, double v, int64_t place) { return total + std::exp(v - largest[place]); });
  for (int64_t i = 0; i < y.size(); ++i) y.data<double>()[i] = std::log(y.data<double>()[i]) + largest[i];
  return y.to(x.dtype());
}

Tensor variance(const Tensor& x, const std::vector<int>& axes) {
  std::vector<double> mean = reference::sum(x.to(Dtype::f64), axes).to_vector<double>();
  const double count = static_cast<double>(x.size()) / static_cast<double>(mean.size());
  for (double& v : mean) v /= count;
  const Tensor y = reduce(x, axes, 0, [&](double total, double v, int64_t place) {
    return total + (v - mean[place]) * (v - mean[place]) / count;
  });
  return y.to(x.dtype());
}

}  // namespace reference

namespace {

using namespace reduction;

Axes nonempty_axes(const char* op, const char* what, const Tensor& x, const std::vector<int>& axes) {
  const Axes which(op, x, axes);
  require(which.inner.size() > 0, op, what, " of nothing: x is ", x.shape(), "; needs an element along the axes");
  return which;
}

// `kept` is y or dy of a reduction of x.
void require_kept(const char* op, const Tensor& x, const Axes& axes, const char* name, const Tensor& kept) {
  require(kept.shape() == axes.kept, op, name, " is ", kept.shape(), ", x is ", x.shape(), "; ", name, " must be ",
          axes.kept);
  require_same_dtype(op, "x", x, name, kept);
}

}  // namespace

Tensor sum(const Tensor& x, const std::vector<int>& axes) {
  const Axes which("sum", x, axes);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::sum(x, which.kept);
  return reduce<Sum>("sum", x, which);
}

Tensor mean(const Tensor& x, const std::vector<int>& axes) {
  const Axes which = nonempty_axes("mean", "the mean", x, axes);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::mean(x, which.kept);
  return div(reduce<Sum>("mean", x, which), Tensor::scalar(static_cast<double>(which.inner.size()), x.dtype()));
}

Tensor max(const Tensor& x, const std::vector<int>& axes) {
  const Axes which = nonempty_axes("max", "the maximum", x, axes);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::max(x, which.kept);
  return reduce<Max>("max", x, which);
}

Tensor logsumexp(const Tensor& x, const std::vector<int>& axes) {
  const Axes which = nonempty_axes("logsumexp", "the logsumexp", x, axes);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::logsumexp(x, which.kept);
  return reduce<LogSumExp>("logsumexp", x, which);
}

Tensor variance(const Tensor& x, const std::vector<int>& axes) {
  const Axes which = nonempty_axes("variance", "the variance", x, axes);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::variance(x, which.kept);
  return reduce<Variance>("variance", x, which);
}

Tensor max_backward(const Tensor& x, const std::vector<int>& axes, const Tensor& y, const Tensor& dy) {
  constexpr const char* op = "max_backward";
  const Axes which = nonempty_axes(op, "the maximum", x, axes);
  require_kept(op, x, which, "y", y);
  require_kept(op, x, which, "dy", dy);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::max_backward(x, y, dy);
  const Tensor share = div(dy, reduce<Ties>(op, x, which));
  return with_float(op, x.dtype(), [&]<class T>() {
    const Tensor dx = Tensor::empty_like(x);
    for_each_run<T, 1, 3>(grain_for(1), {dx}, {x, y.broadcast_to(x.shape()), share.broadcast_to(x.shape())},
                          [](int64_t n, const auto& to, const auto& from) {
                            namespace hn = simd::hn;
                            const auto gradient = [](auto v, auto largest, auto d) {
                              return hn::IfThenElse(hn::IsNaN(largest), largest,
                                                    hn::IfThenElseZero(hn::Eq(v, largest), d));
                            };
                            simd::map(n, to[0], gradient, from[0], from[1], from[2]);
                          });
    return dx;
  });
}

Tensor logsumexp_backward(const Tensor& x, const std::vector<int>& axes, const Tensor& y, const Tensor& dy) {
  constexpr const char* op = "logsumexp_backward";
  const Axes which = nonempty_axes(op, "the logsumexp", x, axes);
  require_kept(op, x, which, "y", y);
  require_kept(op, x, which, "dy", dy);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::logsumexp_backward(x, y, dy);
  return with_float(op, x.dtype(), [&]<class T>() {
    const Tensor dx = Tensor::empty_like(x);
    for_each_run<T, 1, 3>(grain_for(8), {dx}, {x, y.broadcast_to(x.shape()), dy.broadcast_to(x.shape())},
                          [](int64_t n, const auto& to, const auto& from) {
                            namespace hn = simd::hn;
                            // Where y is -inf all of x is: e^(-inf - 0) is the 0 that e^(-inf + inf) is not.
                            const simd::Vec<T> nothing = simd::set<T>(-std::numeric_limits<T>::infinity());
                            const auto gradient = [&](auto v, auto l, auto d) {
                              return simd::exp(v - hn::IfThenZeroElse(hn::Eq(l, nothing), l)) * d;
                            };
                            simd::map(n, to[0], gradient, from[0], from[1], from[2]);
                          });
    return dx;
  });
}

Tensor variance_backward(const Tensor& x, const std::vector<int>& axes, const Tensor& dy) {
  constexpr const char* op = "variance_backward";
  const Axes which = nonempty_axes(op, "the variance", x, axes);
  require_kept(op, x, which, "dy", dy);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::variance_backward(x, dy);
  const Tensor factor = div(dy, Tensor::scalar(static_cast<double>(which.inner.size()) / 2, x.dtype()));
  // The mean in two parts: rounded to x's dtype alone it could be off by more than x spreads.
  const Tensor mean = reduce<AccurateMean, double>(op, x, which);
  const Tensor center = mean.to(x.dtype()), rest = sub(mean, center.to(Dtype::f64)).to(x.dtype());
  return with_float(op, x.dtype(), [&]<class T>() {
    const Tensor dx = Tensor::empty_like(x);
    for_each_run<T, 1, 4>(
        grain_for(1), {dx},
        {x, center.broadcast_to(x.shape()), rest.broadcast_to(x.shape()), factor.broadcast_to(x.shape())},
        [](int64_t n, const auto& to, const auto& from) {
          const auto gradient = [](auto v, auto c, auto r, auto f) { return (v - c - r) * f; };
          simd::map(n, to[0], gradient, from[0], from[1], from[2], from[3]);
        });
    return dx;
  });
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  require(broadcast_shape("sum_to", x.shape(), shape) == x.shape(), "sum_to", shape,
          " does not broadcast to x, which is ", x.shape());
  if (x.shape() == shape) return x;
  const int added = x.rank() - shape.rank();
  std::vector<int> stretched;
  for (int axis = 0; axis < x.rank(); ++axis)
    if (axis < added || (shape[axis - added] == 1 && x.extent(axis) != 1)) stretched.push_back(axis);
  const Axes which("sum_to", x, stretched);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::sum(x, which.kept).reshape(shape);
  return reduce<Sum>("sum_to", x, which).reshape(shape);
}

}  // namespace phasor
