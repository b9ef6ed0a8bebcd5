// The gated product silu(gate) * up in one pass, and both gradients in one pass.
#include "core/ops/swiglu.hpp"

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/elementwise.hpp"
#include "core/simd_math.hpp"

namespace phasor {
namespace reference {

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  const Tensor g = gate.to(Dtype::f64).contiguous(), u = up.to(Dtype::f64).contiguous();
  const Tensor y = Tensor::empty(gate.shape(), Dtype::f64);
  for (int64_t i = 0; i < gate.size(); ++i) {
    const double x = g.data<double>()[i];
    y.data<double>()[i] = x / (1 + std::exp(-x)) * u.data<double>()[i];
  }
  return y.to(gate.dtype());
}

}  // namespace reference

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  require_float("swiglu", "gate", gate);
  require_same_shape("swiglu", "gate", gate, "up", up);
  require_same_dtype("swiglu", "gate", gate, "up", up);
  if constexpr (kHasCuda)
    if (gate.is_on(Device::cuda)) return cuda::swiglu(gate, up);
  return with_float("swiglu", gate.dtype(), [&]<class T>() {
    const Tensor y = Tensor::empty_like(gate);
    for_each_run<T, 1, 2>(grain_for(8), {y}, {gate, up}, [](int64_t n, const auto& to, const auto& from) {
      simd::map(
          n, to[0], [](auto g, auto u) { return scalar::Silu::value(g) * u; }, from[0], from[1]);
    });
    return y;
  });
}

SwigluGradients swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& dy) {
  require_float("swiglu_backward", "gate", gate);
  require_same_shape("swiglu_backward", "gate", gate, "up", up);
  require_same_shape("swiglu_backward", "gate", gate, "dy", dy);
  require_same_dtype("swiglu_backward", "gate", gate, "up", up);
  require_same_dtype("swiglu_backward", "gate", gate, "dy", dy);
  if constexpr (kHasCuda)
    if (gate.is_on(Device::cuda)) return cuda::swiglu_backward(gate, up, dy);
  return with_float("swiglu_backward", gate.dtype(), [&]<class T>() -> SwigluGradients {
    const Tensor dgate = Tensor::empty_like(gate), dup = Tensor::empty_like(up);
    const auto gradients = [](auto g, auto u, auto d) {
      const auto [silu, slope] = scalar::Silu::value_and_derivative(g);
      return std::pair(d * u * slope, d * silu);
    };
    for_each_run<T, 2, 3>(grain_for(8), {dgate, dup}, {gate, up, dy}, [&](int64_t n, const auto& to, const auto& from) {
      simd::map_pair(n, to[0], to[1], gradients, from[0], from[1], from[2]);
    });
    return {dgate, dup};
  });
}

}  // namespace phasor
