// Element-wise ops of two tensors and their gradients, over the formulas of core/binary_math.hpp.
#include "core/ops/binary.hpp"

#include "core/binary_math.hpp"
#include "core/dispatch.hpp"
#include "cuda/elementwise.cuh"

namespace phasor::cuda {
namespace {

template <class F>
struct Value {
  template <class V>
  __device__ V operator()(V a, V b) const {
    return F::value(a, b);
  }
};

template <class F>
struct Gradients {
  template <class V>
  __device__ std::pair<V, V> operator()(V a, V b, V dy) const {
    return F::gradients(a, b, dy);
  }
};

struct PowBaseGradient {
  template <class V>
  __device__ V operator()(V a, V b, V dy) const {
    return scalar::Pow::base_gradient(a, b, dy);
  }
};

struct PowExponentGradient {
  template <class V>
  __device__ V operator()(V a, V b, V y, V dy) const {
    return scalar::Pow::exponent_gradient(a, b, y, dy);
  }
};

}  // namespace

template <class F>
void binary(const char* op, const Tensor& y, const Tensor& a, const Tensor& b) {
  const auto run = [&]<class T>() {
    map(op, y.shape(), Value<F>(), std::tuple(elements<T>(y)), std::tuple(elements<T>(a), elements<T>(b)));
  };
  if constexpr (std::is_same_v<F, scalar::Pow>)
    with_any_float(op, y.dtype(), run);
  else
    with_any_number(op, y.dtype(), run);
}

template <class F>
BinaryGradients extreme_backward(const char* op, const Tensor& a, const Tensor& b, const Tensor& dy) {
  const Tensor da = Tensor::empty_like(dy), db = Tensor::empty_like(dy);
  with_any_float(op, dy.dtype(), [&]<class T>() {
    map(op, dy.shape(), Gradients<F>(), std::tuple(elements<T>(da), elements<T>(db)),
        std::tuple(elements<T>(a), elements<T>(b), elements<T>(dy)));
  });
  return {da, db};
}

Tensor pow_base_backward(const Tensor& a, const Tensor& b, const Tensor& dy) {
  const Tensor da = Tensor::empty_like(dy);
  with_any_float("pow_base_backward", dy.dtype(), [&]<class T>() {
    map("pow_base_backward", dy.shape(), PowBaseGradient(), std::tuple(elements<T>(da)),
        std::tuple(elements<T>(a), elements<T>(b), elements<T>(dy)));
  });
  return da;
}

Tensor pow_exponent_backward(const Tensor& a, const Tensor& b, const Tensor& y, const Tensor& dy) {
  const Tensor db = Tensor::empty_like(dy);
  with_any_float("pow_exponent_backward", dy.dtype(), [&]<class T>() {
    map("pow_exponent_backward", dy.shape(), PowExponentGradient(), std::tuple(elements<T>(db)),
        std::tuple(elements<T>(a), elements<T>(b), elements<T>(y), elements<T>(dy)));
  });
  return db;
}

template void binary<scalar::Add>(const char*, const Tensor&, const Tensor&, const Tensor&);
template void binary<scalar::Sub>(const char*, const Tensor&, const Tensor&, const Tensor&);
template void binary<scalar::Mul>(const char*, const Tensor&, const Tensor&, const Tensor&);
template void binary<scalar::Div>(const char*, const Tensor&, const Tensor&, const Tensor&);
template void binary<scalar::Minimum>(const char*, const Tensor&, const Tensor&, const Tensor&);
template void binary<scalar::Maximum>(const char*, const Tensor&, const Tensor&, const Tensor&);
template void binary<scalar::Pow>(const char*, const Tensor&, const Tensor&, const Tensor&);
template BinaryGradients extreme_backward<scalar::Minimum>(const char*, const Tensor&, const Tensor&, const Tensor&);
template BinaryGradients extreme_backward<scalar::Maximum>(const char*, const Tensor&, const Tensor&, const Tensor&);

}  // namespace phasor::cuda
