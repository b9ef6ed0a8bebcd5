// Elements chosen by ids, and sums in the order of ids: the twin of core/ops/gather.cpp. Choosing moves bits, 16 bytes
// of a row at a time where one id stands for the whole row (index_select, embedding). The gradient of such choices is
// in gather_backward.cu.
#include "core/ops/gather.hpp"

#include "core/dispatch.hpp"
#include "cuda/elementwise.cuh"

namespace phasor::cuda {
namespace {

constexpr int threads = 256, each = 4;  // elements or packs of a thread, all on their way at once

// f.template operator()<W>() with the word of as many bytes as an element.
template <class F>
void with_word(Dtype dtype, F f) {
  with_any_float("gather", dtype, [&]<class T>() { f.template operator()<Bits<T>>(); });
}

template <class W>
W* words(const Tensor& x) {
  W* first = nullptr;
  with_any_float("gather", x.dtype(), [&]<class T>() { first = reinterpret_cast<W*>(x.data<T>()); });
  return first;
}

// places: of y, of x without the axis, of the id. step: of x along the axis.
template <class W, class Id>
__global__ void __launch_bounds__(threads)
    gather_kernel(Places<3> places, W* y, const W* x, const Id* ids, int64_t step) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (threads * each) + threadIdx.x;
  int64_t at[each][3];
  W values[each];
#pragma unroll
  for (int e = 0; e < each; ++e) {
    if (first + e * threads >= places.size) continue;
    places.at(first + e * threads, at[e]);
    values[e] = x[at[e][1] + static_cast<int64_t>(ids[at[e][2]]) * step];
  }
#pragma unroll
  for (int e = 0; e < each; ++e)
    if (first + e * threads < places.size) y[at[e][0]] = values[e];
}

// The same in packs of `count` elements, if every row is of whole packs that one id chooses.
bool pack_rows(Places<3>& places, int64_t& step, int count, uintptr_t y, uintptr_t x) {
  const int last = places.rank - 1;
  const int64_t(&row)[3] = places.steps[last];
  bool whole = row[0] == 1 && row[1] == 1 && row[2] == 0 && places.extents[last] % count == 0 && step % count == 0 &&
               y % 16 == 0 && x % 16 == 0;
  for (int axis = 0; axis < last; ++axis)
    whole = whole && places.steps[axis][0] % count == 0 && places.steps[axis][1] % count == 0;
  if (!whole) return false;
  places.extents[last] /= count;
  for (int axis = 0; axis < last; ++axis) places.steps[axis][0] /= count, places.steps[axis][1] /= count;
  step /= count;
  places.prepare();
  return true;
}

template <class W, class Id>
void launch_gather(const char* op, const Places<3>& places, W* y, const W* x, const Id* ids, int64_t step) {
  launch(op, gather_kernel<W, Id>, Grid{pieces(places.size, threads * each)}, threads, 0, places, y, x, ids, step);
}

// Everything that may meet at one element lies on one line along the axis.
struct Lines {
  Places<3> places;  // first elements of the lines: of y, the source, the ids
  int64_t extent, count;
  int64_t y_step, x_step, id_step;  // along the axis
};

// Where lines are rows a warp has one, and a lane the elements whose number is its own modulo 32: it adds in the order
// of ids, and no two lanes meet. The sums are in shared memory where they find room there.
template <class Y, class X, class Id, bool in_shared>
__global__ void __launch_bounds__(128) scatter_rows_kernel(Lines lines, Y* y, const X* x, const Id* ids) {
  PHASOR_SHARED(Y, memory);
  const int lane = static_cast<int>(threadIdx.x), warps = static_cast<int>(blockDim.y);
  const int of_warp = static_cast<int>(threadIdx.y);
  const int64_t line = static_cast<int64_t>(blockIdx.x) * warps + of_warp;
  if (line >= lines.places.size) return;
  int64_t at[3];
  lines.places.at(line, at);
  Y* const values = memory + of_warp * warp;
  Y* const sums = memory + warps * warp + of_warp * (in_shared ? lines.extent : 0);
  int* const chosen = reinterpret_cast<int*>(memory + warps * (warp + (in_shared ? lines.extent : 0))) + of_warp * warp;
  Y* const to = y + at[0];
  if constexpr (in_shared)
    for (int64_t e = lane; e < lines.extent; e += warp) sums[e] = to[e * lines.y_step];
  for (int64_t start = 0; start < lines.count; start += warp) {
    const int64_t i = start + lane;
    if (i < lines.count) {
      values[lane] = static_cast<Y>(x[at[1] + i * lines.x_step]);
      chosen[lane] = static_cast<int>(ids[at[2] + i * lines.id_step]);
    }
    __syncwarp();
    const int count = lines.count - start < warp ? static_cast<int>(lines.count - start) : warp;
#pragma unroll 8
    for (int j = 0; j < count; ++j) {
      const int id = chosen[j];
      if ((id & (warp - 1)) != lane) continue;
      if constexpr (in_shared)
        sums[id] += values[j];
      else
        to[id * lines.y_step] += values[j];
    }
    __syncwarp();
  }
  if constexpr (in_shared)
    for (int64_t e = lane; e < lines.extent; e += warp) to[e * lines.y_step] = sums[e];
}

// Where lines are columns a thread has one.
template <class Y, class X, class Id>
__global__ void __launch_bounds__(threads) scatter_columns_kernel(Lines lines, Y* y, const X* x, const Id* ids) {
  const int64_t line = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (line >= lines.places.size) return;
  int64_t at[3];
  lines.places.at(line, at);
  Y* const to = y + at[0];
  for (int64_t start = 0; start < lines.count; start += each) {
    Y value[each];
    int64_t id[each];
#pragma unroll
    for (int e = 0; e < each; ++e) {
      if (start + e >= lines.count) continue;
      value[e] = static_cast<Y>(x[at[1] + (start + e) * lines.x_step]);
      id[e] = static_cast<int64_t>(ids[at[2] + (start + e) * lines.id_step]);
    }
#pragma unroll
    for (int e = 0; e < each; ++e)
      if (start + e < lines.count) to[id[e] * lines.y_step] += value[e];
  }
}

template <class Y, class X, class Id>
void launch_scatter(const char* op, const Lines& lines, bool are_columns, Y* y, const X* x, const Id* ids) {
  const int64_t count = lines.places.size;
  if (are_columns) {
    launch(op, scatter_columns_kernel<Y, X, Id>, Grid{pieces(count, threads)}, threads, 0, lines, y, x, ids);
    return;
  }
  constexpr int64_t room = 48 * 1024;
  const int64_t staged = warp * static_cast<int64_t>(sizeof(Y) + sizeof(int));
  const int64_t of_warp = staged + lines.extent * static_cast<int64_t>(sizeof(Y));
  if (of_warp > room) {
    launch(op, scatter_rows_kernel<Y, X, Id, false>, Grid{pieces(count, 4)}, Block(warp, 4),
           static_cast<size_t>(4 * staged), lines, y, x, ids);
    return;
  }
  const int64_t warps = std::min<int64_t>(4, room / of_warp);
  launch(op, scatter_rows_kernel<Y, X, Id, true>, Grid{pieces(count, warps)}, Block(warp, static_cast<unsigned>(warps)),
         static_cast<size_t>(warps * of_warp), lines, y, x, ids);
}

Strides strides_without(const Tensor& x, int axis) {
  Strides strides = x.strides();
  std::copy(strides.begin() + axis + 1, strides.end(), strides.begin() + axis);
  return strides;
}

// y[places of one row] = 1
template <class T, class Id>
__global__ void __launch_bounds__(threads) one_hot_kernel(Places<2> rows, T* y, const Id* ids) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= rows.size) return;
  int64_t at[2];
  rows.at(i, at);
  y[at[0] + ids[at[1]]] = static_cast<T>(1);
}

}  // namespace

void gather(const char* op, const Tensor& y, const Tensor& x, int axis, const Tensor& ids) {
  Strides x_strides = x.strides();
  x_strides[axis] = 0;  // the id says where along the axis
  Places<3> places = places_of<3>(y.shape(), {y.strides(), x_strides, ids.strides()});
  int64_t step = x.extent(axis) == 1 ? 0 : x.stride(axis);
  if (places.size == 0) return;
  with_word(x.dtype(), [&]<class W>() {
    with_integer(op, ids.dtype(), [&]<class Id>() {
      W *const to = words<W>(y), *const from = words<W>(x);
      const Id* const chosen = ids.data<Id>();
      if (pack_rows(places, step, 16 / sizeof(W), reinterpret_cast<uintptr_t>(to), reinterpret_cast<uintptr_t>(from)))
        launch_gather(op, places, reinterpret_cast<uint4*>(to), reinterpret_cast<const uint4*>(from), chosen, step);
      else
        launch_gather(op, places, to, static_cast<const W*>(from), chosen, step);
    });
  });
}

void scatter_add(const char* op, const Tensor& y, int axis, const Tensor& ids, const Tensor& source) {
  if (source.size() == 0) return;
  if (y.dtype() == Dtype::bf16) {  // many small terms would not move a large sum of 8 bits
    const Tensor sums = y.to(Dtype::f32);
    scatter_add(op, sums, axis, ids, source);
    return cuda::copy_into(y, sums);
  }
  Lines lines;
  lines.places = places_of<3>(source.shape().without(axis),
                              {strides_without(y, axis), strides_without(source, axis), strides_without(ids, axis)});
  lines.extent = y.extent(axis);
  lines.count = source.extent(axis);
  lines.y_step = y.stride(axis);
  lines.x_step = source.stride(axis);
  lines.id_step = ids.stride(axis);
  const int last = lines.places.rank - 1;
  const bool are_columns = lines.places.extents[last] > 1 && lines.y_step > lines.places.steps[last][0];
  with_any_float(op, source.dtype(), [&]<class X>() {
    with_integer(op, ids.dtype(), [&]<class Id>() {
      launch_scatter(op, lines, are_columns, y.data<Computed<X>>(), static_cast<const X*>(source.data<X>()),
                     static_cast<const Id*>(ids.data<Id>()));
    });
  });
}

void one_hot(const Tensor& y, const Tensor& ids) {
  const Places<2> rows = places_of<2>(ids.shape(), {strides_without(y, y.rank() - 1), ids.strides()});
  with_any(y.dtype(), [&]<class T>() {
    with_integer("one_hot", ids.dtype(), [&]<class Id>() {
      launch("one_hot", one_hot_kernel<T, Id>, Grid{pieces(rows.size, threads)}, threads, 0, rows, y.data<T>(),
             static_cast<const Id*>(ids.data<Id>()));
    });
  });
}

}  // namespace phasor::cuda
