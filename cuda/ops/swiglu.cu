// The gated product silu(gate) * up in one pass, and both gradients in one pass.
#include "core/ops/swiglu.hpp"

#include "core/dispatch.hpp"
#include "core/scalar_math.hpp"
#include "cuda/elementwise.cuh"

namespace phasor::cuda {
namespace {

struct Value {
  template <class V>
  __device__ V operator()(V gate, V up) const {
    return scalar::Silu::value(gate) * up;
  }
};

struct Gradients {
  template <class V>
  __device__ std::pair<V, V> operator()(V gate, V up, V dy) const {
    const std::pair<V, V> silu = scalar::Silu::value_and_derivative(gate);
    return {dy * up * silu.second, dy * silu.first};
  }
};

}  // namespace

Tensor swiglu(const Tensor& gate, const Tensor& up) {
  const Tensor y = Tensor::empty_like(gate);
  with_any_float("swiglu", gate.dtype(), [&]<class T>() {
    map("swiglu", y.shape(), Value(), std::tuple(elements<T>(y)), std::tuple(elements<T>(gate), elements<T>(up)));
  });
  return y;
}

SwigluGradients swiglu_backward(const Tensor& gate, const Tensor& up, const Tensor& dy) {
  const Tensor dgate = Tensor::empty_like(gate), dup = Tensor::empty_like(up);
  with_any_float("swiglu_backward", gate.dtype(), [&]<class T>() {
    map("swiglu_backward", gate.shape(), Gradients(), std::tuple(elements<T>(dgate), elements<T>(dup)),
        std::tuple(elements<T>(gate), elements<T>(up), elements<T>(dy)));
  });
  return {dgate, dup};
}

}  // namespace phasor::cuda
