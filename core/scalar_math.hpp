// Value and derivative of each scalar function, written once: templates over a number or a SIMD vector, on host and
// GPU.
//
// Each is a struct with value(x) and derivative(x, y), y = value(x); the kernels of core/ops/unary.cpp, of cuda/ops and
// of the fused ops loop over them. Where the derivative is a choice of 0 or 1, gradient(x, dy) chooses 0 or dy instead:
// a product would make a NaN of 0 and an infinite dy.
//
// They are written over a small vocabulary: constant, exponential, if_less_else, ... Here is what it means for a
// number; core/simd_math.hpp says it for vectors, and includes this file.
#pragma once

#include <cmath>
#include <type_traits>
#include <utility>

#include "core/host_device.hpp"

namespace phasor::scalar {

// a / b for b from 1 to 2. A GPU divides by such a number in a fraction of the time, to 2 ULP.
template <class V>
PHASOR_HOST_DEVICE V divided_near_1(V a, V b) {
#ifdef __CUDA_ARCH__
  if constexpr (std::is_same_v<V, float>) return __fdividef(a, b);
#endif
  return a / b;
}

// The vocabulary of numbers. That of vectors is a specialisation, since the formulas below find it only when they are
// instantiated.
template <class V>
struct Functions {
  using Element = V;

  template <class T>
  PHASOR_HOST_DEVICE static V constant(T value) {
    return static_cast<V>(value);
  }
  template <class F>
  PHASOR_HOST_DEVICE static V each(V x, F f) {
    return f(x);
  }
  PHASOR_HOST_DEVICE static V exponential(V x) { return std::exp(x); }
  PHASOR_HOST_DEVICE static V square_root(V x) { return std::sqrt(x); }
  PHASOR_HOST_DEVICE static V magnitude(V x) { return std::abs(x); }
  PHASOR_HOST_DEVICE static V multiply_add(V a, V b, V c) { return std::fma(a, b, c); }
  PHASOR_HOST_DEVICE static V logistic(V x) {
    const V e = std::exp(-std::abs(x));
    return divided_near_1(x >= 0 ? V(1) : e, V(1) + e);
  }
  PHASOR_HOST_DEVICE static V hyperbolic_tangent(V x) { return std::tanh(x); }
  PHASOR_HOST_DEVICE static V power(V a, V b) {
    if (b == 0) return 1;
    if (b == 1) return a;
    if (b == 2) return a * a;
    return std::pow(a, b);
  }
  PHASOR_HOST_DEVICE static V if_less_else(V x, V y, V yes, V no) { return x < y ? yes : no; }
  PHASOR_HOST_DEVICE static V if_less_equal_else(V x, V y, V yes, V no) { return x <= y ? yes : no; }
  PHASOR_HOST_DEVICE static V if_equal_else(V x, V y, V yes, V no) { return x == y ? yes : no; }
};

template <class V, class T>
PHASOR_HOST_DEVICE V constant(T value) {
  return Functions<V>::constant(value);
}
// Applies a function of the C library lane by lane: for functions that no fused kernel needs.
template <class V, class F>
PHASOR_HOST_DEVICE V each(V x, F f) {
  return Functions<V>::each(x, f);
}
template <class V>
PHASOR_HOST_DEVICE V exponential(V x) {
  return Functions<V>::exponential(x);
}
template <class V>
PHASOR_HOST_DEVICE V square_root(V x) {
  return Functions<V>::square_root(x);
}
template <class V>
PHASOR_HOST_DEVICE V magnitude(V x) {
  return Functions<V>::magnitude(x);
}
// a b + c, rounded once.
template <class V>
PHASOR_HOST_DEVICE V multiply_add(V a, V b, V c) {
  return Functions<V>::multiply_add(a, b, c);
}
// 1 / (1 + e^-x) through e^-|x|, which never overflows.
template <class V>
PHASOR_HOST_DEVICE V logistic(V x) {
  return Functions<V>::logistic(x);
}
// a^b. Exponents 0, 1 and 2, which a square and its derivative need, are arithmetic; all others go through the C
// library.
template <class V>
PHASOR_HOST_DEVICE V power(V a, V b) {
  return Functions<V>::power(a, b);
}
// x < y ? yes : no, and so on; a NaN is neither less nor equal.
template <class V>
PHASOR_HOST_DEVICE V if_less_else(V x, V y, V yes, V no) {
  return Functions<V>::if_less_else(x, y, yes, no);
}
template <class V>
PHASOR_HOST_DEVICE V if_less_equal_else(V x, V y, V yes, V no) {
  return Functions<V>::if_less_equal_else(x, y, yes, no);
}
template <class V>
PHASOR_HOST_DEVICE V if_equal_else(V x, V y, V yes, V no) {
  return Functions<V>::if_equal_else(x, y, yes, no);
}

// x brought into [low, high]; NaN stays.
template <class V>
PHASOR_HOST_DEVICE V bounded(V x, V low, V high) {
  return if_less_else(x, low, low, if_less_else(high, x, high, x));
}

// The polynomial with these coefficients, the highest power's first.
template <class V, class Highest, class... T>
PHASOR_HOST_DEVICE V polynomial(V x, Highest highest, T... lower) {
  V p = constant<V>(highest);
  ((p = multiply_add(p, x, constant<V>(lower))), ...);
  return p;
}

// dy f'(x), where f's derivative reads `read`, which is x or y.
template <class F, class V>
PHASOR_HOST_DEVICE V gradient_of(const F& f, V read, V dy) {
  if constexpr (requires { f.gradient(read, dy); })
    return f.gradient(read, dy);
  else
    return dy * f.derivative(read, read);
}

struct Neg {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return constant<V>(0) - x;
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V, V) {
    return constant<V>(-1);
  }
};
// The derivative at 0 is 0.
struct Abs {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return magnitude(x);
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V x, V) {
    const V zero = constant<V>(0);
    return if_less_else(zero, x, constant<V>(1), if_less_else(x, zero, constant<V>(-1), zero));
  }
};
struct Exp {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return exponential(x);
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V, V y) {
    return y;
  }
};
struct Log {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return each(x, [](auto v) { return std::log(v); });
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V x, V) {
    return constant<V>(1) / x;
  }
};
struct Log1p {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return each(x, [](auto v) { return std::log1p(v); });
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V x, V) {
    return constant<V>(1) / (constant<V>(1) + x);
  }
};
struct Sqrt {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return square_root(x);
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V, V y) {
    return constant<V>(0.5) / y;
  }
};
// 1 / sqrt(x);  d = -y^3 / 2
struct Rsqrt {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return constant<V>(1) / square_root(x);
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V, V y) {
    return constant<V>(-0.5) * y * (y * y);
  }
};
struct Sin {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return each(x, [](auto v) { return std::sin(v); });
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V x, V) {
    return each(x, [](auto v) { return std::cos(v); });
  }
};
struct Cos {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return each(x, [](auto v) { return std::cos(v); });
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V x, V) {
    return each(x, [](auto v) { return -std::sin(v); });
  }
};
struct Tanh {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return Functions<V>::hyperbolic_tangent(x);
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V, V y) {
    return constant<V>(1) - y * y;
  }
};
struct Sigmoid {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return logistic(x);
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V, V y) {
    return y * (constant<V>(1) - y);
  }
};
// x sigmoid(x);  d = s + x s (1 - s)
struct Silu {
  template <class V>
  PHASOR_HOST_DEVICE static std::pair<V, V> value_and_derivative(V x) {
    const V s = logistic(x), y = x * s;
    return {y, s + y * (constant<V>(1) - s)};
  }
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return x * logistic(x);
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V x, V) {
    return value_and_derivative(x).second;
  }
};

// x Phi(x), Phi the normal distribution function;  d = Phi + x phi with its density phi(x) = e^(-x^2/2) / sqrt(2 pi).
// For negative x, 1 + erf would cancel, and an error in the argument of erfc or exp grows by about x^2 in the result.
//   f32   Phi(-t) = e^(-t^2/2) N(t) for t >= 0, where N falls slowly from 1/2 like 1 / (t sqrt(2 pi)): N = w P(z),
//         w = 1 / (1 + 0.27 t), z the w of t = 15 .. 0 mapped to -1 .. 1, and P fitted at the Chebyshev nodes for a
//         relative error of 5e-8
//   f64   Phi(x) = erfc(-x / sqrt(2)) / 2, number by number
struct Gelu {
  static constexpr double density_at_0 = 0.39894228040143267794;
  template <class V>
  static constexpr bool is_fitted = sizeof(typename Functions<V>::Element) == 4;
  template <class V>
  struct Parts {
    V distribution, gauss;  // Phi(x) and e^(-x^2/2)
  };
  template <class V>
  PHASOR_HOST_DEVICE static Parts<V> fitted(V x) {
    const auto c = [](float value) { return constant<V>(value); };
    const V zero = c(0), one = c(1), a = magnitude(x), t = if_less_else(c(15), a, c(15), a);  // e^(-15^2/2) is 0
    // t^2 in two parts: what its rounding leaves would matter as soon as it is multiplied by e^(-t^2/2).
    const V square = t * t, left = multiply_add(t, t, zero - square);
    const V rounded = exponential(c(-0.5f) * square), gauss = multiply_add(rounded, c(-0.5f) * left, rounded);
    const V w = one / multiply_add(c(0.27f), t, one), z = multiply_add(c(2.49382716f), w, c(-1.49382716f));
    const V p = polynomial(z, 1.95773311e-05f, 2.03911727e-05f, -0.000289822055f, -0.000658007918f, 0.00320248411f,
                           0.0236648013f, 0.0764038072f, 0.160112112f, 0.237524669f);
    const V below = gauss * (w * p);  // Phi(-t)
    return {if_less_else(zero, x, one - below, below), gauss};
  }
  PHASOR_HOST_DEVICE static double distribution(double x) { return std::erfc(x * -0.70710678118654752440) / 2; }

  // The bound of value changes no result but for -infinity, which gives 0 instead of NaN; that of derivative, infinity.
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    if constexpr (is_fitted<V>) {
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
  PHASOR_HOST_DEVICE static V derivative(V x, V) {
    if constexpr (is_fitted<V>) {
      const auto [distribution, gauss] = fitted(x);
      const V t = bounded(x, constant<V>(-40), constant<V>(40));
      return multiply_add(t * gauss, constant<V>(density_at_0), distribution);
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
  PHASOR_HOST_DEVICE static Parts<V> parts(V x) {
    const V zero = constant<V>(0), one = constant<V>(1), t = bounded(x, constant<V>(-30), constant<V>(30));
    const V argument = t * (constant<V>(linear) + constant<V>(cubic) * (t * t)),
            e = exponential(zero - magnitude(argument));
    const V larger = one / (one + e), smaller = e * larger;
    return {t, if_less_else(x, zero, smaller, larger), if_less_else(x, zero, larger, smaller)};
  }
  // Bounded from below alone: -infinity gives 0, not NaN.
  template <class V>
  PHASOR_HOST_DEVICE static V product(V x, V s) {
    const V least = constant<V>(-30);
    return if_less_else(x, least, least, x) * s;
  }
  template <class V>
  PHASOR_HOST_DEVICE static std::pair<V, V> value_and_derivative(V x) {
    const auto [t, s, rest] = parts(x);
    const V slope = constant<V>(linear) + constant<V>(3 * cubic) * (t * t);
    return {product(x, s), s + t * (s * rest) * slope};
  }
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    return product(x, parts(x).s);
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V x, V) {
    return value_and_derivative(x).second;
  }
};

struct Relu {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    const V zero = constant<V>(0);
    return if_less_else(x, zero, zero, x);
  }
  template <class V>
  PHASOR_HOST_DEVICE static V gradient(V x, V dy) {
    const V zero = constant<V>(0);
    return if_less_equal_else(x, zero, zero, dy);
  }
};

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|): nothing overflows, and for negative x it is log1p(e^x), nearly e^x.
// d = sigmoid(x)
struct Softplus {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V x) {
    const V e = exponential(constant<V>(0) - magnitude(x));
    return Relu::value(x) + Log1p::value(e);
  }
  template <class V>
  PHASOR_HOST_DEVICE static V derivative(V x, V) {
    return logistic(x);
  }
};

// The derivative is 1 at the bounds too.
struct Clamp {
  double low, high;
  template <class V>
  PHASOR_HOST_DEVICE V value(V x) const {
    return bounded(x, constant<V>(low), constant<V>(high));
  }
  template <class V>
  PHASOR_HOST_DEVICE V gradient(V x, V dy) const {
    const V zero = constant<V>(0);
    return if_less_equal_else(constant<V>(low), x, if_less_equal_else(x, constant<V>(high), dy, zero), zero);
  }
};

}  // namespace phasor::scalar
