// Softmax along the last axis: a row is read from memory once and stays in the cache for the passes over it.
#include "core/ops/softmax.hpp"

#include <cmath>

#include "core/dispatch.hpp"
#include "core/rows.hpp"
#include "core/scalar_math.hpp"

namespace phasor {
namespace reference {

Tensor softmax(const Tensor& x) {
  const Tensor from = x.to(Dtype::f64).contiguous();
  const Tensor y = Tensor::empty(x.shape(), Dtype::f64);
  const int64_t width = x.extent(-1);
  for (int64_t row = 0; row < x.size() / width; ++row) {
    const double* const in = from.data<double>() + row * width;
    double* const out = y.data<double>() + row * width;
    double largest = in[0];
    for (int64_t i = 0; i < width; ++i)
      if (!(in[i] <= largest)) largest = in[i];
    double normaliser = 0;
    for (int64_t i = 0; i < width; ++i) normaliser += std::exp(in[i] - largest);
    for (int64_t i = 0; i < width; ++i) out[i] = std::exp(in[i] - largest) / normaliser;
  }
  return y.to(x.dtype());
}

}  // namespace reference

namespace {

void require_rows(const char* op, const Tensor& x) {
  require(x.rank() >= 1, op, "a scalar has no last axis: shape ", x.shape(), "; needs rank 1 or more");
  require(x.extent(-1) >= 1, op, "empty rows have no distribution: shape ", x.shape(),
          "; needs a last axis of 1 or more");
}

}  // namespace

Tensor softmax(const Tensor& x) {
  require_rows("softmax", x);
  return with_float("softmax", x.dtype(), [&]<class T>() {
    const Tensor from = dense_rows(x);
    const Tensor y = Tensor::empty_like(from);
    const int64_t width = x.extent(-1);
    const RowLoop<2> rows(x.shape().without(-1), {y.strides(), from.strides()});
    rows.run(width, [width, to = y.data<T>(), in = from.data<T>()](const std::array<int64_t, 2>& at) {
      T* const y_row = to + at[0];
      const T* const x_row = in + at[1];
      // Subtracting the maximum keeps e^x in range. A NaN makes the maximum, and with it the whole row, NaN.
      const simd::Vec<T> largest = simd::set<T>(simd::maximum(width, x_row));
      const T normaliser = simd::map_sum(
          width, y_row, [&](auto v) { return simd::exp(v - largest); }, x_row);
      const simd::Vec<T> inverse = simd::set<T>(1 / normaliser);
      simd::map(
          width, y_row, [&](auto v) { return v * inverse; }, static_cast<const T*>(y_row));
    });
    return y;
  });
}

Tensor softmax_backward(const Tensor& y, const Tensor& dy) {
  require_rows("softmax_backward", y);
  require_same_shape("softmax_backward", "y", y, "dy", dy);
  require_same_dtype("softmax_backward", "y", y, "dy", dy);
  return with_float("softmax_backward", y.dtype(), [&]<class T>() {
    const Tensor from_y = dense_rows(y), from_dy = dense_rows(dy);
    const Tensor dx = Tensor::empty_like(from_y);
    const int64_t width = y.extent(-1);
    const RowLoop<3> rows(y.shape().without(-1), {dx.strides(), from_y.strides(), from_dy.strides()});
    rows.run(width, [&](const std::array<int64_t, 3>& at) {
      const T* const y_row = from_y.data<T>() + at[1];
      const T* const dy_row = from_dy.data<T>() + at[2];
      const auto product = [](auto p, auto d) { return p * d; };
      const simd::Vec<T> common = simd::set<T>(simd::sum<T>(width, product, y_row, dy_row));
      simd::map(
          width, dx.data<T>() + at[0], [&](auto p, auto d) { return p * (d - common); }, y_row, dy_row);
    });
    return dx;
  });
}

}  // namespace phasor
