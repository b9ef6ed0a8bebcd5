// Root-mean-square norm: forward and backward each read a row from memory once.
#include "core/ops/rms_norm.hpp"

#include <cmath>

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/ops/reduce.hpp"
#include "core/rows.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace reference {

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  const Tensor from = x.to(Dtype::f64).contiguous(), scale = weight.to(Dtype::f64).contiguous();
  const Tensor y = Tensor::empty(x.shape(), Dtype::f64);
  const int64_t width = x.extent(-1);
  for (int64_t row = 0; width > 0 && row < x.size() / width; ++row) {
    const double* const in = from.data<double>() + row * width;
    double* const out = y.data<double>() + row * width;
    double squares = 0;
    for (int64_t i = 0; i < width; ++i) squares += in[i] * in[i];
    const double root = std::sqrt(squares / static_cast<double>(width) + epsilon);
    for (int64_t i = 0; i < width; ++i) out[i] = in[i] / root * scale.data<double>()[i];
  }
  return y.to(x.dtype());
}

}  // namespace reference

namespace {

void require_arguments(const char* op, const Tensor& x, const Tensor& weight, double epsilon) {
  require_float(op, "x", x);
  require_same_dtype(op, "x", x, "weight", weight);
  require(x.rank() >= 1, op, "x is a scalar; needs rank 1 or more");
  require(weight.rank() == 1 && weight.extent(0) == x.extent(-1), op, "weight is ", weight.shape(), ", x is ",
          x.shape(), "; weight must be [", x.extent(-1), "], the last axis of x");
  require<ValueError>(epsilon >= 0, op, "epsilon is ", epsilon, "; needs 0 or more");
}

// r = 1 / sqrt(mean(x^2) + epsilon)
template <class T>
T inverse_root(int64_t width, T sum_of_squares, double epsilon) {
  return static_cast<T>(1 / std::sqrt(static_cast<double>(sum_of_squares) / static_cast<double>(width) + epsilon));
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  require_arguments("rms_norm", x, weight, epsilon);
  return with_float("rms_norm", x.dtype(), [&]<class T>() {
    const Tensor from = dense_rows(x), scale = weight.contiguous();
    const Tensor y = Tensor::empty_like(from);
    const int64_t width = x.extent(-1);
    const RowLoop<2> rows(x.shape().without(-1), {y.strides(), from.strides()});
    rows.run(width, [&](const std::array<int64_t, 2>& at) {
      const T* const x_row = from.data<T>() + at[1];
      const T squares = simd::sum<T>(
          width, [](auto v) { return v * v; }, x_row);
      const simd::Vec<T> r = simd::set<T>(inverse_root(width, squares, epsilon));
      simd::map(
          width, y.data<T>() + at[0], [&](auto v, auto w) { return v * r * w; }, x_row,
          static_cast<const T*>(scale.data<T>()));
    });
    return y;
  });
}

RmsNormGradients rms_norm_backward(const Tensor& x, const Tensor& weight, double epsilon, const Tensor& dy,
                                   const Tensor& addend) {
  require_arguments("rms_norm_backward", x, weight, epsilon);
  require_same_shape("rms_norm_backward", "x", x, "dy", dy);
  require_same_dtype("rms_norm_backward", "x", x, "dy", dy);
  if (addend.defined()) {
    require_same_shape("rms_norm_backward", "x", x, "addend", addend);
    require_same_dtype("rms_norm_backward", "x", x, "addend", addend);
  }
  return with_float("rms_norm_backward", x.dtype(), [&]<class T>() -> RmsNormGradients {
    const Tensor from_x = dense_rows(x), from_dy = dense_rows(dy), dense_weight = weight.contiguous();
    const Tensor dx = Tensor::empty_like(from_x), added = addend.defined() ? dense_rows(addend) : dx;
    const int64_t width = x.extent(-1);
    const RowLoop<4> rows(x.shape().without(-1), {dx.strides(), from_x.strides(), from_dy.strides(), added.strides()});
    // Each tile of rows sums into a row of its own; the rows are added in order afterwards. Tiles hold enough rows for
    // that sum to be small beside them.
    const int64_t tile = std::max<int64_t>(16, 65536 / std::max<int64_t>(width, 1));
    const Tensor tile_sums = Tensor::zeros({(rows.count() + tile - 1) / tile, width}, x.dtype());
    parallel_for(rows.count(), tile, [&](int64_t begin, int64_t end) {
      T* const dw = tile_sums.data<T>() + begin / tile * width;
      const T* const w = dense_weight.data<T>();
      for (int64_t row = begin; row < end; ++row) {
        const std::array<int64_t, 4> at = rows.offsets(row);
        const T* const x_row = from_x.data<T>() + at[1];
        const T* const dy_row = from_dy.data<T>() + at[2];
        const auto terms = [](auto v, auto d, auto s) { return std::pair(v * v, v * (d * s)); };
        const auto [squares, dot] = simd::sum_pair<T>(width, terms, x_row, dy_row, w);
        const T r = inverse_root(width, squares, epsilon);
        const simd::Vec<T> scale = simd::set<T>(r), shrink = simd::set<T>(r * r * r * (dot / static_cast<T>(width)));
        const auto gradients = [&](auto v, auto d, auto s, auto sum, auto... others) {
          const auto scaled = d * scale;
          return std::pair(((scaled * s - v * shrink) + ... + others), sum + scaled * v);
        };
        T* const dx_row = dx.data<T>() + at[0];
        const T* const added_row = added.data<T>() + at[3];
        if (addend.defined())
          simd::map_pair(width, dx_row, dw, gradients, x_row, dy_row, w, static_cast<const T*>(dw), added_row);
        else
          simd::map_pair(width, dx_row, dw, gradients, x_row, dy_row, w, static_cast<const T*>(dw));
      }
    });
    return {dx, sum(tile_sums, {0}).reshape({width})};
  });
}

}  // namespace phasor
