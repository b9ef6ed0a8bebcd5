// Layer norm: forward and backward each read a row from memory once; mean and variance are two passes in the cache.
#include "core/ops/layer_norm.hpp"

#include <cmath>

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/moments.hpp"
#include "core/ops/reduce.hpp"
#include "core/rows.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace reference {

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  const Tensor from = x.to(Dtype::f64).contiguous();
  const std::vector<double> w = weight.to(Dtype::f64).to_vector<double>(), b = bias.to(Dtype::f64).to_vector<double>();
  const Tensor y = Tensor::empty(x.shape(), Dtype::f64);
  const int64_t width = x.extent(-1);
  for (int64_t row = 0; width > 0 && row < x.size() / width; ++row) {
    const double* const in = from.data<double>() + row * width;
    double* const out = y.data<double>() + row * width;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < width; ++i) mean += in[i] / static_cast<double>(width);
    for (int64_t i = 0; i < width; ++i) variance += (in[i] - mean) * (in[i] - mean) / static_cast<double>(width);
    for (int64_t i = 0; i < width; ++i) out[i] = (in[i] - mean) / std::sqrt(variance + epsilon) * w[i] + b[i];
  }
  return y.to(x.dtype());
}

}  // namespace reference

namespace {

void require_vector(const char* op, const Tensor& x, const char* name, const Tensor& vector) {
  if (is_f32_beside_bf16(vector, x))
    require_same_device(op, "x", x, name, vector);
  else
    require_same_dtype(op, "x", x, name, vector);
  require(vector.rank() == 1 && vector.extent(0) == x.extent(-1), op, name, " is ", vector.shape(), ", x is ",
          x.shape(), "; ", name, " must be [", x.extent(-1), "], the last axis of x");
}

void require_arguments(const char* op, const Tensor& x, const Tensor& weight, double epsilon) {
  require_float(op, "x", x);
  require(x.rank() >= 1, op, "x is a scalar, shape ", x.shape(), "; needs rank 1 or more");
  require_vector(op, x, "weight", weight);
  require<ValueError>(epsilon >= 0, op, "epsilon is ", epsilon, "; needs 0 or more");
}

// The normalised row n = (x - mean) r of a row of x, element by element.
template <class T>
struct Normaliser {
  simd::Vec<T> center, r, offset;

  Normaliser(int64_t width, const T* x, double epsilon) {
    const Moments<T> m = moments(width, x);
    const double root = std::sqrt(m.squares / static_cast<double>(width) + epsilon);
    center = simd::set<T>(m.center);
    r = simd::set<T>(static_cast<T>(1 / root));
    offset = simd::set<T>(static_cast<T>(-m.rest / root));
  }
  simd::Vec<T> operator()(simd::Vec<T> x) const { return simd::multiply_add(x - center, r, offset); }
};

// One row of the gradients: dx is written, dweight and dbias are added to.
//   dx = r (g - mean(g) - n mean(g n)) with g = dy weight, n the normalised x      dweight += dy n      dbias += dy
template <class T>
void add_gradients_of_row(int64_t width, const Normaliser<T>& normalised, const T* x, const T* weight, const T* dy,
                          T* dx, T* dweight, T* dbias) {
  const auto terms = [&](auto v, auto d, auto w) {
    const auto g = d * w;
    return std::pair(g, g * normalised(v));
  };
  const auto [sum, dot] = simd::sum_pair<T>(width, terms, x, dy, weight);
  const simd::Vec<T> mean = simd::set<T>(sum / static_cast<T>(width));
  const simd::Vec<T> along = simd::set<T>(-dot / static_cast<T>(width));
  const auto block = [&](int64_t i, auto load, auto store) {
    const simd::Vec<T> d = load(dy + i), n = normalised(load(x + i)), g = d * load(weight + i);
    store(simd::multiply_add(n, along, g - mean) * normalised.r, dx + i);
    store(simd::multiply_add(d, n, load(dweight + i)), dweight + i);
    store(load(dbias + i) + d, dbias + i);
  };
  int64_t i = 0;
  for (; i + simd::lanes<T> <= width; i += simd::lanes<T>) block(i, simd::load<T>, simd::store<T>);
  const int64_t rest = width - i;
  if (rest > 0)
    block(
        i, [rest](const T* p) { return simd::load_first<T>(rest, p); },
        [rest](simd::Vec<T> v, T* p) { simd::store_first<T>(rest, v, p); });
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  require_arguments("layer_norm", x, weight, epsilon);
  require_vector("layer_norm", x, "bias", bias);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::layer_norm(x, weight, bias, epsilon);
  return with_float("layer_norm", x.dtype(), [&]<class T>() {
    const Tensor from = dense_rows(x), scale = weight.contiguous(), offset = bias.contiguous();
    const Tensor y = Tensor::empty_like(from);
    const int64_t width = x.extent(-1);
    if (y.size() == 0) return y;
    const RowLoop<2> rows(x.shape().without(-1), {y.strides(), from.strides()});
    rows.run(width, [&](const std::array<int64_t, 2>& at) {
      const T* const x_row = from.data<T>() + at[1];
      simd::ask_ahead(width, x_row);
      const Normaliser<T> normalised(width, x_row, epsilon);
      simd::map(
          width, y.data<T>() + at[0], [&](auto v, auto w, auto b) { return simd::multiply_add(normalised(v), w, b); },
          x_row, scale.data<T>(), offset.data<T>());
    });
    return y;
  });
}

LayerNormGradients layer_norm_backward(const Tensor& x, const Tensor& weight, double epsilon, const Tensor& dy) {
  require_arguments("layer_norm_backward", x, weight, epsilon);
  require_same_shape("layer_norm_backward", "x", x, "dy", dy);
  require_same_dtype("layer_norm_backward", "x", x, "dy", dy);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::layer_norm_backward(x, weight, epsilon, dy);
  return with_float("layer_norm_backward", x.dtype(), [&]<class T>() -> LayerNormGradients {
    const Tensor from_x = dense_rows(x), from_dy = dense_rows(dy), dense_weight = weight.contiguous();
    const Tensor dx = Tensor::empty_like(from_x);
    const int64_t width = x.extent(-1);
    if (dx.size() == 0) return {dx, Tensor::zeros({width}, x.dtype()), Tensor::zeros({width}, x.dtype())};
    const RowLoop<3> rows(x.shape().without(-1), {dx.strides(), from_x.strides(), from_dy.strides()});
    // Each tile of rows sums into rows of its own, dweight and dbias; they are added in order afterwards. Tiles hold
    // enough rows for that sum to be small beside them.
    const int64_t tile = std::max<int64_t>(16, 65536 / width);
    const Tensor tile_sums = Tensor::zeros({(rows.count() + tile - 1) / tile, 2, width}, x.dtype());
    parallel_for(rows.count(), tile, [&](int64_t begin, int64_t end) {
      T* const dweight = tile_sums.data<T>() + begin / tile * 2 * width;
      T* const dbias = dweight + width;
      const T* const w = dense_weight.data<T>();
      for (int64_t row = begin; row < end; ++row) {
        const std::array<int64_t, 3> at = rows.offsets(row);
        const T* const x_row = from_x.data<T>() + at[1];
        const T* const dy_row = from_dy.data<T>() + at[2];
        add_gradients_of_row(width, Normaliser<T>(width, x_row, epsilon), x_row, w, dy_row, dx.data<T>() + at[0],
                             dweight, dbias);
      }
    });
    const Tensor sums = sum(tile_sums, {0}).select(0, 0);
    return {dx, sums.select(0, 0), sums.select(0, 1)};
  });
}

}  // namespace phasor
