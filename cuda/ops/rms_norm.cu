// Root-mean-square norm: forward and backward each read a row from memory once.
#include "core/ops/rms_norm.hpp"

#include "core/dispatch.hpp"
#include "cuda/norm.cuh"

namespace phasor::cuda {
namespace {

// r = 1 / sqrt(mean(x^2) + epsilon)
template <class A>
__device__ A inverse_root(int width, A squares, A epsilon) {
  return 1 / std::sqrt(squares / static_cast<A>(width) + epsilon);
}

template <class Plan, class T>
__global__ void __launch_bounds__(Plan::threads)
    rms_norm_kernel(Places<2> rows, int width, Computed<T> epsilon, T* y, const T* x, const Computed<T>* weight) {
  using A = Computed<T>;
  const int64_t number = Plan::row();
  if (number >= rows.size) return;
  int64_t at[2];
  rows.at(number, at);
  const Row<Plan, T> row(width, x + at[1]);
  A own = 0;
  row.each([&](int, A v) { own += v * v; });
  const A r = inverse_root(width, Plan::sum(own), epsilon);
  T* const to = y + at[0];
  row.each_pack([&](int i, const auto& v) {
    const Pack<A, Plan::count> w = load_pack<Plan::count>(weight + i);
    Pack<T, Plan::count> result;
#pragma unroll
    for (int k = 0; k < Plan::count; ++k) result.values[k] = static_cast<T>(v[k] * r * w.values[k]);
    store_pack<Plan::count>(to + i, result);
  });
}

// dx = r g - x r^3 mean(g x) with g = dy weight, then the addend where there is one; dweight += dy r x. Places: of dx,
// x, dy, addend. parts [blocks, width]
template <class Plan, class T>
__global__ void __launch_bounds__(Plan::threads)
    rms_norm_backward_kernel(Places<4> rows, int width, Computed<T> epsilon, T* dx, const T* x, const T* dy,
                             const T* addend, const Computed<T>* weight, Computed<T>* parts) {
  using A = Computed<T>;
  constexpr int count = Plan::count;
  const RowRange range(rows.size);
  ColumnSums<Plan, A> dweight(parts + static_cast<int64_t>(blockIdx.x) * width);
  for (int64_t number = range.begin + threadIdx.y; number < range.end; number += Plan::teams) {
    int64_t at[4];
    rows.at(number, at);
    const Row<Plan, T, T> row(width, x + at[1], dy + at[2]);
    Sums<A, 2> own = {};  // of x^2, of g x
    row.each_pack([&](int i, const auto& v, const auto& d) {
      const Pack<A, count> w = load_pack<count>(weight + i);
#pragma unroll
      for (int k = 0; k < count; ++k) {
        own.values[0] += v[k] * v[k];
        own.values[1] += v[k] * (d[k] * w.values[k]);
      }
    });
    const Sums<A, 2> sums = Plan::reduced(own, AddEach());
    const A r = inverse_root(width, sums.values[0], epsilon);
    const A shrink = r * r * r * (sums.values[1] / static_cast<A>(width));
    row.each_numbered_pack([&](int p, int i, const auto& v, const auto& d) {
      const Pack<A, count> w = load_pack<count>(weight + i);
      Pack<T, count> result;
      A products[count];
#pragma unroll
      for (int k = 0; k < count; ++k) {
        const A scaled = d[k] * r;
        result.values[k] = static_cast<T>(scaled * w.values[k] - v[k] * shrink);
        products[k] = scaled * v[k];
      }
      if (addend) {  // onto the rounded gradient, as add() would
        const Pack<T, count> others = load_pack<count>(addend + at[3] + i);
#pragma unroll
        for (int k = 0; k < count; ++k)
          result.values[k] = static_cast<T>(static_cast<A>(result.values[k]) + static_cast<A>(others.values[k]));
      }
      store_pack<count>(dx + at[0] + i, result);
      dweight.add(p, i, number == range.begin, products);
    });
  }
  dweight.finish(width);
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  const Tensor from = dense_rows(x), y = Tensor::empty_like(from);
  if (y.size() == 0) return y;
  const int width = checked_width("rms_norm", x);
  with_any_float("rms_norm", x.dtype(), [&]<class T>() {
    using A = Computed<T>;
    const Tensor w = parameter<T>(weight);
    const auto rows = places_of_rows(y, from);
    const bool whole_packs = has_whole_packs<T>(y) && has_whole_packs<T>(from) && has_good_address<A>(w);
    with_row_plan<T>(width, whole_packs, [&]<class Plan>() {
      launch("rms_norm", rms_norm_kernel<Plan, T>, Grid{pieces(rows.size, Plan::teams)}, row_block<Plan>(), 0, rows,
             width, static_cast<A>(epsilon), y.data<T>(), static_cast<const T*>(from.data<T>()),
             static_cast<const A*>(w.data<A>()));
    });
  });
  return y;
}

RmsNormGradients rms_norm_backward(const Tensor& x, const Tensor& weight, double epsilon, const Tensor& dy,
                                   const Tensor& addend) {
  const char* const op = "rms_norm_backward";
  const Tensor from_x = dense_rows(x), from_dy = dense_rows(dy), dx = Tensor::empty_like(from_x);
  const Tensor added = addend.defined() ? dense_rows(addend) : dx;
  if (dx.size() == 0) return {dx, Tensor::zeros(weight.shape(), weight.dtype(), Device::cuda)};
  const int width = checked_width(op, x);
  return with_any_float(op, x.dtype(), [&]<class T>() -> RmsNormGradients {
    using A = Computed<T>;
    const Tensor w = parameter<T>(weight);
    const auto rows = places_of_rows(dx, from_x, from_dy, added);
    const bool whole_packs = has_whole_packs<T>(dx) && has_whole_packs<T>(from_x) && has_whole_packs<T>(from_dy) &&
                             has_whole_packs<T>(added) && has_good_address<A>(w);
    Tensor parts;
    with_row_plan<T>(width, whole_packs, [&]<class Plan>() {
      const int64_t blocks = row_blocks<Plan>(rows.size);
      parts = Tensor::empty({blocks, width}, dtype_of<A>, Device::cuda);
      launch(op, rms_norm_backward_kernel<Plan, T>, Grid{blocks}, row_block<Plan>(), 0, rows, width,
             static_cast<A>(epsilon), dx.data<T>(), static_cast<const T*>(from_x.data<T>()),
             static_cast<const T*>(from_dy.data<T>()),
             addend.defined() ? static_cast<const T*>(added.data<T>()) : nullptr, static_cast<const A*>(w.data<A>()),
             parts.data<A>());
    });
    return {dx, sum_of_parts(parts, weight.dtype())};
  });
}

}  // namespace phasor::cuda
