// Element-wise ops of two tensors with broadcasting: vectors for floating-point numbers, plain loops for integers.
#include "core/ops/binary.hpp"

#include "core/arguments.hpp"
#include "core/binary_math.hpp"
#include "core/device.hpp"
#include "core/dispatch.hpp"
#include "core/elementwise.hpp"
#include "core/simd_math.hpp"

namespace phasor {
namespace {

template <class T, class F>
void write(const Tensor& y, const Tensor& a, const Tensor& b) {
  for_each_run<T, 1, 2>(grain_for(1), {y}, {a, b}, [](int64_t n, const auto& to, const auto& from) {
    if constexpr (std::is_floating_point_v<T>) {
      simd::map(
          n, to[0], [](auto x, auto z) { return F::value(x, z); }, from[0], from[1]);
    } else {
      for (int64_t i = 0; i < n; ++i) to[0][i] = F::value(from[0][i], from[1][i]);
    }
  });
}

bool on_gpu(const Tensor& a, const Tensor& b) { return a.is_on(Device::cuda) || b.is_on(Device::cuda); }

// The result lies in memory like the first operand of its own shape that is not a broadcast view itself.
Tensor empty_result(const Shape& shape, const Tensor& a, const Tensor& b) {
  const Device device = on_gpu(a, b) ? Device::cuda : Device::cpu;
  const auto spans = [&](const Tensor& x) {
    bool whole = x.shape() == shape && x.is_on(device);
    for (int axis = 0; whole && axis < x.rank(); ++axis) whole = x.extent(axis) == 1 || x.stride(axis) != 0;
    return whole;
  };
  if (spans(a)) return Tensor::empty_like(a);
  if (spans(b)) return Tensor::empty_like(b);
  return Tensor::empty(shape, a.dtype(), device);
}

template <class F>
Tensor on_gpu_with(const char* op, const Shape& shape, const Tensor& a, const Tensor& b) {
  const Tensor y = empty_result(shape, a, b);
  cuda::binary<F>(op, y, a.broadcast_to(shape), b.broadcast_to(shape));
  return y;
}

template <class F>
Tensor apply(const char* op, const Tensor& a, const Tensor& b) {
  require_operands(op, "a", a, "b", b);
  const Shape shape = broadcast_shape(op, a.shape(), b.shape());
  if constexpr (kHasCuda)
    if (on_gpu(a, b)) return on_gpu_with<F>(op, shape, a, b);
  return with_number(op, a.dtype(), [&]<class T>() {
    const Tensor y = empty_result(shape, a, b);
    write<T, F>(y, a.broadcast_to(shape), b.broadcast_to(shape));
    return y;
  });
}

// For the backwards: dy must have the shape to which a and b broadcast.
void require_gradient(const char* op, const Tensor& a, const Tensor& b, const Tensor& dy) {
  require_operands(op, "a", a, "b", b);
  require_operands(op, "a", a, "dy", dy);
  require_operands(op, "b", b, "dy", dy);
  require_float(op, "a", a);
  const Shape shape = broadcast_shape(op, a.shape(), b.shape());
  require(dy.shape() == shape, op, "dy is ", dy.shape(), ", a is ", a.shape(), ", b is ", b.shape(), "; dy must be ",
          shape);
}

template <class F>
BinaryGradients extreme_backward(const char* op, const Tensor& a, const Tensor& b, const Tensor& dy) {
  require_gradient(op, a, b, dy);
  if constexpr (kHasCuda)
    if (dy.is_on(Device::cuda))
      return cuda::extreme_backward<F>(op, a.broadcast_to(dy.shape()), b.broadcast_to(dy.shape()), dy);
  return with_float(op, a.dtype(), [&]<class T>() -> BinaryGradients {
    const Tensor da = Tensor::empty_like(dy), db = Tensor::empty_like(dy);
    const auto gradients = [](auto x, auto y, auto d) { return F::gradients(x, y, d); };
    for_each_run<T, 2, 3>(grain_for(4), {da, db}, {a.broadcast_to(dy.shape()), b.broadcast_to(dy.shape()), dy},
                          [&](int64_t n, const auto& to, const auto& from) {
                            simd::map_pair(n, to[0], to[1], gradients, from[0], from[1], from[2]);
                          });
    return {da, db};
  });
}

template <class T>
void require_no_zero(const Tensor& divisors) {
  const std::vector<T> values = divisors.to_vector<T>();
  const auto zero = std::find(values.begin(), values.end(), T(0));
  require<ValueError>(zero == values.end(), "div", "integer division by zero: element ", zero - values.begin(),
                      " of b ", divisors.shape(), " is 0");
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) { return apply<scalar::Add>("add", a, b); }
Tensor sub(const Tensor& a, const Tensor& b) { return apply<scalar::Sub>("sub", a, b); }
Tensor mul(const Tensor& a, const Tensor& b) { return apply<scalar::Mul>("mul", a, b); }
Tensor div(const Tensor& a, const Tensor& b) {
  require_operands("div", "a", a, "b", b);
  if (!is_recording()) {  // a graph reads nothing back
    if (b.dtype() == Dtype::i32) require_no_zero<int32_t>(b);
    if (b.dtype() == Dtype::i64) require_no_zero<int64_t>(b);
  }
  return apply<scalar::Div>("div", a, b);
}

Tensor minimum(const Tensor& a, const Tensor& b) { return apply<scalar::Minimum>("minimum", a, b); }
Tensor maximum(const Tensor& a, const Tensor& b) { return apply<scalar::Maximum>("maximum", a, b); }

BinaryGradients minimum_backward(const Tensor& a, const Tensor& b, const Tensor& dy) {
  return extreme_backward<scalar::Minimum>("minimum_backward", a, b, dy);
}
BinaryGradients maximum_backward(const Tensor& a, const Tensor& b, const Tensor& dy) {
  return extreme_backward<scalar::Maximum>("maximum_backward", a, b, dy);
}

Tensor pow(const Tensor& a, const Tensor& b) {
  require_float("pow", "a", a);
  require_operands("pow", "a", a, "b", b);
  const Shape shape = broadcast_shape("pow", a.shape(), b.shape());
  if constexpr (kHasCuda)
    if (on_gpu(a, b)) return on_gpu_with<scalar::Pow>("pow", shape, a, b);
  return with_float("pow", a.dtype(), [&]<class T>() {
    const Tensor y = empty_result(shape, a, b);
    write<T, scalar::Pow>(y, a.broadcast_to(shape), b.broadcast_to(shape));
    return y;
  });
}

Tensor pow_base_backward(const Tensor& a, const Tensor& b, const Tensor& dy) {
  require_gradient("pow_base_backward", a, b, dy);
  if constexpr (kHasCuda)
    if (dy.is_on(Device::cuda))
      return cuda::pow_base_backward(a.broadcast_to(dy.shape()), b.broadcast_to(dy.shape()), dy);
  return with_float("pow_base_backward", a.dtype(), [&]<class T>() {
    const Tensor da = Tensor::empty_like(dy);
    const auto gradient = [](auto x, auto exponent, auto d) { return scalar::Pow::base_gradient(x, exponent, d); };
    for_each_run<T, 1, 3>(
        grain_for(32), {da}, {a.broadcast_to(dy.shape()), b.broadcast_to(dy.shape()), dy},
        [&](int64_t n, const auto& to, const auto& from) { simd::map(n, to[0], gradient, from[0], from[1], from[2]); });
    return da;
  });
}

Tensor pow_exponent_backward(const Tensor& a, const Tensor& b, const Tensor& y, const Tensor& dy) {
  require_gradient("pow_exponent_backward", a, b, dy);
  require_same_shape("pow_exponent_backward", "y", y, "dy", dy);
  require_same_dtype("pow_exponent_backward", "y", y, "dy", dy);
  if constexpr (kHasCuda)
    if (dy.is_on(Device::cuda))
      return cuda::pow_exponent_backward(a.broadcast_to(dy.shape()), b.broadcast_to(dy.shape()), y, dy);
  return with_float("pow_exponent_backward", a.dtype(), [&]<class T>() {
    const Tensor db = Tensor::empty_like(dy);
    const auto gradient = [](auto base, auto exponent, auto power, auto d) {
      return scalar::Pow::exponent_gradient(base, exponent, power, d);
    };
    for_each_run<T, 1, 4>(grain_for(32), {db}, {a.broadcast_to(dy.shape()), b.broadcast_to(dy.shape()), y, dy},
                          [&](int64_t n, const auto& to, const auto& from) {
                            simd::map(n, to[0], gradient, from[0], from[1], from[2], from[3]);
                          });
    return db;
  });
}

Tensor outer(const Tensor& a, const Tensor& b) {
  require_same_dtype("outer", "a", a, "b", b);
  require(a.rank() >= 1 && b.rank() >= 1, "outer", "needs vectors: a is ", a.shape(), ", b is ", b.shape(),
          "; the rank must be at least 1");
  require(std::max(a.rank(), b.rank()) < max_rank, "outer", "a is ", a.shape(), ", b is ", b.shape(),
          "; the result has an axis more, and at most ", max_rank);
  for (int axis = -2; axis >= -std::min(a.rank(), b.rank()); --axis)
    require(a.extent(axis) == b.extent(axis) || a.extent(axis) == 1 || b.extent(axis) == 1, "outer",
            "leading axes do not broadcast: a is ", a.shape(), ", b is ", b.shape(), "; axis ", axis, " is ",
            a.extent(axis), " and ", b.extent(axis), ", neither is 1");
  return apply<scalar::Mul>("outer", a.unsqueeze(-1), b.unsqueeze(-2));
}

void add_into(const Tensor& y, const Tensor& x) {
  require_defined("add_into", "y", y);
  if (y.is_on(Device::cuda))
    require_operands("add_into", "y", y, "x", x);
  else
    require_same_dtype("add_into", "y", y, "x", x);
  require(broadcast_shape("add_into", y.shape(), x.shape()) == y.shape(), "add_into", "x is ", x.shape(), ", y is ",
          y.shape(), "; x must broadcast to y");
  if constexpr (kHasCuda)
    if (y.is_on(Device::cuda)) return cuda::binary<scalar::Add>("add_into", y, y, x.broadcast_to(y.shape()));
  with_number("add_into", y.dtype(), [&]<class T>() { write<T, scalar::Add>(y, y, x.broadcast_to(y.shape())); });
}

}  // namespace phasor
