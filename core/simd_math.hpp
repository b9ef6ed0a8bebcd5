// The vocabulary of core/scalar_math.hpp for SIMD vectors: what the CPU's kernels include. Kernels of the GPU include
// core/scalar_math.hpp alone, and see no vectors.
#pragma once

#include "core/scalar_math.hpp"
#include "core/simd.hpp"

namespace phasor::scalar {

template <class V>
requires(!std::is_arithmetic_v<V>) struct Functions<V> {
  using Element = simd::hn::TFromV<V>;
  using D = simd::hn::DFromV<V>;

  template <class T>
  static V constant(T value) {
    return simd::hn::Set(D(), static_cast<Element>(value));
  }
  template <class F>
  static V each(V x, F f) {
    alignas(64) Element values[simd::hn::MaxLanes(D())];
    simd::hn::Store(x, D(), values);
    for (Element& value : values) value = f(value);
    return simd::hn::Load(D(), values);
  }
  static V exponential(V x) { return simd::exp(x); }
  static V square_root(V x) { return simd::hn::Sqrt(x); }
  static V magnitude(V x) { return simd::hn::Abs(x); }
  static V multiply_add(V a, V b, V c) { return simd::multiply_add(a, b, c); }
  static V logistic(V x) {
    namespace hn = simd::hn;
    const V e = simd::quick_exp(hn::Neg(hn::Abs(x))), one = constant(1);
    return hn::IfThenElse(hn::Lt(x, constant(0)), e, one) / (one + e);
  }

  // (1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x. For f32, through d = e^-2|x| - 1 to full precision, where
  // 1 - e^-2|x| would cancel for small x: -2|x| = q ln 2 + r with |r| <= ln 2 / 2, e^r = 1 + p, and d = 2^q p + (2^q -
  // 1) with an exact bracket. Then |tanh x| = -d / (2 + d), to 2.5 ULP. For f64, lane by lane.
  static V hyperbolic_tangent(V x) {
    if constexpr (sizeof(Element) == 4) {
      namespace hn = simd::hn;
      const D f;
      const hn::RebindToSigned<D> integers;
      const auto c = [](float value) { return constant(value); };
      // tanh 10 is 1 to the last bit. Min returns its second operand when that is NaN.
      const V y = c(-2) * hn::Min(c(10), hn::Abs(x));
      // Adding 1.5 * 2^23 leaves round(y / ln 2) in the low bits of the mantissa. ln 2 comes in two parts.
      const V magic = c(12582912), shifted = hn::MulAdd(y, c(1.44269504f), magic), q = shifted - magic;
      const V r = hn::MulAdd(q, c(1.90465421e-9f), hn::NegMulAdd(q, c(0.693147182f), y));
      const V p =
          hn::MulAdd(polynomial(r, 0.0013814467f, 0.008368781f, 0.041668393f, 0.1666652f, 0.49999994f), r * r, r);
      const auto exponent = hn::BitCast(integers, shifted) - hn::BitCast(integers, magic);
      const V power = hn::BitCast(f, hn::ShiftLeft<23>(exponent + hn::Set(integers, 127)));
      const V d = hn::MulAdd(power, p, power - c(1));
      return hn::CopySign(d / (c(2) + d), x);
    } else {
      return each(x, [](auto v) { return std::tanh(v); });
    }
  }

  // Each lane takes the same way whatever its neighbours are.
  static V power(V a, V b) {
    namespace hn = simd::hn;
    const V one = constant(1), two = constant(2);
    const auto is_zero = hn::Eq(b, constant(0)), is_one = hn::Eq(b, one), is_two = hn::Eq(b, two),
               is_small = hn::Or(hn::Or(is_zero, is_one), is_two);
    const V product = hn::IfThenElse(is_two, a * a, hn::IfThenElse(is_one, a, one));
    if (hn::AllTrue(D(), is_small)) return product;
    alignas(64) Element bases[hn::MaxLanes(D())], exponents[hn::MaxLanes(D())];
    hn::Store(a, D(), bases);
    hn::Store(b, D(), exponents);
    for (size_t i = 0; i < hn::MaxLanes(D()); ++i) bases[i] = std::pow(bases[i], exponents[i]);
    return hn::IfThenElse(is_small, product, hn::Load(D(), bases));
  }

  static V if_less_else(V x, V y, V yes, V no) { return simd::hn::IfThenElse(simd::hn::Lt(x, y), yes, no); }
  static V if_less_equal_else(V x, V y, V yes, V no) { return simd::hn::IfThenElse(simd::hn::Le(x, y), yes, no); }
  static V if_equal_else(V x, V y, V yes, V no) { return simd::hn::IfThenElse(simd::hn::Eq(x, y), yes, no); }
};

}  // namespace phasor::scalar
