// Element-wise functions of one tensor: one loop for all of them, over the formulas of core/scalar_math.hpp.
#include "core/ops/unary.hpp"

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/elementwise.hpp"
#include "core/simd_math.hpp"

namespace phasor {
namespace {

template <class F>
Tensor apply(const char* op, const Tensor& x, F f = {}) {
  require_float(op, "x", x);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::unary(op, x, f);
  return with_float(op, x.dtype(), [&]<class T>() {
    const Tensor y = Tensor::empty_like(x);
    for_each_run<T, 1, 1>(grain_for(8), {y}, {x}, [&](int64_t n, const auto& to, const auto& from) {
      simd::map(
          n, to[0], [&](auto v) { return f.value(v); }, from[0]);
    });
    return y;
  });
}

enum class Reads { x, y };

// Reads only the one of x and y that the derivative needs: two streams instead of three.
template <class F, Reads reads>
Tensor apply_backward(const char* op, const Tensor& x, const Tensor& y, const Tensor& dy, F f = {}) {
  const Tensor& read = reads == Reads::x ? x : y;
  if (x.defined() || reads == Reads::x) {
    require_same_shape(op, "x", x, "dy", dy);
    require_same_dtype(op, "x", x, "dy", dy);
  }
  if (y.defined() || reads == Reads::y) {
    require_same_shape(op, "y", y, "dy", dy);
    require_same_dtype(op, "y", y, "dy", dy);
  }
  require_float(op, "dy", dy);
  if constexpr (kHasCuda)
    if (dy.is_on(Device::cuda)) return cuda::unary_backward(op, read, dy, f);
  return with_float(op, dy.dtype(), [&]<class T>() {
    const Tensor dx = Tensor::empty_like(read);
    for_each_run<T, 1, 2>(grain_for(8), {dx}, {read, dy}, [&](int64_t n, const auto& to, const auto& from) {
      simd::map(
          n, to[0], [&](auto v, auto d) { return scalar::gradient_of(f, v, d); }, from[0], from[1]);
    });
    return dx;
  });
}

scalar::Clamp clamp_between(const char* op, double low, double high) {
  require<ValueError>(low <= high, op, "low is ", low, ", high is ", high, "; needs low <= high");
  return {low, high};
}

}  // namespace

Tensor neg(const Tensor& x) { return apply<scalar::Neg>("neg", x); }
Tensor abs(const Tensor& x) { return apply<scalar::Abs>("abs", x); }
Tensor exp(const Tensor& x) { return apply<scalar::Exp>("exp", x); }
Tensor log(const Tensor& x) { return apply<scalar::Log>("log", x); }
Tensor log1p(const Tensor& x) { return apply<scalar::Log1p>("log1p", x); }
Tensor sqrt(const Tensor& x) { return apply<scalar::Sqrt>("sqrt", x); }
Tensor rsqrt(const Tensor& x) { return apply<scalar::Rsqrt>("rsqrt", x); }
Tensor sin(const Tensor& x) { return apply<scalar::Sin>("sin", x); }
Tensor cos(const Tensor& x) { return apply<scalar::Cos>("cos", x); }
Tensor tanh(const Tensor& x) { return apply<scalar::Tanh>("tanh", x); }
Tensor sigmoid(const Tensor& x) { return apply<scalar::Sigmoid>("sigmoid", x); }
Tensor silu(const Tensor& x) { return apply<scalar::Silu>("silu", x); }
Tensor gelu(const Tensor& x) { return apply<scalar::Gelu>("gelu", x); }
Tensor gelu_tanh(const Tensor& x) { return apply<scalar::GeluTanh>("gelu_tanh", x); }
Tensor relu(const Tensor& x) { return apply<scalar::Relu>("relu", x); }
Tensor softplus(const Tensor& x) { return apply<scalar::Softplus>("softplus", x); }
Tensor clamp(const Tensor& x, double low, double high) { return apply("clamp", x, clamp_between("clamp", low, high)); }

Tensor abs_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Abs, Reads::x>("abs_backward", x, y, dy);
}
Tensor exp_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Exp, Reads::y>("exp_backward", x, y, dy);
}
Tensor log_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Log, Reads::x>("log_backward", x, y, dy);
}
Tensor log1p_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Log1p, Reads::x>("log1p_backward", x, y, dy);
}
Tensor sqrt_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Sqrt, Reads::y>("sqrt_backward", x, y, dy);
}
Tensor rsqrt_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Rsqrt, Reads::y>("rsqrt_backward", x, y, dy);
}
Tensor sin_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Sin, Reads::x>("sin_backward", x, y, dy);
}
Tensor cos_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Cos, Reads::x>("cos_backward", x, y, dy);
}
Tensor tanh_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Tanh, Reads::y>("tanh_backward", x, y, dy);
}
Tensor sigmoid_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Sigmoid, Reads::y>("sigmoid_backward", x, y, dy);
}
Tensor silu_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Silu, Reads::x>("silu_backward", x, y, dy);
}
Tensor gelu_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Gelu, Reads::x>("gelu_backward", x, y, dy);
}
Tensor gelu_tanh_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::GeluTanh, Reads::x>("gelu_tanh_backward", x, y, dy);
}
Tensor relu_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Relu, Reads::x>("relu_backward", x, y, dy);
}
Tensor softplus_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  return apply_backward<scalar::Softplus, Reads::x>("softplus_backward", x, y, dy);
}
Tensor clamp_backward(const Tensor& x, double low, double high, const Tensor& dy) {
  const scalar::Clamp f = clamp_between("clamp_backward", low, high);
  return apply_backward<scalar::Clamp, Reads::x>("clamp_backward", x, Tensor(), dy, f);
}

}  // namespace phasor
