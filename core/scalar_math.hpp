// Value and derivative of each scalar function, written once: templates over a number or a SIMD vector.
//
// Each is a struct with value(x) and derivative(x, y), y = value(x); the kernels of core/ops/unary.cpp and of the fused
// ops loop over them.
#pragma once

#include <cmath>
#include <utility>

#include "core/simd.hpp"

namespace phasor::scalar {

template <class V>
constexpr bool is_number = std::is_arithmetic_v<V>;

template <class V, class T>
V constant(T value) {
  if constexpr (is_number<V>)
    return static_cast<V>(value);
  else
    return simd::hn::Set(simd::hn::DFromV<V>(), static_cast<simd::hn::TFromV<V>>(value));
}

// Applies a function of the C library lane by lane: for functions that no fused kernel needs.
template <class V, class F>
V each(V x, F f) {
  if constexpr (is_number<V>) {
    return f(x);
  } else {
    using T = simd::hn::TFromV<V>;
    alignas(64) T values[simd::hn::MaxLanes(simd::hn::DFromV<V>())];
    simd::hn::Store(x, simd::hn::DFromV<V>(), values);
    for (T& value : values) value = f(value);
    return simd::hn::Load(simd::hn::DFromV<V>(), values);
  }
}

template <class V>
V exponential(V x) {
  if constexpr (is_number<V>)
    return std::exp(x);
  else
    return simd::exp(x);
}

// 1 / (1 + e^-x) through e^-|x|, which never overflows.
template <class V>
V logistic(V x) {
  if constexpr (is_number<V>) {
    const V e = std::exp(-std::abs(x));
    return (x >= 0 ? V(1) : e) / (V(1) + e);
  } else {
    namespace hn = simd::hn;
    const V e = simd::exp(hn::Neg(hn::Abs(x))), one = constant<V>(1);
    return hn::IfThenElse(hn::Lt(x, constant<V>(0)), e, one) / (one + e);
  }
}

struct Neg {
  template <class V>
  static V value(V x) {
    return constant<V>(0) - x;
  }
  template <class V>
  static V derivative(V, V) {
    return constant<V>(-1);
  }
};
struct Exp {
  template <class V>
  static V value(V x) {
    return exponential(x);
  }
  template <class V>
  static V derivative(V, V y) {
    return y;
  }
};
struct Log {
  template <class V>
  static V value(V x) {
    return each(x, [](auto v) { return std::log(v); });
  }
  template <class V>
  static V derivative(V x, V) {
    return constant<V>(1) / x;
  }
};
struct Sqrt {
  template <class V>
  static V value(V x) {
    return each(x, [](auto v) { return std::sqrt(v); });
  }
  template <class V>
  static V derivative(V, V y) {
    return constant<V>(0.5) / y;
  }
};
struct Sin {
  template <class V>
  static V value(V x) {
    return each(x, [](auto v) { return std::sin(v); });
  }
  template <class V>
  static V derivative(V x, V) {
    return each(x, [](auto v) { return std::cos(v); });
  }
};
struct Cos {
  template <class V>
  static V value(V x) {
    return each(x, [](auto v) { return std::cos(v); });
  }
  template <class V>
  static V derivative(V x, V) {
    return each(x, [](auto v) { return -std::sin(v); });
  }
};
struct Tanh {
  template <class V>
  static V value(V x) {
    return each(x, [](auto v) { return std::tanh(v); });
  }
  template <class V>
  static V derivative(V, V y) {
    return constant<V>(1) - y * y;
  }
};
struct Sigmoid {
  template <class V>
  static V value(V x) {
    return logistic(x);
  }
  template <class V>
  static V derivative(V, V y) {
    return y * (constant<V>(1) - y);
  }
};
// x sigmoid(x);  d = s + x s (1 - s)
struct Silu {
  template <class V>
  static std::pair<V, V> value_and_derivative(V x) {
    const V s = logistic(x), y = x * s;
    return {y, s + y * (constant<V>(1) - s)};
  }
  template <class V>
  static V value(V x) {
    return x * logistic(x);
  }
  template <class V>
  static V derivative(V x, V) {
    return value_and_derivative(x).second;
  }
};

}  // namespace phasor::scalar
