// Convolution along keys as matrix products: for each tap t of the kernel, the matrix weight[:, :, t] times the rows of
// all channels, shifted by t. A block of those rows is copied with its margins of zeros into the cache first, where a
// shift is a pointer.
#include "core/ops/conv_keys.hpp"

#include <algorithm>

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/ops/flip.hpp"
#include "core/ops/reduce.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "core/tile_product.hpp"

namespace phasor {
namespace reference {

Tensor conv_keys(const Tensor& x, const Tensor& weight) {
  const Tensor from = x.to(Dtype::f64), w = weight.to(Dtype::f64);
  const int64_t batch = x.extent(0), channels = x.extent(1), q_length = x.extent(2), k_length = x.extent(3);
  const int64_t out_channels = weight.extent(0), width = weight.extent(2), reach = (width - 1) / 2;
  const Tensor y = Tensor::zeros({batch, out_channels, q_length, k_length}, Dtype::f64);
  const View<double> vx = from.view<double>(), vw = w.view<double>(), vy = y.view<double>();
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t o = 0; o < out_channels; ++o)
      for (int64_t query = 0; query < q_length; ++query)
        for (int64_t key = 0; key < k_length; ++key)
          for (int64_t c = 0; c < channels; ++c)
            for (int64_t t = 0; t < width; ++t) {
              const int64_t at = key + t - reach;
              if (at >= 0 && at < k_length) vy(b, o, query, key) += vw(o, c, t) * vx(b, c, query, at);
            }
  return y.to(x.dtype());
}

}  // namespace reference

namespace {

void require_scores(const char* op, const char* name, const Tensor& x) {
  require_float(op, name, x);
  require(x.rank() == 4, op, name, " is ", x.shape(), "; needs [batch, channels, q_length, k_length]");
}

void require_weight(const char* op, const Tensor& weight) {
  require_defined(op, "weight", weight);
  require(weight.rank() == 3, op, "weight is ", weight.shape(), "; needs [out_channels, channels, width]");
  require(weight.extent(2) % 2 == 1, op, "weight is ", weight.shape(), "; its axis 2, the width, is ", weight.extent(2),
          "; needs an odd one, with as many keys on either side");
}

void require_weight_dtype(const char* op, const char* name, const Tensor& x, const Tensor& weight) {
  if (is_f32_beside_bf16(weight, x))
    require_same_device(op, name, x, "weight", weight);
  else
    require_same_dtype(op, name, x, "weight", weight);
}

// How the keys of a row are cut, so that a block of all channels stays in the second-level cache.
struct Blocks {
  int64_t length, keys, count;
  Blocks(int64_t channels, int64_t k_length)
      : length(k_length),
        keys(
            std::clamp<int64_t>(32768 / std::max<int64_t>(channels, 1) / 64 * 64, 64, std::max<int64_t>(k_length, 64))),
        count((k_length + keys - 1) / keys) {}
  int64_t start(int64_t block) const { return block * keys; }
  int64_t size(int64_t block) const { return std::min(keys, length - start(block)); }
};

// to[c, p] = x[b, c, query, start - reach + p] for p < count, 0 where that is outside the keys; rows of `to` are ld
// apart.
template <class T>
void copy_with_margins(const Tensor& x, int64_t b, int64_t query, int64_t start, int64_t reach, int64_t count, T* to,
                       int64_t ld) {
  const int64_t first = start - reach, k_length = x.extent(3), step = x.stride(3);
  const int64_t begin = std::clamp<int64_t>(-first, 0, count), end = std::clamp(k_length - first, begin, count);
  const T* row = x.data<T>() + b * x.stride(0) + query * x.stride(2) + (first + begin) * step;
  for (int64_t channel = 0; channel < x.extent(1); ++channel, row += x.stride(1), to += ld) {
    std::fill(to, to + begin, T(0));
    if (step == 1)
      std::copy_n(row, end - begin, to + begin);
    else
      for (int64_t i = 0; i < end - begin; ++i) to[begin + i] = row[i * step];
    std::fill(to + end, to + count, T(0));
  }
}

// weight [out_channels, channels, width], row-major
template <class T>
void convolve(const Tensor& y, const Tensor& x, const Tensor& weight) {
  const int64_t channels = x.extent(1), q_length = x.extent(2), out_channels = y.extent(1), width = weight.extent(2);
  const Blocks blocks(std::max(channels, out_channels), x.extent(3));
  const int64_t ld = blocks.keys + width - 1;
  const int64_t work = std::max<int64_t>(1, out_channels * channels * width * std::min(blocks.keys, x.extent(3)));
  parallel_for(x.extent(0) * q_length * blocks.count, std::max<int64_t>(1, (1 << 18) / work),
               [&](int64_t begin, int64_t end) {
                 const Tensor buffer = Tensor::empty({channels, ld}, x.dtype());
                 T* const rows = buffer.data<T>();
                 for (int64_t task = begin; task < end; ++task) {
                   const int64_t block = task % blocks.count, query = task / blocks.count % q_length;
                   const int64_t b = task / blocks.count / q_length, keys = blocks.size(block);
                   copy_with_margins(x, b, query, blocks.start(block), (width - 1) / 2, keys + width - 1, rows, ld);
                   T* const to = y.data<T>() + b * y.stride(0) + query * y.stride(2) + blocks.start(block);
                   for (int64_t t = 0; t < width; ++t)
                     tile_product<T>(out_channels, keys, channels, {weight.data<T>() + t, channels * width, width},
                                     rows + t, ld, to, y.stride(1), t == 0 ? Onto::zero : Onto::sum);
                 }
               });
}

}  // namespace

Tensor conv_keys(const Tensor& x, const Tensor& weight) {
  require_scores("conv_keys", "x", x);
  require_weight("conv_keys", weight);
  require(x.extent(1) == weight.extent(1), "conv_keys", "x is ", x.shape(), ", weight is ", weight.shape(),
          "; axis 1, the channels, must agree, is ", x.extent(1), " and ", weight.extent(1));
  require_weight_dtype("conv_keys", "x", x, weight);
  const Tensor y = Tensor::empty(x.shape().with(1, weight.extent(0)), x.dtype(), x.device());
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) {
      cuda::conv_keys(y, x, weight.contiguous());
      return y;
    }
  with_float("conv_keys", x.dtype(), [&]<class T>() { convolve<T>(y, x, weight.contiguous()); });
  return y;
}

// dx[b, c, i, j] = sum over o, t of weight[o, c, t] dy[b, o, i, j - t + reach]: the convolution of dy with the taps in
// reverse order and the channels exchanged.
Tensor conv_keys_dx(const Tensor& weight, const Tensor& dy) {
  require_scores("conv_keys_dx", "dy", dy);
  require_weight("conv_keys_dx", weight);
  require(dy.extent(1) == weight.extent(0), "conv_keys_dx", "dy is ", dy.shape(), ", weight is ", weight.shape(),
          "; axis 1 of dy must be axis 0 of weight, is ", dy.extent(1), " and ", weight.extent(0));
  require_weight_dtype("conv_keys_dx", "dy", dy, weight);
  return conv_keys(dy, flip(weight.transpose(0, 1), 2));
}

namespace {

// Rows of dy and of x, which have their margins, for some (batch, query, block of keys): `segments` blocks of
// [out_channels, ld] and [channels, ld].
template <class T>
struct Segments {
  int64_t segments, keys, out_channels, channels, ld;
  const T *dy, *x;
};

// sums[r, q] += sum over segments and keys j of dy[first_row + r, j] x[channel, j + tap], where column first + q of the
// weight is tap `column % width` of channel `column / width`. All `rows` x `columns` sums stay in registers.
template <int rows, int columns, class T>
void add_products(const Segments<T>& from, int64_t width, int64_t first_row, int64_t first_column, T* sums,
                  int64_t ld_sums) {
  constexpr int64_t lanes = simd::hn::MaxLanes(simd::Tag<T>());
  simd::Vec<T> sum[rows][columns];
  for (auto& row : sum)
    for (auto& one : row) one = simd::set<T>(0);
  const T* dy[rows];
  const T* x[columns];
  for (int64_t segment = 0; segment < from.segments; ++segment) {
    for (int r = 0; r < rows; ++r) dy[r] = from.dy + (segment * from.out_channels + first_row + r) * from.ld;
    for (int q = 0; q < columns; ++q)
      x[q] = from.x + (segment * from.channels + (first_column + q) / width) * from.ld + (first_column + q) % width;
    for (int64_t j = 0; j < from.keys; j += lanes) {
      const int64_t n = std::min(lanes, from.keys - j);
      simd::Vec<T> right[columns];
      for (int q = 0; q < columns; ++q) right[q] = simd::load_first<T>(n, x[q] + j);
      for (int r = 0; r < rows; ++r) {
        const simd::Vec<T> left = simd::load_first<T>(n, dy[r] + j);
        for (int q = 0; q < columns; ++q) sum[r][q] = simd::multiply_add(left, right[q], sum[r][q]);
      }
    }
  }
// Unrolled: an array that is indexed at run time would be stored in every step above.
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 8
    for (int q = 0; q < columns; ++q) sums[r * ld_sums + q] += simd::sum_lanes<T>(sum[r][q]);
}

// sums [out_channels, channels width] += the products of all rows with all shifted rows.
template <class T>
void add_all_products(const Segments<T>& from, int64_t width, T* sums) {
  constexpr int wide = simd::hn::MaxLanes(simd::Tag<T>()) * sizeof(T) == 64 ? 6 : 2;  // of 32 or of 16 registers
  const int64_t columns = from.channels * width;
  int64_t row = 0;
  const auto run = [&]<int rows>() {
    for (; row + rows <= from.out_channels; row += rows) {
      int64_t column = 0;
      for (; column + wide <= columns; column += wide)
        add_products<rows, wide>(from, width, row, column, sums + row * columns + column, columns);
      for (; column < columns; ++column)
        add_products<rows, 1>(from, width, row, column, sums + row * columns + column, columns);
    }
  };
  run.template operator()<4>();
  run.template operator()<1>();
}

template <class T>
Tensor weight_gradient(const Tensor& x, int64_t width, const Tensor& dy) {
  const int64_t channels = x.extent(1), q_length = x.extent(2), out_channels = dy.extent(1);
  const Blocks blocks(std::max(channels, out_channels), x.extent(3));
  const int64_t keys = std::max<int64_t>(1, std::min(blocks.keys, x.extent(3)));
  const int64_t ld = keys + width - 1, tasks = x.extent(0) * q_length * blocks.count;
  // Short rows are taken several at a time: a sum over lanes costs as much as many products. Blocks of one row are not,
  // because the last one may be shorter.
  const int64_t together = blocks.count > 1 ? 1 : std::max<int64_t>(1, 512 / keys);
  // At least 16 blocks or rows to a tile, and at most 64 tiles, each of which needs a weight.
  const int64_t tile = together * std::max<int64_t>({1, 16 / together, (tasks / together + 63) / 64});
  // Each tile sums into one of its own; these are added in order.
  const Tensor tile_sums = Tensor::zeros({(tasks + tile - 1) / tile, out_channels, channels, width}, x.dtype());
  parallel_for(tasks, tile, [&](int64_t begin, int64_t end) {
    T* const sums = tile_sums.data<T>() + begin / tile * out_channels * channels * width;
    const Tensor buffer = Tensor::empty({together, channels + out_channels, ld}, x.dtype());
    T* const x_rows = buffer.data<T>();
    T* const dy_rows = x_rows + together * channels * ld;
    for (int64_t first = begin; first < end; first += together) {
      const int64_t segments = std::min(together, end - first);
      int64_t size = 0;
      for (int64_t segment = 0; segment < segments; ++segment) {
        const int64_t task = first + segment, block = task % blocks.count, query = task / blocks.count % q_length;
        const int64_t b = task / blocks.count / q_length, start = blocks.start(block);
        size = blocks.size(block);
        copy_with_margins(x, b, query, start, (width - 1) / 2, size + width - 1, x_rows + segment * channels * ld, ld);
        copy_with_margins(dy, b, query, start, 0, size, dy_rows + segment * out_channels * ld, ld);
      }
      add_all_products<T>({segments, size, out_channels, channels, ld, dy_rows, x_rows}, width, sums);
    }
  });
  return sum(tile_sums, {0}).squeeze(0);
}

}  // namespace

// dweight[o, c, t] = sum over b, i, j of dy[b, o, i, j] x[b, c, i, j + t - reach]
Tensor conv_keys_dweight(const Tensor& x, int64_t width, const Tensor& dy) {
  return conv_keys_dweight(x, width, dy, x.dtype());
}

Tensor conv_keys_dweight(const Tensor& x, int64_t width, const Tensor& dy, Dtype dtype) {
  require_scores("conv_keys_dweight", "x", x);
  require_scores("conv_keys_dweight", "dy", dy);
  require(width >= 1 && width % 2 == 1, "conv_keys_dweight", "the width is ", width, "; needs an odd one");
  for (const int axis : {0, 2, 3})
    require(x.extent(axis) == dy.extent(axis), "conv_keys_dweight", "x is ", x.shape(), ", dy is ", dy.shape(),
            "; axis ", axis, " must agree, is ", x.extent(axis), " and ", dy.extent(axis));
  require_same_dtype("conv_keys_dweight", "x", x, "dy", dy);
  require<DtypeError>(dtype == x.dtype() || (dtype == Dtype::f32 && x.dtype() == Dtype::bf16), "conv_keys_dweight",
                      "the weight is ", dtype, ", x is ", x.dtype(), "; they must agree");
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::conv_keys_dweight(x, width, dy, dtype);
  return with_float("conv_keys_dweight", x.dtype(), [&]<class T>() { return weight_gradient<T>(x, width, dy); });
}

}  // namespace phasor
