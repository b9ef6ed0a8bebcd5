// Products of tiles that lie in the cache, where they lie. gemm() packs its operands first, which costs a fifth of the
// time at the sizes of an attention tile; here the rows of b are read as vectors and the elements of a one by one, so a
// transposed a is only a pair of strides.
#pragma once

#include <algorithm>

#include "core/simd.hpp"

namespace phasor {

// Element (i, p) of the left operand at data[i row_step + p column_step].
template <class T>
struct Strided {
  const T* data;
  int64_t row_step, column_step;
  Strided from(int64_t i, int64_t p) const { return {data + i * row_step + p * column_step, row_step, column_step}; }
};

enum class Onto { zero, sum };  // c = a b, or c += a b

// What is added to c at the end: row i begins at data + i ld, so that ld = 0 adds one row to all. Null: nothing.
template <class T>
struct Addend {
  const T* data = nullptr;
  int64_t ld = 0;
  Addend from(int64_t i, int64_t j) const { return data ? Addend{data + i * ld + j, ld} : Addend{}; }
};

namespace tile_product_detail {

// Vectors of a row of the widest block.
template <class T>
constexpr int widest = sizeof(T) * simd::hn::MaxLanes(simd::Tag<T>()) == 64 ? 4 : 2;

// `rows` x `vectors` sums stay in registers: 24 of 32 with AVX-512, 12 of 16 with AVX2, enough to hide the latency of
// the multiply-add. A block of one vector may be narrower: it reads and writes `last` lanes. The loops over the sums
// are unrolled by order: left to itself the compiler sometimes keeps the sums in memory, at a third of the speed.
template <int rows, int vectors, class T>
void block(int64_t k, Strided<T> a, const T* b, int64_t ldb, T* c, int64_t ldc, int64_t last, Onto onto,
           Addend<T> addend) {
  constexpr int64_t lanes = simd::hn::MaxLanes(simd::Tag<T>());
  const auto load = [last](const T* row, int v) {
    if constexpr (vectors == 1) return simd::load_first<T>(last, row);
    return simd::load<T>(row + v * lanes);
  };
  simd::Vec<T> sum[rows][vectors];
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 12
    for (int v = 0; v < vectors; ++v) sum[i][v] = simd::set<T>(0);
  // What is read and written at the end is fetched while the sums are made: a row of it at a time.
  int64_t p = 0;
  for (int64_t row = 1; row <= rows; ++row) {
#pragma GCC unroll 12
    for (int v = 0; v < vectors; ++v) __builtin_prefetch(c + (row - 1) * ldc + v * lanes, 1);
    if (addend.data)
#pragma GCC unroll 12
      for (int v = 0; v < vectors; ++v) __builtin_prefetch(addend.data + (row - 1) * addend.ld + v * lanes);
    for (const int64_t end = k * row / rows; p < end; ++p) {
      simd::Vec<T> right[vectors];
#pragma GCC unroll 12
      for (int v = 0; v < vectors; ++v) right[v] = load(b + p * ldb, v);
#pragma GCC unroll 12
      for (int i = 0; i < rows; ++i) {
        const simd::Vec<T> left = simd::set<T>(a.data[i * a.row_step + p * a.column_step]);
#pragma GCC unroll 12
        for (int v = 0; v < vectors; ++v) sum[i][v] = simd::multiply_add(left, right[v], sum[i][v]);
      }
    }
  }
  const auto add = [&](const T* from, int64_t ld) {
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 12
      for (int v = 0; v < vectors; ++v) sum[i][v] = sum[i][v] + load(from + i * ld, v);
  };
  if (onto == Onto::sum) add(c, ldc);
  if (addend.data) add(addend.data, addend.ld);
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 12
    for (int v = 0; v < vectors; ++v) {
      T* const to = c + i * ldc + v * lanes;
      if constexpr (vectors == 1)
        simd::store_first<T>(last, sum[i][v], to);
      else
        simd::store<T>(sum[i][v], to);
    }
}

template <int vectors, class T>
void columns(int64_t m, int64_t k, Strided<T> a, const T* b, int64_t ldb, T* c, int64_t ldc, int64_t last, Onto onto,
             Addend<T> addend) {
  int64_t i = 0;
  const auto run = [&]<int rows>() {
    for (; i + rows <= m; i += rows)
      block<rows, vectors, T>(k, {a.data + i * a.row_step, a.row_step, a.column_step}, b, ldb, c + i * ldc, ldc, last,
                              onto, addend.from(i, 0));
  };
  // A narrow block is taller, so that its sums are as many.
  if constexpr (vectors <= widest<T> / 2) run.template operator()<12>();
  if constexpr (vectors == 3) run.template operator()<8>();
  run.template operator()<6>();
  run.template operator()<4>();
  run.template operator()<2>();
  run.template operator()<1>();
}

}  // namespace tile_product_detail

// c [m, n] = a [m, k] b [k, n], or c += a b, plus the addend; b and c row-major with rows ldb and ldc apart.
// Single-threaded.
template <class T>
void tile_product(int64_t m, int64_t n, int64_t k, Strided<T> a, const T* b, int64_t ldb, T* c, int64_t ldc, Onto onto,
                  Addend<T> addend = {}) {
  constexpr int64_t lanes = simd::hn::MaxLanes(simd::Tag<T>());
  constexpr int wide = tile_product_detail::widest<T>;
  int64_t j = 0;
  const auto run = [&]<int vectors>() {
    for (; j + vectors * lanes <= n; j += vectors * lanes)
      tile_product_detail::columns<vectors, T>(m, k, a, b + j, ldb, c + j, ldc, lanes, onto, addend.from(0, j));
  };
  run.template operator()<wide>();
  if constexpr (wide > 3) run.template operator()<3>();
  if constexpr (wide > 2) run.template operator()<2>();
  for (; j < n; j += lanes)
    tile_product_detail::columns<1, T>(m, k, a, b + j, ldb, c + j, ldc, std::min(lanes, n - j), onto,
                                       addend.from(0, j));
}

// to [dim, wide] = factor times the transpose of x [rows, dim]; columns from `rows` on are 0. wide is a multiple of the
// number of lanes.
template <class T>
void transpose_tile(int64_t rows, int64_t wide, int64_t dim, T factor, const T* x, int64_t ld, T* to, int64_t ld_to) {
  const int64_t lanes = simd::lanes<T>;
  constexpr int64_t side = simd::block_lanes<T>;
  const simd::Vec<T> by = simd::set<T>(factor);
  for (int64_t r = 0; r < wide; r += lanes) {
    int64_t i = 0;
    for (; r + lanes <= rows && i + side <= dim; i += side) {
      simd::Vec<T> square[side];  // block b of vector s: row b side + s
      for (int64_t s = 0; s < side; ++s) square[s] = simd::load_blocks<T>(x + (r + s) * ld + i, side * ld);
      simd::transpose_blocks<T>(square);
      for (int64_t s = 0; s < side; ++s) simd::store<T>(square[s] * by, to + (i + s) * ld_to + r);
    }
    for (; i < dim; ++i)
      for (int64_t row = r; row < r + lanes; ++row) to[i * ld_to + row] = row < rows ? x[row * ld + i] * factor : T(0);
  }
}

}  // namespace phasor
