// Layer norm: forward and backward each read a row from memory once; mean and variance are two passes over registers.
#include "core/ops/layer_norm.hpp"

#include "core/dispatch.hpp"
#include "cuda/norm.cuh"

namespace phasor::cuda {
namespace {

// The mean is found in two steps: a center from differences to the row's first number, so that equal numbers have
// themselves as mean; then what the rounding of the center left out (core/moments.hpp).
template <class A>
struct Normaliser {
  A center, r, offset;

  // From the sums of x - center and of its square.
  __device__ Normaliser(int width, A center_, A sum, A sum_of_squares, A epsilon) : center(center_) {
    const A rest = sum / static_cast<A>(width), squares = sum_of_squares - sum * rest;
    r = 1 / std::sqrt((squares < 0 ? A(0) : squares) / static_cast<A>(width) + epsilon);
    offset = -rest * r;
  }
  __device__ A operator()(A x) const { return std::fma(x - center, r, offset); }
};

template <class Plan, class A, class... X>
__device__ A center_of(int width, const Row<Plan, X...>& row, A first) {
  A own = 0;
  row.each([&](int, A x, auto...) { own += x - first; });
  return first + Plan::sum(own) / static_cast<A>(width);
}

template <class Plan, class T>
__global__ void __launch_bounds__(Plan::threads)
    layer_norm_kernel(Places<2> rows, int width, Computed<T> epsilon, T* y, const T* x, const Computed<T>* weight,
                      const Computed<T>* bias) {
  using A = Computed<T>;
  const int64_t number = Plan::row();
  if (number >= rows.size) return;
  int64_t at[2];
  rows.at(number, at);
  const Row<Plan, T> row(width, x + at[1]);
  const A center = center_of<Plan, A>(width, row, static_cast<A>(x[at[1]]));
  Sums<A, 2> own = {};
  row.each([&](int, A v) {
    const A d = v - center;
    own.values[0] += d;
    own.values[1] += d * d;
  });
  const Sums<A, 2> sums = Plan::reduced(own, AddEach());
  const Normaliser<A> normalised(width, center, sums.values[0], sums.values[1], epsilon);
  T* const to = y + at[0];
  row.each_pack([&](int i, const auto& v) {
    const Pack<A, Plan::count> w = load_pack<Plan::count>(weight + i), b = load_pack<Plan::count>(bias + i);
    Pack<T, Plan::count> result;
#pragma unroll
    for (int k = 0; k < Plan::count; ++k)
      result.values[k] = static_cast<T>(std::fma(normalised(v[k]), w.values[k], b.values[k]));
    store_pack<Plan::count>(to + i, result);
  });
}

// dx = r (g - mean(g) - n mean(g n)) with g = dy weight, n the normalised x; dweight += dy n, dbias += dy. Places: of
// dx, x, dy. parts [2, blocks, width]: of dweight, of dbias
template <class Plan, class T>
__global__ void __launch_bounds__(Plan::threads)
    layer_norm_backward_kernel(Places<3> rows, int width, Computed<T> epsilon, T* dx, const T* x, const T* dy,
                               const Computed<T>* weight, Computed<T>* parts) {
  using A = Computed<T>;
  constexpr int count = Plan::count;
  const RowRange range(rows.size);
  ColumnSums<Plan, A> dweight(parts + static_cast<int64_t>(blockIdx.x) * width);
  ColumnSums<Plan, A> dbias(parts + (static_cast<int64_t>(gridDim.x) + blockIdx.x) * width);
  for (int64_t number = range.begin + threadIdx.y; number < range.end; number += Plan::teams) {
    int64_t at[3];
    rows.at(number, at);
    const Row<Plan, T, T> row(width, x + at[1], dy + at[2]);
    const A center = center_of<Plan, A>(width, row, static_cast<A>(x[at[1]]));
    Sums<A, 4> own = {};  // of d = x - center, d^2, g, g d
    row.each_pack([&](int i, const auto& v, const auto& dv) {
      const Pack<A, count> w = load_pack<count>(weight + i);
#pragma unroll
      for (int k = 0; k < count; ++k) {
        const A d = v[k] - center, g = dv[k] * w.values[k];
        own.values[0] += d;
        own.values[1] += d * d;
        own.values[2] += g;
        own.values[3] += g * d;
      }
    });
    const Sums<A, 4> sums = Plan::reduced(own, AddEach());
    const Normaliser<A> normalised(width, center, sums.values[0], sums.values[1], epsilon);
    const A mean = sums.values[2] / static_cast<A>(width);
    const A along = std::fma(sums.values[3], normalised.r, sums.values[2] * normalised.offset) / static_cast<A>(width);
    row.each_numbered_pack([&](int p, int i, const auto& v, const auto& dv) {
      const Pack<A, count> w = load_pack<count>(weight + i);
      Pack<T, count> result;
      A products[count];
#pragma unroll
      for (int k = 0; k < count; ++k) {
        const A n = normalised(v[k]);
        result.values[k] = static_cast<T>(std::fma(n, -along, dv[k] * w.values[k] - mean) * normalised.r);
        products[k] = dv[k] * n;
      }
      store_pack<count>(dx + at[0] + i, result);
      dweight.add(p, i, number == range.begin, products);
      dbias.add(p, i, number == range.begin, dv);
    });
  }
  dweight.finish(width);
  dbias.finish(width);
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double epsilon) {
  const Tensor from = dense_rows(x), y = Tensor::empty_like(from);
  if (y.size() == 0) return y;
  const int width = checked_width("layer_norm", x);
  with_any_float("layer_norm", x.dtype(), [&]<class T>() {
    using A = Computed<T>;
    const Tensor w = parameter<T>(weight), b = parameter<T>(bias);
    const auto rows = places_of_rows(y, from);
    const bool whole_packs =
        has_whole_packs<T>(y) && has_whole_packs<T>(from) && has_good_address<A>(w) && has_good_address<A>(b);
    with_row_plan<T>(width, whole_packs, [&]<class Plan>() {
      launch("layer_norm", layer_norm_kernel<Plan, T>, Grid{pieces(rows.size, Plan::teams)}, row_block<Plan>(), 0, rows,
             width, static_cast<A>(epsilon), y.data<T>(), static_cast<const T*>(from.data<T>()),
             static_cast<const A*>(w.data<A>()), static_cast<const A*>(b.data<A>()));
    });
  });
  return y;
}

LayerNormGradients layer_norm_backward(const Tensor& x, const Tensor& weight, double epsilon, const Tensor& dy) {
  const char* const op = "layer_norm_backward";
  const Tensor from_x = dense_rows(x), from_dy = dense_rows(dy), dx = Tensor::empty_like(from_x);
  if (dx.size() == 0) {
    const Tensor zeros = Tensor::zeros(weight.shape(), weight.dtype(), Device::cuda);
    return {dx, zeros, zeros};
  }
  const int width = checked_width(op, x);
  return with_any_float(op, x.dtype(), [&]<class T>() -> LayerNormGradients {
    using A = Computed<T>;
    const Tensor w = parameter<T>(weight);
    const auto rows = places_of_rows(dx, from_x, from_dy);
    const bool whole_packs =
        has_whole_packs<T>(dx) && has_whole_packs<T>(from_x) && has_whole_packs<T>(from_dy) && has_good_address<A>(w);
    Tensor parts;
    with_row_plan<T>(width, whole_packs, [&]<class Plan>() {
      const int64_t blocks = row_blocks<Plan>(rows.size);
      parts = Tensor::empty({2, blocks, width}, dtype_of<A>, Device::cuda);
      launch(op, layer_norm_backward_kernel<Plan, T>, Grid{blocks}, row_block<Plan>(), 0, rows, width,
             static_cast<A>(epsilon), dx.data<T>(), static_cast<const T*>(from_x.data<T>()),
             static_cast<const T*>(from_dy.data<T>()), static_cast<const A*>(w.data<A>()), parts.data<A>());
    });
    return {dx, sum_of_parts(parts.select(0, 0), weight.dtype()), sum_of_parts(parts.select(0, 1), weight.dtype())};
  });
}

}  // namespace phasor::cuda
