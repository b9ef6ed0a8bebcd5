// Cross-entropy: a row of logits is read once, or in chunks where it is long; probabilities are written by the backward
// pass alone. How many rows count is found on the GPU.
#include "core/ops/cross_entropy.hpp"

#include "core/dispatch.hpp"
#include "cuda/rows.cuh"

namespace phasor::cuda {
namespace {

// The targets, whose places are row-major, and which of them are left out.
struct Targets {
  const int64_t* ids;
  int64_t ignore;

  __device__ bool counts(int64_t place) const { return ids[place] != ignore; }
};

// Places: of logits, losses.
template <class Plan, class T>
__global__ void __launch_bounds__(Plan::threads)
    loss_kernel(Places<2> rows, int classes, double* losses, const T* logits, Targets targets) {
  using A = Computed<T>;
  const int64_t number = Plan::row();
  if (number >= rows.size) return;
  int64_t at[2];
  rows.at(number, at);
  const Row<Plan, T> row(classes, logits + at[0]);
  double loss = 0;
  if (targets.counts(at[1])) {
    const ScaledSum<A> s = scaled_sum<Plan, A>(row);
    const int64_t target = targets.ids[at[1]];
    // A target outside shows as NaN: while a graph is recorded nobody checks it.
    const double wanted = static_cast<uint64_t>(target) < static_cast<uint64_t>(classes)
                              ? static_cast<double>(static_cast<A>(logits[at[0] + target]))
                              : static_cast<double>(NAN);
    loss = static_cast<double>(s.largest) - wanted + static_cast<double>(std::log(s.sum));
  }
  if (Plan::thread() == 0) losses[at[1]] = loss;
}

// dlogits = (softmax - onehot) dloss / counted. Places: of dlogits, logits, targets, dloss. `counted`: of how many rows
// the mean was taken; nullptr: of none.
template <class Plan, class T>
__global__ void __launch_bounds__(Plan::threads)
    gradient_kernel(Places<4> rows, int classes, T* dlogits, const T* logits, Targets targets, const T* dloss,
                    const double* counted) {
  using A = Computed<T>;
  const int64_t number = Plan::row();
  if (number >= rows.size) return;
  int64_t at[4];
  rows.at(number, at);
  const Row<Plan, T> row(classes, logits + at[1]);
  T* const to = dlogits + at[0];
  if (!targets.counts(at[2])) {
    row.map(to, [](int, A) { return A(0); });
    return;
  }
  A factor = static_cast<A>(dloss[at[3]]);
  if (counted) factor /= static_cast<A>(*counted);
  const ScaledSum<A> s = scaled_sum<Plan, A>(row);
  const A inverse = 1 / s.sum;
  const int64_t target = targets.ids[at[2]];
  row.map(to, [&](int i, A x) { return (std::exp(x - s.largest) * inverse - (i == target ? A(1) : A(0))) * factor; });
}

constexpr int mean_threads = 256, most_parts = 128;

using SumAndCount = Sums<double, 2>;

// parts[block] = the sum of losses of some rows, and how many of them count. Without losses the sum is 0.
__global__ void __launch_bounds__(mean_threads)
    add_losses_kernel(int64_t rows, const double* losses, Targets targets, SumAndCount* parts) {
  const int64_t begin = rows * blockIdx.x / gridDim.x, end = rows * (blockIdx.x + 1) / gridDim.x;
  SumAndCount own = {};
#pragma unroll 4
  for (int64_t row = begin + threadIdx.x; row < end; row += mean_threads) {
    if (losses) own.values[0] += losses[row];
    own.values[1] += targets.counts(row) ? 1 : 0;
  }
  const SumAndCount all = block_reduced<mean_threads>(own, static_cast<int>(threadIdx.x), AddEach());
  if (threadIdx.x == 0) parts[blockIdx.x] = all;
}

// *mean and *counted where they are wanted. One warp.
template <class T>
__global__ void __launch_bounds__(warp) mean_kernel(int count, const SumAndCount* parts, T* mean, double* counted) {
  SumAndCount own = {};
  for (int i = static_cast<int>(threadIdx.x); i < count; i += warp) own = AddEach()(own, parts[i]);
  const SumAndCount all = warp_reduced(own, static_cast<int>(threadIdx.x), AddEach());
  if (threadIdx.x != 0) return;
  if (mean) *mean = static_cast<T>(all.values[0] / all.values[1]);
  if (counted) *counted = all.values[1];
}

template <class T>
void take_mean(const char* op, int64_t rows, const double* losses, const Targets& targets, T* mean, double* counted) {
  const int64_t blocks = std::clamp<int64_t>(pieces(rows, 4 * mean_threads), 1, most_parts);
  const Tensor work = Tensor::empty({blocks, 2}, Dtype::f64, Device::cuda);
  auto* const parts = reinterpret_cast<SumAndCount*>(work.data<double>());
  launch(op, add_losses_kernel, Grid{blocks}, mean_threads, 0, rows, losses, targets, parts);
  launch(op, mean_kernel<T>, Grid{1}, warp, 0, static_cast<int>(blocks), static_cast<const SumAndCount*>(parts), mean,
         counted);
}

// The loss of each row in row-major order, in f64.
Tensor row_losses(const char* op, const Tensor& logits, const Tensor& targets, int64_t ignore) {
  if (logits.size() == 0) return Tensor::zeros(targets.shape(), Dtype::f64, Device::cuda);  // no row, or all ignored
  const Tensor losses = Tensor::empty(targets.shape(), Dtype::f64, Device::cuda);
  const int classes = checked_width(op, logits);
  with_any_float(op, logits.dtype(), [&]<class T>() {
    const Tensor from = dense_rows(logits);
    const auto rows = places_of<2>(targets.shape(), {from.strides(), losses.strides()});
    with_row_plan<T>(classes, has_whole_packs<T>(from), [&]<class Plan>() {
      launch(op, loss_kernel<Plan, T>, Grid{pieces(rows.size, Plan::teams)}, row_block<Plan>(), 0, rows, classes,
             losses.data<double>(), static_cast<const T*>(from.data<T>()), Targets{targets.data<int64_t>(), ignore});
    });
  });
  return losses;
}

}  // namespace

Tensor cross_entropy_by_row(const Tensor& logits, const Tensor& targets, int64_t ignore) {
  return row_losses("cross_entropy_by_row", logits, targets, ignore).to(logits.dtype());
}

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, int64_t ignore) {
  const char* const op = "cross_entropy";
  const Tensor losses = row_losses(op, logits, targets, ignore), mean = Tensor::empty({}, logits.dtype(), Device::cuda);
  with_any_float(op, logits.dtype(), [&]<class T>() {
    take_mean<T>(op, targets.size(), losses.data<double>(), Targets{targets.data<int64_t>(), ignore}, mean.data<T>(),
                 nullptr);
  });
  return mean;
}

Tensor cross_entropy_backward(const Tensor& logits, const Tensor& targets, int64_t ignore, const Tensor& dloss) {
  const char* const op = "cross_entropy_backward";
  const Tensor from = dense_rows(logits), dlogits = Tensor::empty_like(from);
  if (dlogits.size() == 0) return dlogits;
  const Targets of{targets.data<int64_t>(), ignore};
  Tensor counted;
  if (dloss.rank() == 0 && targets.rank() > 0) {
    counted = Tensor::empty({}, Dtype::f64, Device::cuda);
    take_mean<double>(op, targets.size(), nullptr, of, nullptr, counted.data<double>());
  }
  const int classes = checked_width(op, logits);
  with_any_float(op, logits.dtype(), [&]<class T>() {
    const Tensor weights = dloss.broadcast_to(targets.shape());
    const auto rows =
        places_of<4>(targets.shape(), {dlogits.strides(), from.strides(), targets.strides(), weights.strides()});
    with_row_plan<T>(classes, has_whole_packs<T>(from) && has_whole_packs<T>(dlogits), [&]<class Plan>() {
      launch(op, gradient_kernel<Plan, T>, Grid{pieces(rows.size, Plan::teams)}, row_block<Plan>(), 0, rows, classes,
             dlogits.data<T>(), static_cast<const T*>(from.data<T>()), of, static_cast<const T*>(weights.data<T>()),
             counted.defined() ? static_cast<const double*>(counted.data<double>()) : nullptr);
    });
  });
  return dlogits;
}

}  // namespace phasor::cuda
