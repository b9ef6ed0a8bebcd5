// The gradient of rows chosen by ids (index_select, embedding): rows of dy that share an id are added in the order of
// ids. Sorted ids say which rows these are, so that every row of the result has one owner and is written once.
//
// An id may be as frequent as all others together. What it has beyond a piece of sorted ids is summed piece by piece
// first, by as many warps; its owner adds these sums in their order.
#include "core/ops/gather.hpp"

#include "core/dispatch.hpp"
#include "cuda/elementwise.cuh"
#include "cuda/sort_ids.cuh"

namespace phasor::cuda {
namespace {

constexpr int threads = 256;
constexpr int piece = 64;  // ids summed by one warp

// dx [rows, columns] from dy [n, columns]: columns are everything but the axis, in packs.
struct Columns {
  Places<2> places;          // first elements of the columns' packs: of dx, dy
  int64_t dx_step, dy_step;  // along the axis
};

// What the kernels know of the sorted ids.
struct Sorted {
  const int *ids, *places, *starts;
  int count, rows;

  __device__ bool is_frequent(int id) const { return starts[id + 1] - starts[id] > piece; }
};

// sum[k] += the numbers of the rows places[begin .. end-1], in that order; `from` is the column's first element.
template <int count, class T>
__device__ void add_rows(Computed<T> (&sum)[count], const T* from, int64_t step, const int* places, int begin,
                         int end) {
  constexpr int together = 8;
  int i = begin;
  for (; i + together <= end; i += together) {
    Pack<T, count> rows[together];
#pragma unroll
    for (int j = 0; j < together; ++j) rows[j] = load_pack<count>(from + places[i + j] * step);
#pragma unroll
    for (int j = 0; j < together; ++j)
#pragma unroll
      for (int k = 0; k < count; ++k) sum[k] += static_cast<Computed<T>>(rows[j].values[k]);
  }
  for (; i < end; ++i) {
    const Pack<T, count> row = load_pack<count>(from + places[i] * step);
#pragma unroll
    for (int k = 0; k < count; ++k) sum[k] += static_cast<Computed<T>>(row.values[k]);
  }
}

// sums [pieces, 2, columns count]: of each piece of the sorted ids what belongs to a frequent id: that began in an
// earlier piece, and that goes on into the next. There is one of each at most, since such an id has more than a piece.
template <int count, class T>
__global__ void __launch_bounds__(threads)
    sum_pieces_kernel(Columns columns, Sorted sorted, const T* dy, Computed<T>* sums) {
  const int64_t column = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  const int64_t number = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const int64_t begin = number * piece;
  if (begin >= sorted.count || column >= columns.places.size) return;
  const int first = static_cast<int>(begin);
  const int end = sorted.count - first < piece ? sorted.count : first + piece;
  int64_t at[2];
  columns.places.at(column, at);
#pragma unroll 1
  for (int side = 0; side < 2; ++side) {
    const int id = sorted.ids[side == 0 ? first : end - 1];
    const int start = sorted.starts[id];
    if (!sorted.is_frequent(id) || (side == 0) != (start < first)) continue;
    const int stop = sorted.starts[id + 1];
    Computed<T> sum[count] = {};
    add_rows<count>(sum, dy + at[1], columns.dy_step, sorted.places, side == 0 ? first : start,
                    side == 0 && stop < end ? stop : end);
    Computed<T>* const to = sums + ((number * 2 + side) * columns.places.size + column) * count;
#pragma unroll
    for (int k = 0; k < count; ++k) to[k] = sum[k];
  }
}

template <int count, class T>
__global__ void __launch_bounds__(threads)
    sum_rows_kernel(Columns columns, Sorted sorted, const T* dy, const Computed<T>* sums, T* dx) {
  const int64_t column = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (row >= sorted.rows || column >= columns.places.size) return;
  int64_t at[2];
  columns.places.at(column, at);
  const int begin = sorted.starts[row], end = sorted.starts[row + 1];
  Computed<T> sum[count] = {};
  if (end - begin <= piece) {
    add_rows<count>(sum, dy + at[1], columns.dy_step, sorted.places, begin, end);
  } else {
    const int64_t step = 2 * columns.places.size * count;  // from piece to piece
    const Computed<T>* from = sums + column * count;
    const int first = begin / piece, last = (end - 1) / piece;
#pragma unroll
    for (int k = 0; k < count; ++k) sum[k] = from[first * step + step / 2 + k];
#pragma unroll 8
    for (int number = first + 1; number <= last; ++number)
#pragma unroll
      for (int k = 0; k < count; ++k) sum[k] += from[number * step + k];
  }
  Pack<T, count> result;
#pragma unroll
  for (int k = 0; k < count; ++k) result.values[k] = static_cast<T>(sum[k]);
  store_pack(dx + at[0] + row * columns.dx_step, result);
}

template <int count, class T>
void launch_sums(const Columns& columns, const SortedIds& ids, const Tensor& dx, const Tensor& dy) {
  const char* const op = "index_select_backward";
  const int64_t width = columns.places.size, n = ids.ids.size(), rows = ids.starts.size() - 1;
  const Sorted sorted{ids.ids.data<int>(), ids.places.data<int>(), ids.starts.data<int>(), static_cast<int>(n),
                      static_cast<int>(rows)};
  // Narrow rows share a warp.
  unsigned across = 1;
  while (across < warp && across < width) across *= 2;
  const Block block(across, threads / across);
  const int64_t numbers = pieces(n, piece), blocks_across = pieces(width, across);
  require<ResourceError>(blocks_across <= 65535, op, "dy is ", dy.shape(), ": its rows are too long for the GPU");
  Tensor sums;
  if (numbers > 1) {
    sums = Tensor::empty({numbers, 2, width * count}, dtype_of<Computed<T>>, Device::cuda);
    launch(op, sum_pieces_kernel<count, T>, Grid{pieces(numbers, block.y), blocks_across}, block, 0, columns, sorted,
           static_cast<const T*>(dy.data<T>()), sums.data<Computed<T>>());
  }
  launch(op, sum_rows_kernel<count, T>, Grid{pieces(rows, block.y), blocks_across}, block, 0, columns, sorted,
         static_cast<const T*>(dy.data<T>()),
         sums.defined() ? static_cast<const Computed<T>*>(sums.data<Computed<T>>()) : nullptr, dx.data<T>());
}

Strides strides_without(const Tensor& x, int axis) {
  Strides strides = x.strides();
  std::copy(strides.begin() + axis + 1, strides.end(), strides.begin() + axis);
  return strides;
}

template <class T>
void sum_by_id(const Tensor& dx, const Tensor& dy, int axis, const SortedIds& ids) {
  Columns columns{places_of<2>(dx.shape().without(axis), {strides_without(dx, axis), strides_without(dy, axis)}),
                  dx.stride(axis), dy.stride(axis)};
  constexpr int count = 16 / sizeof(T);
  unsigned repeated = 0;
  Places<2> packs = columns.places;
  if (columns.dx_step % count == 0 && columns.dy_step % count == 0 &&
      pack<2>(packs, repeated, count, 2,
              {reinterpret_cast<uintptr_t>(dx.data<T>()), reinterpret_cast<uintptr_t>(dy.data<T>())},
              {sizeof(T), sizeof(T)})) {
    columns.places = packs;
    launch_sums<count, T>(columns, ids, dx, dy);
  } else {
    launch_sums<1, T>(columns, ids, dx, dy);
  }
}

}  // namespace

Tensor index_select_backward(int64_t extent, int axis, const Tensor& ids, const Tensor& dy) {
  const Shape shape = dy.shape().with(axis, extent);
  if (ids.size() == 0) return Tensor::zeros(shape, dy.dtype(), Device::cuda);
  const Tensor dx = Tensor::empty(shape, dy.dtype(), Device::cuda);
  if (dx.size() == 0) return dx;
  const SortedIds sorted = sorted_ids("index_select_backward", ids, extent);
  with_any_float("index_select_backward", dy.dtype(), [&]<class T>() { sum_by_id<T>(dx, dy, axis, sorted); });
  return dx;
}

}  // namespace phasor::cuda
