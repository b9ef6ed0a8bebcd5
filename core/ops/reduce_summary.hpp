// What each reduction keeps of some numbers, and how two of those merge: the Ops that core/ops/reduce_kernel.hpp asks
// for.
#pragma once

#include <cmath>
#include <limits>
#include <tuple>

#include "core/moments.hpp"
#include "core/ops/reduce_kernel.hpp"
#include "core/simd.hpp"

namespace phasor::reduction {

// out[i] = Op::merge over all rows of column i: for ops whose summary is one number.
template <class Op, class T>
void fold_rows(int64_t n, T* out, const Rows<T>& rows) {
  std::fill_n(out, n, static_cast<T>(Op::identity));
  const T* const so_far = out;
  const auto combine = [](auto a, auto r, auto... more) {
    if constexpr (sizeof...(more) == 0) {
      return Op::merge(a, r);
    } else {
      const auto [r1, r2, r3] = std::tuple(more...);
      return Op::merge(a, Op::merge(Op::merge(r, r1), Op::merge(r2, r3)));
    }
  };
  rows.each([&](const auto*... row) { simd::map(n, out, combine, so_far, row...); });
}

template <class Op>
struct Fold {
  using Summary = double;
  template <class T>
  using Column = T;
  static constexpr int64_t widest = 1024;

  template <class V>
  static V result(V summary) {
    return summary;
  }
  template <class T>
  static void of_columns(int64_t n, T* out, const Rows<T>& rows) {
    fold_rows<Op>(n, out, rows);
  }
  template <class T>
  static void merge_columns(int64_t n, T* out, const T* in, int64_t step, int64_t count) {
    const StridedLoop<1> over_pieces({count}, {Strides{step}});
    fold_rows<Op>(n, out, Rows<T>{in, over_pieces, 0, count});
  }
};

struct Sum : Fold<Sum> {
  static constexpr double identity = 0;
  template <class V>
  static V merge(V a, V b) {
    return a + b;
  }
  template <class T>
  static double of_run(int64_t n, const T* x) {
    return simd::sum<T>(
        n, [](auto v) { return v; }, x);
  }
};

struct Max : Fold<Max> {
  static constexpr double identity = -std::numeric_limits<double>::infinity();
  // A NaN on either side stays.
  template <class V>
  static V merge(V a, V b) {
    if constexpr (std::is_arithmetic_v<V>) {
      return a != a || a > b ? a : b;
    } else {
      namespace hn = simd::hn;
      return hn::IfThenElse(hn::Or(hn::Gt(a, b), hn::IsNaN(a)), a, b);
    }
  }
  template <class T>
  static double of_run(int64_t n, const T* x) {
    return simd::maximum(n, x);
  }
};

// Ops whose summary is a struct of doubles.
template <class Op, class S>
struct Summarised {
  using Summary = S;
  template <class T>
  using Column = S;
  static constexpr int64_t widest = 256;

  static void merge_columns(int64_t n, S* out, const S* in, int64_t step, int64_t count) {
    for (int64_t i = 0; i < n; ++i) {
      out[i] = in[i];
      for (int64_t piece = 1; piece < count; ++piece) out[i] = Op::merge(out[i], in[piece * step + i]);
    }
  }
};

// sum e^(x - shift), where the shift is the largest element; 0 if that is infinite, because inf - inf is NaN.
struct ScaledSum {
  double largest, sum;
};

struct LogSumExp : Summarised<LogSumExp, ScaledSum> {
  static constexpr ScaledSum identity = {-std::numeric_limits<double>::infinity(), 0};

  template <class V>
  static V shift(V largest) {
    namespace hn = simd::hn;
    return hn::IfThenElseZero(hn::IsFinite(largest), largest);
  }
  template <class T>
  static ScaledSum of_run(int64_t n, const T* x) {
    const T largest = simd::maximum(n, x);
    const simd::Vec<T> by = shift(simd::set<T>(largest));
    return {largest, simd::sum<T>(
                         n, [&](auto v) { return simd::exp(v - by); }, x)};
  }
  template <class T>
  static void of_columns(int64_t n, ScaledSum* out, const Rows<T>& rows) {
    alignas(64) T largest[widest], by[widest], sum[widest];
    fold_rows<Max>(n, largest, rows);
    simd::map(
        n, by, [](auto v) { return shift(v); }, largest);
    std::fill_n(sum, n, T(0));
    rows.each([&](const auto*... row) {
      simd::map(
          n, sum, [](auto total, auto s, auto... v) { return total + (simd::exp(v - s) + ...); }, sum, by, row...);
    });
    for (int64_t i = 0; i < n; ++i) out[i] = {largest[i], sum[i]};
  }
  static ScaledSum merge(ScaledSum a, ScaledSum b) {
    if (a.largest < b.largest) std::swap(a, b);
    // Equal ones are taken apart because two infinities have no difference.
    a.sum += a.largest == b.largest ? b.sum : b.sum * std::exp(b.largest - a.largest);
    return a;
  }
  static double result(ScaledSum s) { return s.largest + std::log(s.sum); }
};

// How often the largest element stands there.
struct CountedMaximum {
  double largest, count;
};

struct Ties : Summarised<Ties, CountedMaximum> {
  static constexpr CountedMaximum identity = {-std::numeric_limits<double>::infinity(), 0};

  template <class V>
  static V one_where_equal(V a, V b) {
    namespace hn = simd::hn;
    return hn::IfThenElseZero(hn::Eq(a, b), hn::Set(hn::DFromV<V>(), 1));
  }
  template <class T>
  static CountedMaximum of_run(int64_t n, const T* x) {
    const T largest = simd::maximum(n, x);
    const simd::Vec<T> all = simd::set<T>(largest);
    return {largest, simd::sum<T>(
                         n, [&](auto v) { return one_where_equal(v, all); }, x)};
  }
  template <class T>
  static void of_columns(int64_t n, CountedMaximum* out, const Rows<T>& rows) {
    alignas(64) T largest[widest], count[widest];
    fold_rows<Max>(n, largest, rows);
    std::fill_n(count, n, T(0));
    rows.each([&](const auto*... row) {
      simd::map(
          n, count, [](auto total, auto m, auto... v) { return total + (one_where_equal(v, m) + ...); }, count, largest,
          row...);
    });
    for (int64_t i = 0; i < n; ++i) out[i] = {largest[i], count[i]};
  }
  static CountedMaximum merge(CountedMaximum a, CountedMaximum b) {
    if (a.largest < b.largest) return b;
    if (a.largest == b.largest) a.count += b.count;
    return a;
  }
  static double result(CountedMaximum m) { return m.count; }
};

struct Spread {
  double count, mean, squares;  // squares: sum of (x - mean)^2
};

struct Variance : Summarised<Variance, Spread> {
  static constexpr Spread identity = {0, 0, 0};

  template <class T>
  static Spread spread(int64_t n, const Moments<T>& m) {
    return {static_cast<double>(n), static_cast<double>(m.center) + m.rest, m.squares};
  }
  template <class T>
  static Spread of_run(int64_t n, const T* x) {
    return spread(n, moments(n, x));
  }
  // As moments() of a row does it.
  template <class T>
  static void of_columns(int64_t n, Spread* out, const Rows<T>& rows) {
    alignas(64) T center[widest], sum[widest], squares[widest];
    const T* const first = rows.row(rows.begin);
    const int64_t count = rows.end - rows.begin;
    std::fill_n(sum, n, T(0));
    rows.each([&](const auto*... row) {
      simd::map(
          n, sum, [](auto total, auto f, auto... v) { return total + ((v - f) + ...); }, sum, first, row...);
    });
    const simd::Vec<T> divisor = simd::set<T>(static_cast<T>(count));
    simd::map(
        n, center, [&](auto f, auto total) { return f + total / divisor; }, first, sum);
    std::fill_n(sum, n, T(0));
    std::fill_n(squares, n, T(0));
    const auto add = [](auto total, auto total_of_squares, auto c, auto... v) {
      return std::pair(total + ((v - c) + ...), total_of_squares + (((v - c) * (v - c)) + ...));
    };
    rows.each([&](const auto*... row) { simd::map_pair(n, sum, squares, add, sum, squares, center, row...); });
    for (int64_t i = 0; i < n; ++i)
      out[i] = spread(count, moments_about(count, center[i], double{sum[i]}, double{squares[i]}));
  }
  // Chan, Golub & LeVeque 1979: the means differ by d, which adds d^2 a.count b.count / count. The mean of nothing has
  // no distance from another: d^2 may overflow, and infinity times the count 0 is NaN.
  static Spread merge(Spread a, Spread b) {
    if (a.count == 0) return b;
    if (b.count == 0) return a;
    const double count = a.count + b.count, d = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + d * share, a.squares + b.squares + d * d * a.count * share};
  }
  static double result(Spread s) { return s.squares / s.count; }
};

struct AccurateMean : Variance {
  static double result(Spread s) { return s.mean; }
};

}  // namespace phasor::reduction
