// Formulas of two operands, over the vocabulary of core/scalar_math.hpp: for numbers, integers too, and SIMD vectors,
// on host and GPU.
#pragma once

#include "core/scalar_math.hpp"

namespace phasor::scalar {

// Integers go through the unsigned type, where an overflow wraps instead of being undefined.
template <class T>
using Wrapping = std::make_unsigned_t<T>;

struct Add {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V a, V b) {
    if constexpr (std::is_integral_v<V>)
      return static_cast<V>(Wrapping<V>(a) + Wrapping<V>(b));
    else
      return a + b;
  }
};
struct Sub {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V a, V b) {
    if constexpr (std::is_integral_v<V>)
      return static_cast<V>(Wrapping<V>(a) - Wrapping<V>(b));
    else
      return a - b;
  }
};
struct Mul {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V a, V b) {
    if constexpr (std::is_integral_v<V>)
      return static_cast<V>(Wrapping<V>(a) * Wrapping<V>(b));
    else
      return a * b;
  }
};
struct Div {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V a, V b) {
    if constexpr (std::is_integral_v<V>) {
      if (b == -1) return static_cast<V>(Wrapping<V>(0) - Wrapping<V>(a));  // the smallest integer / -1 would trap
    }
    return a / b;
  }
};

// The smaller (larger) side; a NaN wins, b's before a's. Its gradient goes to the side that was chosen, half of it to
// each where they are equal, and all of it to both sides of a NaN.
template <bool takes_smaller>
struct Extreme {
  // `yes` where y must give way to x.
  template <class V>
  PHASOR_HOST_DEVICE static V if_preferred_else(V x, V y, V yes, V no) {
    return takes_smaller ? if_less_else(x, y, yes, no) : if_less_else(y, x, yes, no);
  }
  template <class V>
  PHASOR_HOST_DEVICE static V value(V a, V b) {
    return if_preferred_else(b, a, b, if_equal_else(b, b, a, b));  // only a NaN is not equal to itself
  }
  template <class V>
  PHASOR_HOST_DEVICE static std::pair<V, V> gradients(V a, V b, V dy) {
    const V half = dy * constant<V>(0.5), zero = constant<V>(0);
    return {if_equal_else(a, b, half, if_preferred_else(b, a, zero, dy)),
            if_equal_else(a, b, half, if_preferred_else(a, b, zero, dy))};
  }
};
using Minimum = Extreme<true>;
using Maximum = Extreme<false>;

struct Pow {
  template <class V>
  PHASOR_HOST_DEVICE static V value(V a, V b) {
    return power(a, b);
  }
  // dy b a^(b-1), 0 where b is 0
  template <class V>
  PHASOR_HOST_DEVICE static V base_gradient(V a, V b, V dy) {
    const V zero = constant<V>(0), slope = b * power(a, b - constant<V>(1));
    return if_equal_else(b, zero, zero, dy * slope);
  }
  // dy y log(a) with y = a^b; 0 where a is 0 and b >= 0
  template <class V>
  PHASOR_HOST_DEVICE static V exponent_gradient(V a, V b, V y, V dy) {
    const V zero = constant<V>(0), slope = y * Log::value(a);
    return dy * if_equal_else(a, zero, if_less_equal_else(zero, b, zero, slope), slope);
  }
};

}  // namespace phasor::scalar
