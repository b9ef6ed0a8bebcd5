// Google Highway in one file: vectors as wide as the machine this is built for (16 floats with AVX-512), with the few
// operations that kernels use. A kernel loops over whole vectors and ends with load_first/store_first, so no lane
// beyond the row is read or written.
#pragma once

#define HWY_COMPILE_ONLY_STATIC 1
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

namespace phasor::simd {

// Below AVX2 a masked load reads the whole vector, also where that lies beyond the row.
static_assert(HWY_STATIC_TARGET <= HWY_AVX2, "Phasor needs AVX2 with AES, or better: -march=haswell -maes");

namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using Tag = hn::ScalableTag<T>;
template <class T>
using Vec = hn::Vec<Tag<T>>;  // has operators + - * /
template <class T>
constexpr int64_t lanes = hn::MaxLanes(Tag<T>());  // no target here has vectors of a length known only at run time

template <class T>
Vec<T> set(T value) {
  return hn::Set(Tag<T>(), value);
}
template <class T>
Vec<T> load(const T* p) {
  return hn::LoadU(Tag<T>(), p);
}
template <class T>
void store(Vec<T> v, T* p) {
  hn::StoreU(v, Tag<T>(), p);
}
// The first n lanes of v, of d's lanes or fewer, in pieces that are powers of two.
template <class D, class T>
void store_pieces(D d, int64_t n, hn::Vec<D> v, T* p) {
  constexpr int64_t all = hn::MaxLanes(D());
  if (n == all) return hn::StoreU(v, d, p);
  if constexpr (all > 1) {
    const hn::Half<D> half;
    if (n < all / 2) return store_pieces(half, n, hn::LowerHalf(half, v), p);
    hn::StoreU(hn::LowerHalf(half, v), half, p);
    store_pieces(half, n - all / 2, hn::UpperHalf(half, v), p + all / 2);
  }
}

// The first n lanes, 1 <= n <= lanes; the other lanes load as 0 and are not stored. No masked store: a load that lies
// as far into its page as a masked store before it would wait until that one has reached the cache, a hundred cycles.
template <class T>
Vec<T> load_first(int64_t n, const T* p) {
  if (n == lanes<T>) return load(p);
  return hn::MaskedLoad(hn::FirstN(Tag<T>(), static_cast<size_t>(n)), Tag<T>(), p);
}
template <class T>
void store_first(int64_t n, Vec<T> v, T* p) {
  store_pieces(Tag<T>(), n, v, p);
}

// Blocks of 128 bits: a vector is lanes / block_lanes of them.
template <class T>
constexpr int64_t block_lanes = 16 / sizeof(T);

// The vector whose block b is at p + b step.
template <class T>
Vec<T> load_blocks(const T* p, int64_t step) {
  const hn::FixedTag<T, block_lanes<T>> block;
  const hn::FixedTag<T, 2 * block_lanes<T>> pair;
  const auto two = [&](const T* q) { return hn::Combine(pair, hn::LoadU(block, q + step), hn::LoadU(block, q)); };
  if constexpr (hn::MaxLanes(Tag<T>()) == 2 * block_lanes<T>)
    return two(p);
  else
    return hn::Combine(Tag<T>(), two(p + 2 * step), two(p));
}

// Transposes, in every block, the square whose rows are the block's lanes in v[0], v[1], ...
template <class T>
void transpose_blocks(Vec<T> (&v)[block_lanes<T>]) {
  const Tag<T> d;
  if constexpr (block_lanes<T> == 4) {
    const Vec<T> low02 = hn::InterleaveLower(d, v[0], v[2]), low13 = hn::InterleaveLower(d, v[1], v[3]);
    const Vec<T> high02 = hn::InterleaveUpper(d, v[0], v[2]), high13 = hn::InterleaveUpper(d, v[1], v[3]);
    v[0] = hn::InterleaveLower(d, low02, low13);
    v[1] = hn::InterleaveUpper(d, low02, low13);
    v[2] = hn::InterleaveLower(d, high02, high13);
    v[3] = hn::InterleaveUpper(d, high02, high13);
  } else {
    const Vec<T> low = hn::InterleaveLower(d, v[0], v[1]);
    v[1] = hn::InterleaveUpper(d, v[0], v[1]);
    v[0] = low;
  }
}

template <class V>
V max(V a, V b) {
  return hn::Max(a, b);
}
template <class V>
V multiply_add(V a, V b, V c) {
  return hn::MulAdd(a, b, c);
}  // a b + c, rounded once
template <class T>
T sum_lanes(Vec<T> v) {
  return hn::GetLane(hn::SumOfLanes(Tag<T>(), v));
}
template <class T>
T max_lanes(Vec<T> v) {
  return hn::GetLane(hn::MaxOfLanes(Tag<T>(), v));
}

#if HWY_STATIC_TARGET <= HWY_AVX3
// e^x of f32 to 1.06 ULP, with NaN for NaN: x = q ln 2 + r with q a multiple of 1/16 and |r| <= ln 2 / 32. Then e^x =
// 2^floor(q) t e^r, where t = 2^(q - floor(q)) is looked up and e^r = 1 + r + r^2 / 2 + r^3 / 6 to 1e-8.
template <class V>
requires(sizeof(V) == 64 && sizeof(hn::TFromV<V>) == 4) V exp_f32_up_to_89(V x) {
  alignas(64) static constexpr float sixteenths[16] = {
      1.00000000f, 1.04427378f, 1.09050773f, 1.13878863f, 1.18920712f, 1.24185781f, 1.29683955f, 1.35425555f,
      1.41421356f, 1.47682615f, 1.54221083f, 1.61049033f, 1.68179283f, 1.75625216f, 1.83400809f, 1.91520656f};
  const hn::DFromV<V> d;
  const auto c = [&](float value) { return hn::Set(d, value); };
  const V bounded = hn::Max(c(-104), x);  // e^-104 rounds to 0. Max returns its second operand when that is NaN.
  // Adding 1.5 * 2^19 leaves round(16 x / ln 2) in the low bits of the mantissa, where the lookup reads four of them.
  const V magic = c(786432), shifted = hn::MulAdd(bounded, c(1.44269504f), magic), q = shifted - magic;
  const V r = hn::MulAdd(q, c(1.90465421e-9f), hn::NegMulAdd(q, c(0.693147182f), bounded));  // ln 2 in two parts
  const V t{_mm512_permutexvar_ps(_mm512_castps_si512(shifted.raw), hn::Load(d, sixteenths).raw)};
  const V e_r_less_1 = hn::MulAdd(hn::MulAdd(c(0.166666667f), r, c(0.5f)), r * r, r);
  return V{_mm512_scalef_ps(hn::MulAdd(e_r_less_1, t, t).raw, q.raw)};  // scalef takes the floor of q by itself
}
#endif

// e^x of f32 to 1.02 ULP, with NaN for NaN: x = q ln 2 + r with |r| <= ln 2 / 2, e^x = 2^q e^r, and e^r = 1 + r + r^2
// P(r) with P fitted for the least relative error (3e-9).
template <class V>
V exp_f32_up_to_89(V x) {
  const hn::DFromV<V> d;
  const hn::RebindToSigned<decltype(d)> integers;
  const auto c = [&](float value) { return hn::Set(d, value); };
  // Adding 1.5 * 2^23 leaves round(x / ln 2) in the low bits of the mantissa.
  const V magic = c(12582912), shifted = hn::MulAdd(x, c(1.44269504f), magic), q = shifted - magic;
  const V r = hn::MulAdd(q, c(1.90465421e-9f), hn::NegMulAdd(q, c(0.693147182f), x));  // ln 2 in two parts
  const V r2 = r * r;
  const V p01 = hn::MulAdd(c(0.1666652f), r, c(0.49999994f)), p23 = hn::MulAdd(c(0.008368781f), r, c(0.041668393f));
  const V p = hn::MulAdd(hn::MulAdd(c(0.0013814467f), r2, p23), r2, p01);
  const V e_r = hn::MulAdd(p, r2, r) + c(1);
  // 2^q in two factors: q reaches from -150 (subnormal results) to 128, one exponent from -126 to 127.
  const auto power = [&](auto exponent) {
    return hn::BitCast(d, hn::ShiftLeft<23>(exponent + hn::Set(integers, 127)));
  };
  const auto whole = hn::BitCast(integers, shifted) - hn::BitCast(integers, magic), half = hn::ShiftRight<1>(whole);
  return hn::IfThenZeroElse(hn::Lt(x, c(-104)), e_r * power(half) * power(whole - half));
}

// e^x. Highway's function gives 0 for NaN and rubbish above the overflow bound; for f64 both are put right here,
// because a NaN that turns into 0 inside a softmax is never found. (Ne(x, x) would not see it: Highway 1.0.3 compares
// ordered, so that a NaN is not unequal to itself.)
template <class V>
V exp(V x) {
  if constexpr (sizeof(hn::TFromV<V>) == 4) {
    // e^89 overflows by itself. Min returns its second operand when that is NaN.
    return exp_f32_up_to_89(hn::Min(hn::Set(hn::DFromV<V>(), 89.0f), x));
  } else {
    const hn::DFromV<V> d;
    const V overflow = hn::Set(d, 709.782712893384), infinity = hn::Set(d, std::numeric_limits<double>::infinity());
    const V y = hn::IfThenElse(hn::Gt(x, overflow), infinity, hn::Exp(d, hn::Min(x, overflow)));
    return hn::IfThenElse(hn::IsNaN(x), x, y);
  }
}

// e^x to 2 ULP, and |x| / 20 ULP more, for sums over it: NaN for NaN, and infinity where e^x overflows. As
// exp_f32_up_to_89, with fewer operations: q is a multiple of 1/32, e^r = 1 + c r + r^2 / 2 with c fitted for the least
// relative error (5e-8), and the nearest f32 of ln 2, 2e-9 above it, has to do. Far above 88, where q lies far from
// x / ln 2, the result is infinite all the same: 1 + c r + r^2 / 2 has no root.
template <class V>
V quick_exp(V x) {
#if HWY_STATIC_TARGET <= HWY_AVX3
  if constexpr (sizeof(V) == 64 && sizeof(hn::TFromV<V>) == 4) {
    alignas(64) static constexpr float powers[32] = {
        1.00000000f, 1.02189720f, 1.04427373f, 1.06714046f, 1.09050775f, 1.11438680f, 1.13878858f, 1.16372490f,
        1.18920708f, 1.21524739f, 1.24185777f, 1.26905096f, 1.29683959f, 1.32523668f, 1.35425556f, 1.38390994f,
        1.41421354f, 1.44518077f, 1.47682619f, 1.50916445f, 1.54221082f, 1.57598090f, 1.61049032f, 1.64575553f,
        1.68179286f, 1.71861935f, 1.75625217f, 1.79470909f, 1.83400810f, 1.87416768f, 1.91520655f, 1.95714414f};
    const hn::DFromV<V> d;
    const auto c = [&](float value) { return hn::Set(d, value); };
    const V bounded = hn::Max(c(-104), x);
    const V magic = c(393216), shifted = hn::MulAdd(bounded, c(1.44269504f), magic), q = shifted - magic;
    const V r = hn::NegMulAdd(q, c(0.693147182f), bounded);
    const V t{_mm512_permutex2var_ps(hn::Load(d, powers).raw, _mm512_castps_si512(shifted.raw),
                                     hn::Load(d, powers + 16).raw)};
    const V e_r = hn::MulAdd(hn::MulAdd(r, c(0.5f), c(1.00001466f)), t * r, t);
    return V{_mm512_scalef_ps(e_r.raw, q.raw)};
  }
#endif
  return exp(x);
}

// Natural logarithm of a number above 0, to about 1 ULP; NaN for NaN.
template <class V>
V log_of_positive(V x) {
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Log(hn::DFromV<V>(), x));
}

// y[i] = f(x0[i], x1[i], ...) for i < n; f takes and returns vectors.
template <class T, class F, class... X>
void map(int64_t n, T* y, F f, const X*... x) {
  int64_t i = 0;
  for (; i + lanes<T> <= n; i += lanes<T>) store<T>(f(load<T>(x + i)...), y + i);
  if (i < n) store_first<T>(n - i, f(load_first<T>(n - i, x + i)...), y + i);
}

// (y0[i], y1[i]) = f(x0[i], x1[i], ...) for i < n; f returns a std::pair of vectors. A result may be an operand.
template <class T, class F, class... X>
void map_pair(int64_t n, T* y0, T* y1, F f, const X*... x) {
  int64_t i = 0;
  for (; i + lanes<T> <= n; i += lanes<T>) {
    const auto [v0, v1] = f(load<T>(x + i)...);
    store<T>(v0, y0 + i);
    store<T>(v1, y1 + i);
  }
  if (i < n) {
    const auto [v0, v1] = f(load_first<T>(n - i, x + i)...);
    store_first<T>(n - i, v0, y0 + i);
    store_first<T>(n - i, v1, y1 + i);
  }
}

// Sum of f(x0[i], x1[i], ...) for i < n. Four accumulators hide the latency of the addition; the order of the additions
// depends on n alone. f(0, 0, ...) of the lanes beyond n is masked away.
template <class T, class F, class... X>
T sum(int64_t n, F f, const X*... x) {
  Vec<T> a0 = set<T>(0), a1 = a0, a2 = a0, a3 = a0;
  int64_t i = 0;
  for (; i + 4 * lanes<T> <= n; i += 4 * lanes<T>) {
    a0 = a0 + f(load<T>(x + i)...);
    a1 = a1 + f(load<T>(x + i + lanes<T>)...);
    a2 = a2 + f(load<T>(x + i + 2 * lanes<T>)...);
    a3 = a3 + f(load<T>(x + i + 3 * lanes<T>)...);
  }
  for (; i + lanes<T> <= n; i += lanes<T>) a0 = a0 + f(load<T>(x + i)...);
  if (i < n) {
    const auto mask = hn::FirstN(Tag<T>(), static_cast<size_t>(n - i));
    a1 = a1 + hn::IfThenElseZero(mask, f(load_first<T>(n - i, x + i)...));
  }
  return sum_lanes<T>((a0 + a1) + (a2 + a3));
}

// Sums of both halves of f(x0[i], x1[i], ...) for i < n, in one pass; f returns a std::pair of vectors.
template <class T, class F, class... X>
std::pair<T, T> sum_pair(int64_t n, F f, const X*... x) {
  Vec<T> a0 = set<T>(0), a1 = a0, b0 = a0, b1 = a0;
  int64_t i = 0;
  for (; i + 2 * lanes<T> <= n; i += 2 * lanes<T>) {
    const auto [even_a, even_b] = f(load<T>(x + i)...);
    const auto [odd_a, odd_b] = f(load<T>(x + i + lanes<T>)...);
    a0 = a0 + even_a;
    b0 = b0 + even_b;
    a1 = a1 + odd_a;
    b1 = b1 + odd_b;
  }
  for (; i < n; i += lanes<T>) {
    const int64_t count = std::min(n - i, lanes<T>);
    const auto mask = hn::FirstN(Tag<T>(), static_cast<size_t>(count));
    const auto [a, b] = f(load_first<T>(count, x + i)...);
    a0 = a0 + hn::IfThenElseZero(mask, a);
    b0 = b0 + hn::IfThenElseZero(mask, b);
  }
  return {sum_lanes<T>(a0 + a1), sum_lanes<T>(b0 + b1)};
}

// Largest of x[i] for i < n, n >= 1; NaN if any x[i] is NaN.
template <class T>
T maximum(int64_t n, const T* x) {
  const Vec<T> first = set<T>(x[0]);
  Vec<T> even = first, odd = first;
  auto nan = hn::IsNaN(first);
  const auto take = [&](Vec<T>& largest, Vec<T> v) {
    largest = hn::Max(largest, v);
    nan = hn::Or(nan, hn::IsNaN(v));
  };
  int64_t i = 0;
  for (; i + 2 * lanes<T> <= n; i += 2 * lanes<T>) {
    take(even, load<T>(x + i));
    take(odd, load<T>(x + i + lanes<T>));
  }
  for (; i < n; i += lanes<T>) {
    const int64_t count = std::min(n - i, lanes<T>);
    take(even, hn::IfThenElse(hn::FirstN(Tag<T>(), static_cast<size_t>(count)), load_first<T>(count, x + i), first));
  }
  const T largest = max_lanes<T>(hn::Max(even, odd));
  return hn::AllFalse(Tag<T>(), nan) ? largest : std::numeric_limits<T>::quiet_NaN();
}

// The same where no x[i] is NaN, in half the time; with one, any number or NaN.
template <class T>
T maximum_of_numbers(int64_t n, const T* x) {
  Vec<T> m0 = set<T>(x[0]), m1 = m0, m2 = m0, m3 = m0;
  int64_t i = 0;
  for (; i + 4 * lanes<T> <= n; i += 4 * lanes<T>) {
    m0 = hn::Max(m0, load<T>(x + i));
    m1 = hn::Max(m1, load<T>(x + i + lanes<T>));
    m2 = hn::Max(m2, load<T>(x + i + 2 * lanes<T>));
    m3 = hn::Max(m3, load<T>(x + i + 3 * lanes<T>));
  }
  for (; i + lanes<T> <= n; i += lanes<T>) m0 = hn::Max(m0, load<T>(x + i));
  if (i < n) {
    const auto mask = hn::FirstN(Tag<T>(), static_cast<size_t>(n - i));
    m1 = hn::Max(m1, hn::IfThenElse(mask, load_first<T>(n - i, x + i), m1));
  }
  return max_lanes<T>(hn::Max(hn::Max(m0, m1), hn::Max(m2, m3)));
}

// How far ahead of itself a loop over rows asks memory for what comes next. The processor does so by itself, but stops
// at each page, which several passes over a row give it no time to make up for. Beyond the last row, asking does
// nothing.
template <class T>
constexpr int64_t ahead = 12288 / sizeof(T);

// Asks for n numbers, ahead of x.
template <class T>
void ask_ahead(int64_t n, const T* x) {
  constexpr int64_t line = 64 / sizeof(T);
  for (int64_t i = 0; i < n; i += line) __builtin_prefetch(x + i + ahead<T>);
}

// Sum of y[i] = e^(x[i] - shift) for i < n; nothing is written where y is nullptr. The order of the additions depends
// on n alone. For loops over rows: what follows x in memory is asked for ahead, and what follows y half as far.
template <class T>
HWY_INLINE T sum_of_exponentials(int64_t n, T* y, T shift, const T* x) {
  const Vec<T> by = set<T>(shift), none = set<T>(-std::numeric_limits<T>::infinity());
  Vec<T> sum = set<T>(0);
  for (int64_t i = 0; i < n; i += lanes<T>) {
    const int64_t count = n - i;
    __builtin_prefetch(x + i + ahead<T>);
    Vec<T> v = none;
    if (count >= lanes<T>)
      v = load<T>(x + i);
    else
      v = hn::IfThenElse(hn::FirstN(Tag<T>(), static_cast<size_t>(count)), load_first<T>(count, x + i), none);
    v = quick_exp(v - by);
    sum = sum + v;
    if (y) {
      __builtin_prefetch(y + i + ahead<T> / 2, 1);
      if (count >= lanes<T>)
        store<T>(v, y + i);
      else
        store_first<T>(count, v, y + i);
    }
  }
  return sum_lanes<T>(sum);
}

}  // namespace phasor::simd
