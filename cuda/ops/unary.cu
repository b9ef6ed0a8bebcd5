// Element-wise functions of one tensor and their gradients, over the formulas of core/scalar_math.hpp.
#include "core/ops/unary.hpp"

#include "core/dispatch.hpp"
#include "core/scalar_math.hpp"
#include "cuda/elementwise.cuh"

namespace phasor::cuda {
namespace {

template <class F>
struct Value {
  F f;
  template <class V>
  __device__ V operator()(V x) const {
    return f.value(x);
  }
};

template <class F>
struct Gradient {
  F f;
  template <class V>
  __device__ V operator()(V read, V dy) const {
    return scalar::gradient_of(f, read, dy);
  }
};

}  // namespace

template <class F>
Tensor unary(const char* op, const Tensor& x, F f) {
  const Tensor y = Tensor::empty_like(x);
  with_any_float(op, x.dtype(), [&]<class T>() {
    map(op, y.shape(), Value<F>{f}, std::tuple(elements<T>(y)), std::tuple(elements<T>(x)));
  });
  return y;
}

template <class F>
Tensor unary_backward(const char* op, const Tensor& read, const Tensor& dy, F f) {
  const Tensor dx = Tensor::empty_like(read);
  with_any_float(op, dy.dtype(), [&]<class T>() {
    map(op, dx.shape(), Gradient<F>{f}, std::tuple(elements<T>(dx)), std::tuple(elements<T>(read), elements<T>(dy)));
  });
  return dx;
}

template Tensor unary(const char*, const Tensor&, scalar::Neg);
#define PHASOR_INSTANTIATE(F)                           \
  template Tensor unary(const char*, const Tensor&, F); \
  template Tensor unary_backward(const char*, const Tensor&, const Tensor&, F)
PHASOR_INSTANTIATE(scalar::Abs);
PHASOR_INSTANTIATE(scalar::Exp);
PHASOR_INSTANTIATE(scalar::Log);
PHASOR_INSTANTIATE(scalar::Log1p);
PHASOR_INSTANTIATE(scalar::Sqrt);
PHASOR_INSTANTIATE(scalar::Rsqrt);
PHASOR_INSTANTIATE(scalar::Sin);
PHASOR_INSTANTIATE(scalar::Cos);
PHASOR_INSTANTIATE(scalar::Tanh);
PHASOR_INSTANTIATE(scalar::Sigmoid);
PHASOR_INSTANTIATE(scalar::Silu);
PHASOR_INSTANTIATE(scalar::Gelu);
PHASOR_INSTANTIATE(scalar::GeluTanh);
PHASOR_INSTANTIATE(scalar::Relu);
PHASOR_INSTANTIATE(scalar::Softplus);
PHASOR_INSTANTIATE(scalar::Clamp);
#undef PHASOR_INSTANTIATE

}  // namespace phasor::cuda
