// Softmax along an axis: where lines along it are neighbours in memory, one line at a time; else many lines side by
// side. Either way what is read from memory once stays in the cache for the passes over it.
#include "core/ops/softmax.hpp"

#include <cmath>
#include <limits>

#include "core/arguments.hpp"
#include "core/axis.hpp"
#include "core/dispatch.hpp"
#include "core/rows.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace reference {
namespace {

// y[i] = f(x[i] - max, sum of e^(x - max)) along each line.
template <class F>
Tensor normalised(const Tensor& x, int axis, F f) {
  const Tensor last = x.to(Dtype::f64).transpose(axis, -1).contiguous();
  const Tensor y = Tensor::empty(last.shape(), Dtype::f64);
  const int64_t width = last.extent(-1);
  for (int64_t line = 0; line < x.size() / width; ++line) {
    const double* const in = last.data<double>() + line * width;
    double* const out = y.data<double>() + line * width;
    double largest = in[0];
    for (int64_t i = 0; i < width; ++i)
      if (!(in[i] <= largest)) largest = in[i];
    double normaliser = 0;
    for (int64_t i = 0; i < width; ++i) normaliser += std::exp(in[i] - largest);
    for (int64_t i = 0; i < width; ++i) out[i] = f(in[i] - largest, normaliser);
  }
  return y.transpose(axis, -1).contiguous().to(x.dtype());
}

}  // namespace

Tensor softmax(const Tensor& x, int axis) {
  return normalised(x, axis, [](double v, double normaliser) { return std::exp(v) / normaliser; });
}
Tensor log_softmax(const Tensor& x, int axis) {
  return normalised(x, axis, [](double v, double normaliser) { return v - std::log(normaliser); });
}

}  // namespace reference

namespace {

namespace hn = simd::hn;

// Lines side by side: element i of line c is at operand[i * step + c].
template <class T, size_t operands>
struct Bundle {
  int64_t lines, length;
  T* y;
  int64_t y_step;
  std::array<const T*, operands> x;
  std::array<int64_t, operands> x_step;

  T* y_at(int64_t i) const { return y + i * y_step; }
  const T* x_at(int64_t i, size_t operand = 0) const { return x[operand] + i * x_step[operand]; }
};

// One number for each line of a bundle.
template <class T>
struct PerLine {
  alignas(64) T values[widest_bundle];
  PerLine(int64_t lines, T value) { std::fill_n(values, lines, value); }
};

// The sum of `length` terms of each line: add(i, sums) adds those of element i to sums[line]. They come in parts that
// are added up in double, because one f32 sum of millions of terms loses digits.
template <class T, class Add>
PerLine<T> sum_of_lines(int64_t lines, int64_t length, Add add) {
  constexpr int64_t terms_of_part = 128;
  PerLine<T> part(lines, 0);
  if (length <= terms_of_part) {
    for (int64_t i = 0; i < length; ++i) add(i, part.values);
    return part;
  }
  PerLine<double> total(lines, 0);
  for (int64_t begin = 0; begin < length; begin += terms_of_part) {
    std::fill_n(part.values, lines, T(0));
    for (int64_t i = begin; i < std::min(begin + terms_of_part, length); ++i) add(i, part.values);
    for (int64_t line = 0; line < lines; ++line) total.values[line] += part.values[line];
  }
  for (int64_t line = 0; line < lines; ++line) part.values[line] = static_cast<T>(total.values[line]);
  return part;
}

// A new tensor like x[0], written line by line along the axis, in parallel over lines:
//   row(length, y, x)   one line of neighbouring numbers, x: std::array<const T*, operands>
//   bundle(Bundle)      many lines side by side
// An operand that lies otherwise than the result is copied to lie like it.
template <class T, size_t operands, class Row, class OfBundle>
Tensor along_axis(int axis, std::array<Tensor, operands> x, Row row, OfBundle of_bundle) {
  const Tensor y = Tensor::empty_like(x[0]);
  if (y.size() == 0) return y;
  const int64_t length = y.extent(axis);
  const Tensor first_of_y = y.select(axis, 0);
  const bool in_rows = y.stride(axis) == 1;
  std::array<Strides, 1 + operands> strides;
  strides[0] = first_of_y.strides();
  for (size_t k = 0; k < operands; ++k) {
    const StridedLoop<2> side_by_side(first_of_y.shape(), {strides[0], x[k].select(axis, 0).strides()});
    if (in_rows ? length > 1 && x[k].stride(axis) != 1 : side_by_side.step(1) != 1) {
      const Tensor copy = Tensor::empty_like(y);
      copy_into(copy, x[k]);
      x[k] = copy;
    }
    strides[1 + k] = x[k].select(axis, 0).strides();
  }
  const auto operands_at = [&](const std::array<int64_t, 1 + operands>& at, int64_t column) {
    std::array<const T*, operands> from;
    for (size_t k = 0; k < operands; ++k) from[k] = x[k].template data<T>() + at[1 + k] + column;
    return from;
  };
  T* const to = y.data<T>();
  if (in_rows) {
    const RowLoop<1 + operands> rows(first_of_y.shape(), strides);
    rows.run(length, [&](const auto& at) { row(length, to + at[0], operands_at(at, 0)); });
    return y;
  }
  const int64_t grain = lines_per_tile<T>(y.size() / length, length, 8);
  const StridedLoop<1 + operands> loop(first_of_y.shape(), strides);
  loop.run(grain, [&](const auto& at, int64_t count) {
    for (int64_t column = 0; column < count; column += widest_bundle) {
      Bundle<T, operands> bundle{std::min(count - column, widest_bundle),
                                 length,
                                 to + at[0] + column,
                                 y.stride(axis),
                                 operands_at(at, column),
                                 {}};
      for (size_t k = 0; k < operands; ++k) bundle.x_step[k] = x[k].stride(axis);
      of_bundle(bundle);
    }
  });
  return y;
}

// The largest element of each line; that of a line with NaN is of no use, but e^(x - it) is NaN at the NaN.
template <class T>
PerLine<T> largest_of(const Bundle<T, 1>& b) {
  PerLine<T> largest(b.lines, -std::numeric_limits<T>::infinity());
  for (int64_t i = 0; i < b.length; ++i)
    simd::map(
        b.lines, largest.values, [](auto m, auto v) { return hn::Max(m, v); }, largest.values, b.x_at(i));
  return largest;
}

int require_lines(const char* op, const char* name, const Tensor& x, int axis) {
  require_float(op, name, x);
  const int counted = checked_axis(op, name, x, axis);
  require(x.extent(counted) >= 1, op, "an empty line has no distribution: axis ", axis, " of ", name, ", which is ",
          x.shape(), ", is empty; needs an extent of 1 or more");
  return counted;
}

int require_gradient_of_lines(const char* op, const Tensor& y, const Tensor& dy, int axis) {
  require_same_shape(op, "y", y, "dy", dy);
  require_same_dtype(op, "y", y, "dy", dy);
  return require_lines(op, "y", y, axis);
}

}  // namespace

Tensor softmax(const Tensor& x, int axis) {
  axis = require_lines("softmax", "x", x, axis);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::softmax(x, axis);
  return with_float("softmax", x.dtype(), [&]<class T>() {
    const auto row = [](int64_t width, T* y, const std::array<const T*, 1>& x_row) {
      // Subtracting the maximum keeps e^x in range. A NaN may not show in the maximum, but it makes the sum NaN.
      const T largest = simd::maximum_of_numbers(width, x_row[0]);
      const T normaliser = simd::sum_of_exponentials(width, y, largest, x_row[0]);
      const simd::Vec<T> inverse = simd::set<T>(1 / normaliser);
      simd::map(
          width, y, [&](auto v) { return v * inverse; }, y);
    };
    const auto bundle = [](const Bundle<T, 1>& b) {
      const PerLine<T> largest = largest_of(b);
      const auto exponential = [](auto v, auto m, auto total) {
        const auto e = simd::quick_exp(v - m);
        return std::pair(e, total + e);
      };
      const PerLine<T> sum = sum_of_lines<T>(b.lines, b.length, [&](int64_t i, T* sums) {
        simd::map_pair(b.lines, b.y_at(i), sums, exponential, b.x_at(i), largest.values, sums);
      });
      PerLine<T> inverse(b.lines, 0);
      for (int64_t line = 0; line < b.lines; ++line) inverse.values[line] = 1 / sum.values[line];
      for (int64_t i = 0; i < b.length; ++i)
        simd::map(
            b.lines, b.y_at(i), [](auto e, auto r) { return e * r; }, b.y_at(i), inverse.values);
    };
    return along_axis<T, 1>(axis, {x}, row, bundle);
  });
}

Tensor softmax_backward(const Tensor& y, const Tensor& dy, int axis) {
  axis = require_gradient_of_lines("softmax_backward", y, dy, axis);
  if constexpr (kHasCuda)
    if (y.is_on(Device::cuda)) return cuda::softmax_backward(y, dy, axis);
  return with_float("softmax_backward", y.dtype(), [&]<class T>() {
    const auto row = [](int64_t width, T* dx, const std::array<const T*, 2>& from) {
      const auto product = [](auto p, auto d) { return p * d; };
      const simd::Vec<T> common = simd::set<T>(simd::sum<T>(width, product, from[0], from[1]));
      simd::map(
          width, dx, [&](auto p, auto d) { return p * (d - common); }, from[0], from[1]);
    };
    const auto bundle = [](const Bundle<T, 2>& b) {
      const PerLine<T> common = sum_of_lines<T>(b.lines, b.length, [&](int64_t i, T* sums) {
        simd::map(
            b.lines, sums, [](auto total, auto p, auto d) { return total + p * d; }, sums, b.x_at(i, 0), b.x_at(i, 1));
      });
      for (int64_t i = 0; i < b.length; ++i)
        simd::map(
            b.lines, b.y_at(i), [](auto p, auto d, auto total) { return p * (d - total); }, b.x_at(i, 0), b.x_at(i, 1),
            common.values);
    };
    return along_axis<T, 2>(axis, {y, dy}, row, bundle);
  });
}

Tensor log_softmax(const Tensor& x, int axis) {
  axis = require_lines("log_softmax", "x", x, axis);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::log_softmax(x, axis);
  return with_float("log_softmax", x.dtype(), [&]<class T>() {
    // Two subtractions: max + log(sum) could round away all of x - max.
    const auto row = [](int64_t width, T* y, const std::array<const T*, 1>& x_row) {
      const T maximum = simd::maximum_of_numbers(width, x_row[0]);
      const T normaliser = simd::sum_of_exponentials<T>(width, nullptr, maximum, x_row[0]);
      const simd::Vec<T> largest = simd::set<T>(maximum), rest = simd::set<T>(std::log(normaliser));
      simd::map(
          width, y, [&](auto v) { return v - largest - rest; }, x_row[0]);
    };
    const auto bundle = [](const Bundle<T, 1>& b) {
      const PerLine<T> largest = largest_of(b);
      PerLine<T> rest = sum_of_lines<T>(b.lines, b.length, [&](int64_t i, T* sums) {
        simd::map(
            b.lines, sums, [](auto total, auto v, auto m) { return total + simd::quick_exp(v - m); }, sums, b.x_at(i),
            largest.values);
      });
      for (int64_t line = 0; line < b.lines; ++line) rest.values[line] = std::log(rest.values[line]);
      for (int64_t i = 0; i < b.length; ++i)
        simd::map(
            b.lines, b.y_at(i), [](auto v, auto m, auto r) { return v - m - r; }, b.x_at(i), largest.values,
            rest.values);
    };
    return along_axis<T, 1>(axis, {x}, row, bundle);
  });
}

Tensor log_softmax_backward(const Tensor& y, const Tensor& dy, int axis) {
  axis = require_gradient_of_lines("log_softmax_backward", y, dy, axis);
  if constexpr (kHasCuda)
    if (y.is_on(Device::cuda)) return cuda::log_softmax_backward(y, dy, axis);
  return with_float("log_softmax_backward", y.dtype(), [&]<class T>() {
    const auto gradient = [](auto l, auto d, auto total) { return d - simd::exp(l) * total; };
    const auto row = [&](int64_t width, T* dx, const std::array<const T*, 2>& from) {
      const simd::Vec<T> total = simd::set<T>(simd::sum<T>(
          width, [](auto d) { return d; }, from[1]));
      simd::map(
          width, dx, [&](auto l, auto d) { return gradient(l, d, total); }, from[0], from[1]);
    };
    const auto bundle = [&](const Bundle<T, 2>& b) {
      const PerLine<T> total = sum_of_lines<T>(b.lines, b.length, [&](int64_t i, T* sums) {
        simd::map(
            b.lines, sums, [](auto so_far, auto d) { return so_far + d; }, sums, b.x_at(i, 1));
      });
      for (int64_t i = 0; i < b.length; ++i)
        simd::map(b.lines, b.y_at(i), gradient, b.x_at(i, 0), b.x_at(i, 1), total.values);
    };
    return along_axis<T, 2>(axis, {y, dy}, row, bundle);
  });
}

}  // namespace phasor
