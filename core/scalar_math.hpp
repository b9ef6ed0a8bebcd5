// Value and derivative of each scalar function, written once: templates over a number or a SIMD vector.
//
// Each is a struct with value(x) and derivative(x, y), y = value(x); the kernels of core/ops/unary.cpp and of the fused
// ops loop over them. Where the derivative is a choice of 0 or 1, gradient(x, dy) chooses 0 or dy instead: a product
// would make a NaN of 0 and an infinite dy.
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

template <class V>
V square_root(V x) {
  if constexpr (is_number<V>)
    return std::sqrt(x);
  else
    return simd::hn::Sqrt(x);
}

template <class V>
V magnitude(V x) {
  if constexpr (is_number<V>)
    return std::abs(x);
  else
    return simd::hn::Abs(x);
}

// 1 / (1 + e^-x) through e^-|x|, which never overflows.
template <class V>
V logistic(V x) {
  if constexpr (is_number<V>) {
    const V e = std::exp(-std::abs(x));
    return (x >= 0 ? V(1) : e) / (V(1) + e);
  } else {
    namespace hn = simd::hn;
    const V e = simd::quick_exp(hn::Neg(hn::Abs(x))), one = constant<V>(1);
    return hn::IfThenElse(hn::Lt(x, constant<V>(0)), e, one) / (one + e);
  }
}

// x < y ? yes : no; a NaN is not less.
template <class V>
V if_less_else(V x, V y, V yes, V no) {
  if constexpr (is_number<V>)
    return x < y ? yes : no;
  else
    return simd::hn::IfThenElse(simd::hn::Lt(x, y), yes, no);
}

// x brought into [low, high]; NaN stays.
template <class V>
V bounded(V x, V low, V high) {
  return if_less_else(x, low, low, if_less_else(high, x, high, x));
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
// The derivative at 0 is 0.
struct Abs {
  template <class V>
  static V value(V x) {
    return magnitude(x);
  }
  template <class V>
  static V derivative(V x, V) {
    const V zero = constant<V>(0);
    return if_less_else(zero, x, constant<V>(1), if_less_else(x, zero, constant<V>(-1), zero));
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
struct Log1p {
  template <class V>
  static V value(V x) {
    return each(x, [](auto v) { return std::log1p(v); });
  }
  template <class V>
  static V derivative(V x, V) {
    return constant<V>(1) / (constant<V>(1) + x);
  }
};
struct Sqrt {
  template <class V>
  static V value(V x) {
    return square_root(x);
  }
  template <class V>
  static V derivative(V, V y) {
    return constant<V>(0.5) / y;
  }
};
// 1 / sqrt(x);  d = -y^3 / 2
struct Rsqrt {
  template <class V>
  static V value(V x) {
    return constant<V>(1) / square_root(x);
  }
  template <class V>
  static V derivative(V, V y) {
    return constant<V>(-0.5) * y * (y * y);
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
// (1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x. For vectors of f32, through d = e^-2|x| - 1 to full precision,
// where 1 - e^-2|x| would cancel for small x: -2|x| = q ln 2 + r with |r| <= ln 2 / 2, e^r = 1 + p, and d = 2^q p +
// (2^q - 1) with an exact bracket. Then |tanh x| = -d / (2 + d), to 2.5 ULP. Other vectors: lane by lane.
struct Tanh {
  template <class V>
  static V value(V x) {
    if constexpr (is_number<V>) {
      return std::tanh(x);
    } else if constexpr (sizeof(simd::hn::TFromV<V>) == 4) {
      namespace hn = simd::hn;
      const hn::DFromV<V> f;
      const hn::RebindToSigned<decltype(f)> integers;
      const auto c = [](float value) { return constant<V>(value); };
      // tanh 10 is 1 to the last bit. Min returns its second operand when that is NaN.
      const V y = c(-2) * hn::Min(c(10), magnitude(x));
      // Adding 1.5 * 2^23 leaves round(y / ln 2) in the low bits of the mantissa. ln 2 comes in two parts.
      const V magic = c(12582912), shifted = simd::multiply_add(y, c(1.44269504f), magic), q = shifted - magic;
      const V r = hn::MulAdd(q, c(1.90465421e-9f), hn::NegMulAdd(q, c(0.693147182f), y));
      V p = hn::MulAdd(c(0.0013814467f), r, c(0.008368781f));
      for (const float next : {0.041668393f, 0.1666652f, 0.49999994f}) p = hn::MulAdd(p, r, c(next));
      p = hn::MulAdd(p, r * r, r);
      const auto exponent = hn::BitCast(integers, shifted) - hn::BitCast(integers, magic);
      const V power = hn::BitCast(f, hn::ShiftLeft<23>(exponent + hn::Set(integers, 127)));
      const V d = hn::MulAdd(power, p, power - c(1));
      return hn::CopySign(d / (c(2) + d), x);
    } else {
      return each(x, [](auto v) { return std::tanh(v); });
    }
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

// x Phi(x), Phi the normal distribution function;  d = Phi + x phi with its density phi(x) = e^(-x^2/2) / sqrt(2 pi).
// For negative x, 1 + erf would cancel, and an error in the argument of erfc or exp grows by about x^2 in the result.
//   vectors of f32   Phi(-t) = e^(-t^2/2) N(t) for t >= 0, where N falls slowly from 1/2 like 1 / (t sqrt(2 pi)):
//                    N = w P(z), w = 1 / (1 + 0.27 t), z the w of t = 15 .. 0 mapped to -1 .. 1, and P fitted at the
//                    Chebyshev nodes for a relative error of 5e-8
//   otherwise        Phi(x) = erfc(-x / sqrt(2)) / 2, lane by lane, in double
struct Gelu {
  static constexpr double density_at_0 = 0.39894228040143267794;
  template <class V>
  static constexpr bool is_fitted() {
    if constexpr (is_number<V>)
      return false;
    else
      return sizeof(simd::hn::TFromV<V>) == 4;
  }
  template <class V>
  struct Parts {
    V distribution, gauss;  // Phi(x) and e^(-x^2/2)
  };
  template <class V>
  static Parts<V> fitted(V x) {
    const auto c = [](float value) { return constant<V>(value); };
    const V zero = c(0), one = c(1), a = magnitude(x), t = if_less_else(c(15), a, c(15), a);  // e^(-15^2/2) is 0
    // t^2 in two parts: what its rounding leaves would matter as soon as it is multiplied by e^(-t^2/2).
    const V square = t * t, left = simd::multiply_add(t, t, zero - square);
    const V rounded = exponential(c(-0.5f) * square), gauss = simd::multiply_add(rounded, c(-0.5f) * left, rounded);
    const V w = one / simd::multiply_add(c(0.27f), t, one), z = simd::multiply_add(c(2.49382716f), w, c(-1.49382716f));
    V p = c(1.95773311e-05f);
    for (const float next : {2.03911727e-05f, -0.000289822055f, -0.000658007918f, 0.00320248411f, 0.0236648013f,
                             0.0764038072f, 0.160112112f, 0.237524669f})
      p = simd::multiply_add(p, z, c(next));
    const V below = gauss * (w * p);  // Phi(-t)
    return {if_less_else(zero, x, one - below, below), gauss};
  }
  static double distribution(double x) { return std::erfc(x * -0.70710678118654752440) / 2; }

  // The bound of value changes no result but for -infinity, which gives 0 instead of NaN; that of derivative, infinity.
  template <class V>
  static V value(V x) {
    if constexpr (is_fitted<V>()) {
      const V least = constant<V>(-40);
      return if_less_else(x, least, least, x) * fitted(x).distribution;
    } else {
      return each(x, [](auto v) {
        const double t = v < -40 ? -40 : v;
        return static_cast<decltype(v)>(t * distribution(t));
      });
    }
  }
  template <class V>
  static V derivative(V x, V) {
    if constexpr (is_fitted<V>()) {
      const auto [distribution, gauss] = fitted(x);
      const V t = bounded(x, constant<V>(-40), constant<V>(40));
      return simd::multiply_add(t * gauss, constant<V>(density_at_0), distribution);
    } else {
      return each(x, [](auto v) {
        const double t = bounded<double>(v, -40, 40);
        return static_cast<decltype(v)>(distribution(t) + t * std::exp(t * t / -2) * density_at_0);
      });
    }
  }
};

// x / 2 (1 + tanh u) with u = sqrt(2 / pi) (x + 0.044715 x^3). As (1 + tanh u) / 2 = sigmoid(2 u) = s, this is x s:
// no cancellation for negative x.   d = s + x s (1 - s) 2 u'
struct GeluTanh {
  static constexpr double linear = 1.59576912160573071176, cubic = linear * 0.044715;  // 2 u = linear x + cubic x^3
  // s and 1 - s, both to full precision, at t; x from -30 to 30 comes back as t. Beyond, s is 0 or 1 to the last bit
  // already, and the powers of x overflow in the end.
  template <class V>
  struct Parts {
    V t, s, rest;
  };
  template <class V>
  static Parts<V> parts(V x) {
    const V zero = constant<V>(0), one = constant<V>(1), t = bounded(x, constant<V>(-30), constant<V>(30));
    const V argument = t * (constant<V>(linear) + constant<V>(cubic) * (t * t)),
            e = exponential(zero - magnitude(argument));
    const V larger = one / (one + e), smaller = e * larger;
    return {t, if_less_else(x, zero, smaller, larger), if_less_else(x, zero, larger, smaller)};
  }
  // Bounded from below alone: -infinity gives 0, not NaN.
  template <class V>
  static V product(V x, V s) {
    const V least = constant<V>(-30);
    return if_less_else(x, least, least, x) * s;
  }
  template <class V>
  static std::pair<V, V> value_and_derivative(V x) {
    const auto [t, s, rest] = parts(x);
    const V slope = constant<V>(linear) + constant<V>(3 * cubic) * (t * t);
    return {product(x, s), s + t * (s * rest) * slope};
  }
  template <class V>
  static V value(V x) {
    return product(x, parts(x).s);
  }
  template <class V>
  static V derivative(V x, V) {
    return value_and_derivative(x).second;
  }
};

struct Relu {
  template <class V>
  static V value(V x) {
    const V zero = constant<V>(0);
    return if_less_else(x, zero, zero, x);
  }
  template <class V>
  static V gradient(V x, V dy) {
    if constexpr (is_number<V>)
      return x <= 0 ? 0 : dy;
    else
      return simd::hn::IfThenZeroElse(simd::hn::Le(x, constant<V>(0)), dy);
  }
};

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|): nothing overflows, and for negative x it is log1p(e^x), nearly e^x.
// d = sigmoid(x)
struct Softplus {
  template <class V>
  static V value(V x) {
    const V e = exponential(constant<V>(0) - magnitude(x));
    return Relu::value(x) + Log1p::value(e);
  }
  template <class V>
  static V derivative(V x, V) {
    return logistic(x);
  }
};

// The derivative is 1 at the bounds too.
struct Clamp {
  double low, high;
  template <class V>
  V value(V x) const {
    return bounded(x, constant<V>(low), constant<V>(high));
  }
  template <class V>
  V gradient(V x, V dy) const {
    const V from = constant<V>(low), to = constant<V>(high);
    if constexpr (is_number<V>)
      return from <= x && x <= to ? dy : 0;
    else
      return simd::hn::IfThenElseZero(simd::hn::And(simd::hn::Ge(x, from), simd::hn::Le(x, to)), dy);
  }
};

}  // namespace phasor::scalar
