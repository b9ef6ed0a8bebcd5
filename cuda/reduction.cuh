// How a reduction walks a tensor on the GPU, the device side of core/ops/reduce_kernel.hpp. Where neighbouring numbers
// are reduced, a team of threads has an output, or a piece of one; where they are kept, threads side by side have
// outputs side by side. Summaries of pieces are merged by a second kernel.
//
// An Op is a struct of static functions:
//   Summary                  what is known of some numbers; nothing() is that of none
//   of(x, valid, index)      of the first `valid` >= 1 numbers of an array; index(k) is the place of x[k] among all
//   merge(a, b)              of both
//   result(summary)
#pragma once

#include "core/dispatch.hpp"
#include "cuda/elementwise.cuh"
#include "cuda/reduce.cuh"

namespace phasor::cuda {
namespace {

constexpr int reduce_threads = 256;
constexpr int batch = 8;  // numbers that a thread has on their way from memory

template <class Op>
struct Merge {
  using Summary = typename Op::Summary;
  __device__ Summary operator()(const Summary& a, const Summary& b) const { return Op::merge(a, b); }
};

// Which part of the reduced indices a block or team takes.
struct Share {
  int64_t size, of_piece, pieces;

  __device__ int64_t begin(int64_t piece) const { return piece * of_piece; }
  __device__ int64_t end(int64_t piece) const {
    const int64_t end = (piece + 1) * of_piece;
    return end < size ? end : size;
  }
};

// Where reduced neighbours lie: nearly always along one axis. Those along several are fewer than 2^31.
__device__ inline int64_t offset_of(const Places<1>& reduced, int64_t i) {
  if (reduced.rank == 1) return i * reduced.steps[0][0];
  int32_t place[1];
  reduced.at(static_cast<uint32_t>(i), place);
  return place[0];
}

// Adds numbers begin, begin + step, ... below end to the summary: load(i, x) reads the `count` numbers at place i into
// x, and index(i) is the place of the first of them.
template <class Op, int count, class A, class Load>
__device__ void add_numbers(typename Op::Summary& summary, int64_t begin, int64_t end, int64_t step, const Load& load) {
  constexpr int loads = batch / count;
  for (int64_t i = begin; i < end; i += loads * step) {
    A x[batch];
    const auto index = [&](int k) { return (i + k / count * step) * count + k % count; };
    if (i + (loads - 1) * step < end) {
#pragma unroll
      for (int j = 0; j < loads; ++j) load(i + j * step, x + j * count);
      summary = Op::merge(summary, Op::of(x, std::integral_constant<int, batch>(), index));
    } else {
      int valid = 0;
#pragma unroll
      for (int j = 0; j < loads; ++j) {
        if (i + j * step >= end) continue;
        load(i + j * step, x + j * count);
        valid += count;
      }
      summary = Op::merge(summary, Op::of(x, valid, index));
    }
  }
}

// Places: of outputs in x and y; of packs of `count` reduced neighbours in x. A team is a part of a warp, a warp or the
// block: blockDim.x.
template <class Op, int count, class R, class T>
__global__ void __launch_bounds__(reduce_threads)
    runs_kernel(Places<2> kept, Places<1> reduced, Share share, R* y, const T* x, typename Op::Summary* parts) {
  using A = Computed<T>;
  const int thread = static_cast<int>(threadIdx.x), team = static_cast<int>(blockDim.x);
  const int64_t number = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const int64_t output = number / share.pieces, piece = number - output * share.pieces;
  // A team without work comes along: its warp reduces together.
  const bool has_work = output < kept.size;
  int64_t at[2] = {};
  if (has_work) kept.at(output, at);
  auto summary = Op::nothing();
  if (has_work)
    add_numbers<Op, count, A>(summary, share.begin(piece) + thread, share.end(piece), team, [&](int64_t i, A* numbers) {
      const Pack<T, count> pack = load_pack<count>(x + at[0] + offset_of(reduced, i));
#pragma unroll
      for (int k = 0; k < count; ++k) numbers[k] = static_cast<A>(pack.values[k]);
    });
  if (team <= warp)
    summary = warp_reduced(summary, thread, Merge<Op>(), team);
  else
    summary = block_reduced<reduce_threads>(summary, thread, Merge<Op>());
  if (thread != 0 || !has_work) return;
  if (share.pieces == 1)
    y[at[1]] = static_cast<R>(Op::result(summary));
  else
    parts[piece * kept.size + output] = summary;
}

// Of the threads with one threadIdx.x the first gets the merged summaries.
template <class Op>
__device__ typename Op::Summary merged_down(const typename Op::Summary& summary) {
  __shared__ typename Op::Summary all[reduce_threads];
  typename Op::Summary* const own = all + threadIdx.y * blockDim.x + threadIdx.x;
  *own = summary;
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) *own = Op::merge(*own, own[half * blockDim.x]);
  }
  return *own;
}

// Outputs side by side, each with a column of threads.
template <class Op, class R, class T>
__global__ void __launch_bounds__(reduce_threads)
    columns_kernel(Places<2> kept, Places<1> reduced, Share share, R* y, const T* x, typename Op::Summary* parts) {
  using A = Computed<T>;
  const int64_t output = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, piece = blockIdx.y;
  const bool has_work = output < kept.size;
  int64_t at[2] = {};
  auto summary = Op::nothing();
  if (has_work) {
    kept.at(output, at);
    add_numbers<Op, 1, A>(summary, share.begin(piece) + threadIdx.y, share.end(piece), blockDim.y,
                          [&](int64_t i, A* number) { *number = static_cast<A>(x[at[0] + offset_of(reduced, i)]); });
  }
  summary = merged_down<Op>(summary);
  if (threadIdx.y != 0 || !has_work) return;
  if (share.pieces == 1)
    y[at[1]] = static_cast<R>(Op::result(summary));
  else
    parts[piece * kept.size + output] = summary;
}

template <class Op, class R>
__global__ void __launch_bounds__(reduce_threads)
    merge_kernel(Places<2> kept, int64_t pieces, R* y, const typename Op::Summary* parts) {
  const int64_t output = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  auto summary = Op::nothing();
  if (output < kept.size) {
#pragma unroll 4
    for (int64_t piece = threadIdx.y; piece < pieces; piece += blockDim.y)
      summary = Op::merge(summary, parts[piece * kept.size + output]);
  }
  summary = merged_down<Op>(summary);
  if (threadIdx.y != 0 || output >= kept.size) return;
  int64_t at[2];
  kept.at(output, at);
  y[at[1]] = static_cast<R>(Op::result(summary));
}

// Threads side by side for n outputs; a warp, or more where a column of `size` numbers is short.
inline Block columns_block(int64_t n, int64_t size) {
  unsigned widest = warp, across = 1;
  while (widest < reduce_threads && reduce_threads / widest * batch > size) widest *= 2;
  while (across < widest && across < n) across *= 2;
  return Block(across, reduce_threads / across);
}

// Whether packs that begin where outputs do have good addresses, if their first has.
inline bool begins_at_packs(const Places<2>& kept, int count) {
  for (int axis = 0; axis < kept.rank; ++axis)
    if (kept.extents[axis] > 1 && kept.steps[axis][0] % count != 0) return false;
  return true;
}

// Pieces of `size` reduced indices, of at least `least` each, so that there are about 1024 blocks: enough for any GPU,
// and the same on each.
inline Share shared_out(int64_t size, int64_t blocks, int64_t least) {
  constexpr int64_t wanted = 1024;
  const int64_t count = std::clamp<int64_t>(wanted / std::max<int64_t>(blocks, 1), 1, pieces(size, least));
  const int64_t of_piece = pieces(size, count);
  return {size, of_piece, pieces(size, of_piece)};
}

// Work space for n summaries.
template <class Summary>
Tensor summaries(int64_t n) {
  static_assert(sizeof(Summary) % sizeof(int32_t) == 0);
  return Tensor::empty({n * static_cast<int64_t>(sizeof(Summary) / sizeof(int32_t))}, Dtype::i32, Device::cuda);
}
template <class Summary>
Summary* first_summary(const Tensor& work) {
  return work.defined() ? reinterpret_cast<Summary*>(work.data<int32_t>()) : nullptr;
}

// Into y, of type R and of x's shape with extent 1 where it is reduced; x has elements.
template <template <class> class OpOf, class R, class T>
void reduce_into(const char* op, const Tensor& y, const Tensor& x) {
  using Op = OpOf<Computed<T>>;
  using Summary = typename Op::Summary;
  if (y.size() == 0) return;
  Shape inner = x.shape();
  for (int axis = 0; axis < x.rank(); ++axis)
    if (y.extent(axis) == x.extent(axis)) inner = inner.with(axis, 1);
  Tensor from = x;
  const auto places_of_kept = [&] { return places_of<2>(y.shape(), {from.strides(), y.strides()}); };
  const auto places_of_reduced = [&] { return places_of<1>(inner, {from.strides()}); };
  const auto step = [](const auto& places) { return places.steps[places.rank - 1][0]; };
  const auto is_in_columns = [&] { return y.size() > 1 && step(places_of_kept()) == 1; };
  if (!is_in_columns() && inner.size() > 1 && step(places_of_reduced()) != 1) from = x.contiguous();
  if (places_of_reduced().rank > 1 && !places_of_reduced().is_small) {
    // Half of the outputs, until there is one, for which everything is reduced.
    for (int axis = 0; axis < y.rank(); ++axis) {
      const int64_t extent = y.extent(axis);
      if (extent == 1) continue;
      reduce_into<OpOf, R, T>(op, y.slice(axis, 0, extent / 2), x.slice(axis, 0, extent / 2));
      return reduce_into<OpOf, R, T>(op, y.slice(axis, extent / 2, extent), x.slice(axis, extent / 2, extent));
    }
    from = x.contiguous();
  }
  const Places<2> kept = places_of_kept();
  Places<1> reduced = places_of_reduced();
  Tensor parts;
  const auto get_parts = [&](const Share& share) {
    if (share.pieces > 1) parts = summaries<Summary>(share.pieces * kept.size);
  };
  Share share;
  if (is_in_columns()) {
    const Block block = columns_block(kept.size, reduced.size);
    const int64_t blocks = pieces(kept.size, block.x);
    share = shared_out(reduced.size, blocks, int64_t{2} * batch * block.y);
    get_parts(share);
    launch(op, columns_kernel<Op, R, T>, Grid{blocks, share.pieces}, block, 0, kept, reduced, share, y.data<R>(),
           static_cast<const T*>(from.data<T>()), first_summary<Summary>(parts));
  } else {
    constexpr int count = sizeof(T) == 8 ? 1 : 16 / sizeof(T);
    const int64_t size = reduced.size;
    // Short rows of packs share a warp.
    const int team = size <= 128 ? 8 : size <= 2048 ? warp : reduce_threads;
    unsigned repeated = 0;
    const bool in_packs =
        count > 1 && begins_at_packs(kept, count) &&
        pack<1>(reduced, repeated, count, 1, {reinterpret_cast<uintptr_t>(from.data<T>())}, {sizeof(T)});
    const int64_t least = int64_t{2} * reduce_threads * batch / (in_packs ? count : 1);
    share = shared_out(reduced.size, team == reduce_threads ? kept.size : int64_t{1024}, least);
    get_parts(share);
    const auto run = [&]<int of_pack>() {
      const auto block = static_cast<unsigned>(team);
      launch(op, runs_kernel<Op, of_pack, R, T>, Grid{pieces(kept.size * share.pieces, reduce_threads / team)},
             Block(block, reduce_threads / block), 0, kept, reduced, share, y.data<R>(),
             static_cast<const T*>(from.data<T>()), first_summary<Summary>(parts));
    };
    if (in_packs)
      run.template operator()<count>();
    else
      run.template operator()<1>();
  }
  if (share.pieces == 1) return;
  const Block block = columns_block(kept.size, share.pieces);
  launch(op, merge_kernel<Op, R>, Grid{pieces(kept.size, block.x)}, block, 0, kept, share.pieces, y.data<R>(),
         static_cast<const Summary*>(first_summary<Summary>(parts)));
}

// `kept` is x's shape with extent 1 for the axes that are reduced. Of type R; of x's own where that is void.
template <template <class> class OpOf, class Result = void>
Tensor reduced(const char* op, const Tensor& x, const Shape& kept) {
  return with_any_float(op, x.dtype(), [&]<class T>() {
    using R = std::conditional_t<std::is_void_v<Result>, T, Result>;
    const Tensor y = Tensor::empty(kept, dtype_of<R>, Device::cuda);
    reduce_into<OpOf, R, T>(op, y, x);
    return y;
  });
}
// Of the type that x is computed in.
template <template <class> class OpOf>
Tensor reduced_exactly(const char* op, const Tensor& x, const Shape& kept) {
  return with_any_float(op, x.dtype(), [&]<class T>() {
    const Tensor y = Tensor::empty(kept, dtype_of<Computed<T>>, Device::cuda);
    reduce_into<OpOf, Computed<T>, T>(op, y, x);
    return y;
  });
}

}  // namespace
}  // namespace phasor::cuda
