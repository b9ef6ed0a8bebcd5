// Copies between tensors of the GPU, with any strides and between dtypes, and filling with a number.
//
// Three ways: packs of 16 bytes where both sides' rows allow it; tiles through shared memory where the axes that lie
// without gaps differ, as in a transposition; else element by element in the memory order of the result.
#include "core/dispatch.hpp"
#include "cuda/elementwise.cuh"

namespace phasor::cuda {
namespace {

// A constant: an operand that is a number.
template <class Y>
void fill_bits(const Tensor& y, Y value) {
  Strided<Bits<Y>> number;
  number.elements.number = std::bit_cast<Bits<Y>>(value);
  map("fill", y.shape(), Same(), std::tuple(bits<Y>(y)), std::tuple(number));
}

constexpr int tile_columns = 32, tile_rows = 8;  // threads of a block

template <class T>
constexpr int tile = sizeof(T) == 8 ? 32 : 64;
// Numbers after each row of a tile, so that the numbers of a column lie in different banks.
template <class T>
constexpr int tile_gap = sizeof(T) == 8 ? 1 : 4 / sizeof(T);

// y has rows without gaps along its axis j, x along its axis i. Places of tiles, of four: y, x, and the i and j at
// which the tile begins. A warp reads along i and writes along j.
template <class Y, class X>
__global__ void __launch_bounds__(tile_columns* tile_rows)
    transpose_kernel(Places<4> tiles, Y* y, const X* x, int32_t extent_i, int32_t extent_j, int32_t y_along_i,
                     int32_t x_along_j) {
  constexpr int side = tile<Y>;
  __shared__ Y numbers[side][side + tile_gap<Y>];
  int32_t at[4];
  tiles.at(blockIdx.x, at);
  const int32_t rest_i = extent_i - at[2], rest_j = extent_j - at[3];
#pragma unroll
  for (int row = 0; row < side; row += tile_rows) {
    const int j = row + threadIdx.y;
#pragma unroll
    for (int column = 0; column < side; column += tile_columns) {
      const int i = column + threadIdx.x;
      if (i < rest_i && j < rest_j)
        numbers[j][i] = static_cast<Y>(static_cast<Computed<X>>(x[at[1] + i + j * x_along_j]));
    }
  }
  __syncthreads();
#pragma unroll
  for (int row = 0; row < side; row += tile_rows) {
    const int i = row + threadIdx.y;
#pragma unroll
    for (int column = 0; column < side; column += tile_columns) {
      const int j = column + threadIdx.x;
      if (i < rest_i && j < rest_j) y[at[0] + i * y_along_i + j] = numbers[j][i];
    }
  }
}

// Whether the tiles serve: then they are launched.
template <class Y, class X>
bool transposed(const Places<2>& places, Y* y, const X* x) {
  constexpr int64_t least = 16;  // below, most of a tile would be empty
  const int j = places.rank - 1;
  if (!places.is_small || places.extents[j] < least || places.steps[j][0] != 1 || places.steps[j][1] == 1) return false;
  int i = 0;
  while (i < j && !(places.steps[i][1] == 1 && places.extents[i] >= least)) ++i;
  if (i == j) return false;
  // The tiles along i and j become two axes in place of i and j, in that order: neighbours write neighbouring memory.
  constexpr int64_t side = tile<Y>;
  Places<4> tiles;
  const auto add_axis = [&](int64_t extent, std::array<int64_t, 4> steps) {
    tiles.extents[tiles.rank] = extent;
    std::copy(steps.begin(), steps.end(), tiles.steps[tiles.rank++]);
  };
  for (int axis = 0; axis < j; ++axis)
    if (axis != i) add_axis(places.extents[axis], {places.steps[axis][0], places.steps[axis][1], 0, 0});
  add_axis(pieces(places.extents[i], side), {side * places.steps[i][0], side, side, 0});
  add_axis(pieces(places.extents[j], side), {side, side * places.steps[j][1], 0, side});
  tiles.prepare();
  launch("copy", transpose_kernel<Y, X>, Grid{tiles.size}, {tile_columns, tile_rows}, 0, tiles, y, x, places.extents[i],
         places.extents[j], places.steps[i][0], places.steps[j][1]);
  return true;
}

template <class Y, class X>
constexpr bool has_tiles = std::is_same_v<Y, X> || (is_float(dtype_of<Y>) && is_float(dtype_of<X>) &&
                                                    sizeof(X) + sizeof(Y) == sizeof(float) + sizeof(bf16));

template <class Y, class X>
void copy(const Shape& shape, const Strided<Y>& y, const Strided<X>& x) {
  if constexpr (has_tiles<Y, X>) {
    const Places<2> places = places_of<2>(shape, {y.strides, x.strides});
    if (transposed<Y, X>(places, y.elements.first, x.elements.first)) return;
  }
  map("copy", shape, Same(), std::tuple(y), std::tuple(x));
}

}  // namespace

void copy_into(const Tensor& y, const Tensor& x) {
  if (y.size() == 0) return;
  with_any(y.dtype(), [&]<class Y>() {
    if (x.dtype() == y.dtype()) return copy(y.shape(), bits<Y>(y), bits<Y>(x));
    with_any(x.dtype(), [&]<class X>() {
      if constexpr (!std::is_same_v<Y, X>) copy(y.shape(), elements<Y>(y), elements<X>(x));
    });
  });
}

void fill(const Tensor& y, double value) {
  with_any(y.dtype(), [&]<class Y>() { fill_bits<Y>(y, static_cast<Y>(value)); });
}

}  // namespace phasor::cuda
