// Softmax, its logarithm, and their gradients: rows read once. Lines along an axis with gaps are copied into rows and
// back.
#include "core/ops/softmax.hpp"

#include "core/dispatch.hpp"
#include "cuda/rows.cuh"

namespace phasor::cuda {
namespace {

struct Softmax {
  template <class Plan, class T>
  static __device__ void of_row(const Row<Plan, T>& row, T* y) {
    using A = Computed<T>;
    const ScaledSum<A> s = scaled_sum<Plan, A>(row);
    const A factor = 1 / s.sum;
    row.map(y, [&](int, A x) { return std::exp(x - s.largest) * factor; });
  }
};

struct LogSoftmax {
  // Two subtractions: largest + log(sum) could round away all of x - largest.
  template <class Plan, class T>
  static __device__ void of_row(const Row<Plan, T>& row, T* y) {
    using A = Computed<T>;
    const ScaledSum<A> s = scaled_sum<Plan, A>(row);
    const A rest = std::log(s.sum);
    row.map(y, [&](int, A x) { return x - s.largest - rest; });
  }
};

struct SoftmaxBackward {
  template <class Plan, class T>
  static __device__ void of_row(const Row<Plan, T, T>& row, T* dx) {
    using A = Computed<T>;
    A own = 0;
    row.each([&](int, A y, A dy) { own += y * dy; });
    const A total = Plan::sum(own);
    row.map(dx, [&](int, A y, A dy) { return y * (dy - total); });
  }
};

struct LogSoftmaxBackward {
  template <class Plan, class T>
  static __device__ void of_row(const Row<Plan, T, T>& row, T* dx) {
    using A = Computed<T>;
    A own = 0;
    row.each([&](int, A, A dy) { own += dy; });
    const A total = Plan::sum(own);
    row.map(dx, [&](int, A y, A dy) { return dy - std::exp(y) * total; });
  }
};

template <class F, class Plan, class T>
__global__ void __launch_bounds__(Plan::threads) row_kernel(Places<2> rows, int width, T* y, const T* x) {
  const int64_t number = Plan::row();
  if (number >= rows.size) return;
  int64_t at[2];
  rows.at(number, at);
  F::of_row(Row<Plan, T>(width, x + at[1]), y + at[0]);
}

template <class F, class Plan, class T>
__global__ void __launch_bounds__(Plan::threads)
    row_pair_kernel(Places<3> rows, int width, T* dx, const T* y, const T* dy) {
  const int64_t number = Plan::row();
  if (number >= rows.size) return;
  int64_t at[3];
  rows.at(number, at);
  F::of_row(Row<Plan, T, T>(width, y + at[1], dy + at[2]), dx + at[0]);
}

// A new tensor in the memory order of `like`. f(result, like, others...) writes it, on views whose last axis is `axis`
// and has no gaps.
template <class F, class... Others>
Tensor along_rows(int axis, const F& f, const Tensor& like, const Others&... others) {
  const Tensor result = Tensor::empty_like(like);
  if (result.size() == 0) return result;
  const auto last = [&](const Tensor& t) { return t.transpose(axis, -1); };
  const Tensor lines = last(result);
  if (lines.extent(-1) == 1 || lines.stride(-1) == 1) {
    f(lines, dense_rows(last(like)), dense_rows(last(others))...);
  } else {
    const Tensor dense = Tensor::empty(lines.shape(), like.dtype(), Device::cuda);
    f(dense, dense_rows(last(like)), dense_rows(last(others))...);
    cuda::copy_into(lines, dense);
  }
  return result;
}

template <class F>
Tensor of_lines(const char* op, const Tensor& x, int axis) {
  return with_any_float(op, x.dtype(), [&]<class T>() {
    const auto run = [&](const Tensor& y, const Tensor& from) {
      const auto rows = places_of_rows(y, from);
      const int width = checked_width(op, y);
      with_row_plan<T>(width, has_whole_packs<T>(y) && has_whole_packs<T>(from), [&]<class Plan>() {
        launch(op, row_kernel<F, Plan, T>, Grid{pieces(rows.size, Plan::teams)}, row_block<Plan>(), 0, rows, width,
               y.data<T>(), static_cast<const T*>(from.data<T>()));
      });
    };
    return along_rows(axis, run, x);
  });
}

template <class F>
Tensor of_pairs_of_lines(const char* op, const Tensor& y, const Tensor& dy, int axis) {
  return with_any_float(op, y.dtype(), [&]<class T>() {
    const auto run = [&](const Tensor& dx, const Tensor& from_y, const Tensor& from_dy) {
      const auto rows = places_of_rows(dx, from_y, from_dy);
      const int width = checked_width(op, dx);
      const bool whole_packs = has_whole_packs<T>(dx) && has_whole_packs<T>(from_y) && has_whole_packs<T>(from_dy);
      with_row_plan<T>(width, whole_packs, [&]<class Plan>() {
        launch(op, row_pair_kernel<F, Plan, T>, Grid{pieces(rows.size, Plan::teams)}, row_block<Plan>(), 0, rows, width,
               dx.data<T>(), static_cast<const T*>(from_y.data<T>()), static_cast<const T*>(from_dy.data<T>()));
      });
    };
    return along_rows(axis, run, y, dy);
  });
}

}  // namespace

Tensor softmax(const Tensor& x, int axis) { return of_lines<Softmax>("softmax", x, axis); }
Tensor log_softmax(const Tensor& x, int axis) { return of_lines<LogSoftmax>("log_softmax", x, axis); }

Tensor softmax_backward(const Tensor& y, const Tensor& dy, int axis) {
  return of_pairs_of_lines<SoftmaxBackward>("softmax_backward", y, dy, axis);
}
Tensor log_softmax_backward(const Tensor& y, const Tensor& dy, int axis) {
  return of_pairs_of_lines<LogSoftmaxBackward>("log_softmax_backward", y, dy, axis);
}

}  // namespace phasor::cuda
