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
  if (is_f32_beside_bf16(weight, x))
    require_same_device(op, "x", x, "weight", weight);
  else
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
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::rms_norm(x, weight, epsilon);
  return with_float("rms_norm", x.dtype(), [&]<class T>() {
    const Tensor from = dense_rows(x), scale = weight.contiguous();
    const Tensor y = Tensor::empty_like(from);
    const int64_t width = x.extent(-1);
    const RowLoop<2> rows(x.shape().without(-1), {y.strides(), from.strides()});
    const T *const first = from.data<T>(), *const w = scale.data<T>();
    T* const to = y.data<T>();
    const auto root_of_row = [&](const auto& at) {
      const T squares = simd::sum<T>(
          width, [](auto v) { return v * v; }, first + at[1]);
      return inverse_root(width, squares, epsilon);
    };
    rows.run_ahead(width, root_of_row, [&](const auto& at, T root) {
      const simd::Vec<T> r = simd::set<T>(root);
      simd::map(
          width, to + at[0], [&](auto v, auto factor) { return v * r * factor; }, first + at[1], w);
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
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::rms_norm_backward(x, weight, epsilon, dy, addend);
  return with_float("rms_norm_backward", x.dtype(), [&]<class T>() -> RmsNormGradients {
    const Tensor from_x = dense_rows(x), from_dy = dense_rows(dy), dense_weight = weight.contiguous();
    const Tensor dx = Tensor::empty_like(from_x), added = addend.defined() ? dense_rows(addend) : dx;
    const int64_t width = x.extent(-1);
    const RowLoop<4> rows(x.shape().without(-1), {dx.strides(), from_x.strides(), from_dy.strides(), added.strides()});
    // Each tile of rows sums into a row of its own; the rows are added in order afterwards. Tiles hold enough rows for
    // that sum to be small beside them.
    const int64_t tile = std::max<int64_t>(16, 65536 / std::max<int64_t>(width, 1));
    const Tensor tile_sums = Tensor::zeros({(rows.count() + tile - 1) / tile, width}, x.dtype());
    const T *const first_x = from_x.data<T>(), *const first_dy = from_dy.data<T>(), *const w = dense_weight.data<T>();
    const T* const first_added = added.data<T>();
    T *const first_dx = dx.data<T>(), *const sums = tile_sums.data<T>();
    parallel_for(rows.count(), tile, [&](int64_t begin, int64_t end) {
      T* const dw = sums + begin / tile * width;
      const auto measure = [&](const auto& at) {
        const auto terms = [](auto v, auto d, auto s) { return std::pair(v * v, v * (d * s)); };
        const auto [squares, dot] = simd::sum_pair<T>(width, terms, first_x + at[1], first_dy + at[2], w);
        const T r = inverse_root(width, squares, epsilon);
        return std::pair(r, r * r * r * (dot / static_cast<T>(width)));
      };
      rows.run_ahead(begin, end, measure, [&](const auto& at, const std::pair<T, T>& measured) {
        const simd::Vec<T> scale = simd::set<T>(measured.first), shrink = simd::set<T>(measured.second);
        const auto gradients = [&](auto v, auto d, auto s, auto sum, auto... others) {
          const auto scaled = d * scale;
          return std::pair(((scaled * s - v * shrink) + ... + others), sum + scaled * v);
        };
        const T *const x_row = first_x + at[1], *const dy_row = first_dy + at[2], *const sum_row = dw;
        T* const dx_row = first_dx + at[0];
        if (addend.defined())
          simd::map_pair(width, dx_row, dw, gradients, x_row, dy_row, w, sum_row, first_added + at[3]);
        else
          simd::map_pair(width, dx_row, dw, gradients, x_row, dy_row, w, sum_row);
      });
    });
    return {dx, sum(tile_sums, {0}).reshape({width})};
  });
}

}  // namespace phasor
