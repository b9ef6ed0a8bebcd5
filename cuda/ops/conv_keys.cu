// Convolution of scores along the keys, and the gradient of its weight: the twin of core/ops/conv_keys.cpp. That of x
// is the convolution with another weight.
#include "core/ops/conv_keys.hpp"

#include "core/dispatch.hpp"
#include "cuda/elementwise.cuh"
#include "cuda/partial_sums.cuh"

namespace phasor::cuda {
namespace {

// [batch, channels, q_length, k_length] and its steps.
struct Scores {
  int64_t batch_step, channel_step, q_step, k_step;
  int channels, q_length, k_length;

  explicit Scores(const Tensor& x)
      : batch_step(x.stride(0)),
        channel_step(x.stride(1)),
        q_step(x.stride(2)),
        k_step(x.stride(3)),
        channels(static_cast<int>(x.extent(1))),
        q_length(static_cast<int>(x.extent(2))),
        k_length(static_cast<int>(x.extent(3))) {}
};

// A tile is some keys of one query; tiles are numbered row-major over [batch, q_length, tiles of a row].
struct Tile {
  int64_t batch;
  int query, start;

  __device__ Tile(const Scores& x, int64_t number, int keys) {
    const int in_row = (x.k_length + keys - 1) / keys;
    const int64_t row = number / in_row;
    start = static_cast<int>(number - row * in_row) * keys;
    batch = row / x.q_length;
    query = static_cast<int>(row - batch * x.q_length);
  }
  template <class T>
  __device__ const T* row(const Scores& x, const T* data) const {
    return data + batch * x.batch_step + query * x.q_step;
  }
};

// y of a block: 128 keys of one query, 16 channels. A warp has 4 of them, a lane 4 keys of each: a product takes half a
// load from shared memory. Channels of x and taps pass through shared memory in chunks.
constexpr int conv_keys_of_tile = 128, conv_outs = 16, conv_warps = 4, chunk_channels = 8, chunk_taps = 16;

template <class T, class W>
__global__ void __launch_bounds__(warp* conv_warps)
    conv_kernel(Scores y_of, T* y, Scores x_of, const T* x, const W* weight, int width) {
  using A = Computed<T>;
  constexpr int outs = conv_outs / conv_warps, keys = conv_keys_of_tile / warp, all = warp * conv_warps;
  __shared__ A rows[chunk_channels][conv_keys_of_tile + chunk_taps - 1];
  __shared__ A taps_of[chunk_channels * chunk_taps][conv_outs];
  const int lane = static_cast<int>(threadIdx.x), own = static_cast<int>(threadIdx.y) * outs;
  const int thread = static_cast<int>(threadIdx.y) * warp + lane;
  const int first_out = static_cast<int>(blockIdx.y) * conv_outs, reach = (width - 1) / 2;
  const Tile tile(x_of, blockIdx.x, conv_keys_of_tile);
  const T* const from = tile.row(x_of, x);
  A sum[outs][keys] = {};
  for (int channel = 0; channel < x_of.channels; channel += chunk_channels)
    for (int tap = 0; tap < width; tap += chunk_taps) {
      const int channels = x_of.channels - channel < chunk_channels ? x_of.channels - channel : chunk_channels;
      const int taps = width - tap < chunk_taps ? width - tap : chunk_taps;
      const int wide = conv_keys_of_tile + taps - 1;
      __syncthreads();
      for (int c = 0; c < channels; ++c)
        for (int i = thread; i < wide; i += all) {
          const int key = tile.start + i + tap - reach;
          rows[c][i] = key >= 0 && key < x_of.k_length
                           ? static_cast<A>(from[(channel + c) * x_of.channel_step + key * x_of.k_step])
                           : A(0);
        }
      for (int i = thread; i < channels * taps * conv_outs; i += all) {
        const int out = i % conv_outs, c = i / conv_outs / taps, t = i / conv_outs % taps;
        taps_of[c * taps + t][out] =
            first_out + out < y_of.channels
                ? static_cast<A>(
                      weight[(static_cast<int64_t>(first_out + out) * x_of.channels + channel + c) * width + tap + t])
                : A(0);
      }
      __syncthreads();
      for (int c = 0; c < channels; ++c)
        for (int t = 0; t < taps; ++t) {
          A value[keys];
#pragma unroll
          for (int k = 0; k < keys; ++k) value[k] = rows[c][lane + k * warp + t];
#pragma unroll
          for (int o = 0; o < outs; ++o) {
            const A w = taps_of[c * taps + t][own + o];
#pragma unroll
            for (int k = 0; k < keys; ++k) sum[o][k] += w * value[k];
          }
        }
    }
  T* const to = y + tile.batch * y_of.batch_step + tile.query * y_of.q_step;
#pragma unroll
  for (int o = 0; o < outs; ++o)
#pragma unroll
    for (int k = 0; k < keys; ++k) {
      const int out = first_out + own + o, key = tile.start + lane + k * warp;
      if (out < y_of.channels && key < y_of.k_length)
        to[out * y_of.channel_step + key * y_of.k_step] = static_cast<T>(sum[o][k]);
    }
}

// dweight as a product: rows are out channels, columns are (channel, tap). A block sums a square of both over a part of
// the tiles; 16 of its threads share the square, 16 groups of these the keys of a tile.
constexpr int square = 16, corner = 4, weight_keys = 64, weight_threads = 256;

template <class T>
__global__ void __launch_bounds__(weight_threads)
    weight_kernel(Scores x_of, const T* x, Scores dy_of, const T* dy, Computed<T>* parts, int width, int64_t tiles) {
  using A = Computed<T>;
  constexpr int in_square = (square / corner) * (square / corner), groups = weight_threads / in_square;
  __shared__ A dy_rows[square][weight_keys + 1], x_rows[square][weight_keys + 1];
  __shared__ A of_groups[groups][in_square * corner];
  const int thread = static_cast<int>(threadIdx.x), group = thread / in_square, place = thread % in_square;
  const int own_row = place / (square / corner) * corner, own_column = place % (square / corner) * corner;
  const int columns = x_of.channels * width, reach = (width - 1) / 2;
  const int first_row = static_cast<int>(blockIdx.z) * square, first_column = static_cast<int>(blockIdx.y) * square;
  const int64_t begin = tiles * blockIdx.x / gridDim.x, end = tiles * (blockIdx.x + 1) / gridDim.x;
  A sum[corner][corner] = {};
  for (int64_t number = begin; number < end; ++number) {
    const Tile tile(x_of, number, weight_keys);
    const T *const x_row = tile.row(x_of, x), *const dy_row = tile.row(dy_of, dy);
    __syncthreads();
    for (int i = thread; i < square * weight_keys; i += weight_threads) {
      const int r = i / weight_keys, k = i % weight_keys, key = tile.start + k;
      const bool is_dy = first_row + r < dy_of.channels && key < dy_of.k_length;
      dy_rows[r][k] = is_dy ? static_cast<A>(dy_row[(first_row + r) * dy_of.channel_step + key * dy_of.k_step]) : A(0);
      const int column = first_column + r, from = key + column % width - reach;
      // Where dy is 0 nothing is read of x: an infinity there would give NaN.
      const bool is_x = column < columns && key < x_of.k_length && from >= 0 && from < x_of.k_length;
      x_rows[r][k] = is_x ? static_cast<A>(x_row[column / width * x_of.channel_step + from * x_of.k_step]) : A(0);
    }
    __syncthreads();
    constexpr int own_keys = weight_keys / groups;
#pragma unroll
    for (int k = 0; k < own_keys; ++k) {
      A left[corner], right[corner];
#pragma unroll
      for (int i = 0; i < corner; ++i) {
        left[i] = dy_rows[own_row + i][group * own_keys + k];
        right[i] = x_rows[own_column + i][group * own_keys + k];
      }
#pragma unroll
      for (int r = 0; r < corner; ++r)
#pragma unroll
        for (int c = 0; c < corner; ++c) sum[r][c] += left[r] * right[c];
    }
  }
#pragma unroll
  for (int r = 0; r < corner; ++r) {
    __syncthreads();
#pragma unroll
    for (int c = 0; c < corner; ++c) of_groups[group][place * corner + c] = sum[r][c];
    __syncthreads();
    if (thread >= in_square * corner) continue;
    A total = 0;
    for (int g = 0; g < groups; ++g) total += of_groups[g][thread];
    const int owner = thread / corner;
    const int row = first_row + owner / (square / corner) * corner + r;
    const int column = first_column + owner % (square / corner) * corner + thread % corner;
    if (row < dy_of.channels && column < columns)
      parts[(static_cast<int64_t>(blockIdx.x) * dy_of.channels + row) * columns + column] = total;
  }
}

}  // namespace

void conv_keys(const Tensor& y, const Tensor& x, const Tensor& weight) {
  if (y.size() == 0) return;
  const int64_t tiles = x.extent(0) * x.extent(2) * pieces(x.extent(3), conv_keys_of_tile);
  const Grid grid{tiles, pieces(y.extent(1), conv_outs)};
  const int width = static_cast<int>(weight.extent(2));
  const auto run = [&]<class T, class W>() {
    launch("conv_keys", conv_kernel<T, W>, grid, Block(warp, conv_warps), 0, Scores(y), y.data<T>(), Scores(x),
           static_cast<const T*>(x.data<T>()), static_cast<const W*>(weight.data<W>()), width);
  };
  with_any_float("conv_keys", x.dtype(), [&]<class T>() {
    if (weight.dtype() == x.dtype())
      run.template operator()<T, T>();
    else
      run.template operator()<T, Computed<T>>();
  });
}

Tensor conv_keys_dweight(const Tensor& x, int64_t width, const Tensor& dy, Dtype dtype) {
  const int64_t rows = dy.extent(1), columns = x.extent(1) * width;
  const Shape shape{rows, x.extent(1), width};
  const int64_t tiles = x.extent(0) * x.extent(2) * pieces(x.extent(3), weight_keys);
  if (tiles == 0 || rows * columns == 0) return Tensor::zeros(shape, dtype, Device::cuda);
  const Tensor dweight = Tensor::empty(shape, dtype, Device::cuda);
  Grid grid{1, pieces(columns, square), pieces(rows, square)};
  // Four blocks to a multiprocessor, each with several tiles.
  grid.x = std::clamp<int64_t>(pieces(int64_t{4} * processors(), grid.y * grid.z), 1, pieces(tiles, 4));
  const auto run = [&]<class T, class W>() {
    using A = Computed<T>;
    const Tensor parts = Tensor::empty({grid.x, rows, columns}, dtype_of<A>, Device::cuda);
    launch("conv_keys_dweight", weight_kernel<T>, grid, weight_threads, 0, Scores(x),
           static_cast<const T*>(x.data<T>()), Scores(dy), static_cast<const T*>(dy.data<T>()), parts.data<A>(),
           static_cast<int>(width), tiles);
    add_parts<W, A>("conv_keys_dweight", dweight, parts);
  };
  with_any_float("conv_keys_dweight", x.dtype(), [&]<class T>() {
    if (dtype == x.dtype())
      run.template operator()<T, T>();
    else
      run.template operator()<T, Computed<T>>();
  });
  return dweight;
}

}  // namespace phasor::cuda
