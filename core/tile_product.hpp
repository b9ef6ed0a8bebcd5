// Products of tiles that lie in the cache, where they lie. gemm() packs its operands first, which costs a fifth of the
// time at the sizes of an attention tile; here the rows of b are read as vectors and the elements of a one by one, so a
// transposed a is only a pair of strides.
#pragma once

#include <algorithm>
#include <limits>

#include "core/simd.hpp"

namespace phasor {

// Element (i, p) of the left operand at data[i row_step + p column_step].
template <class T>
struct Strided {
  const T* data;
  int64_t row_step, column_step;
};

enum class Onto { zero, sum };  // c = a b, or c += a b

namespace tile_product_detail {

// `rows` x `vectors` sums stay in registers: 24 of 32 with AVX-512, 12 of 16 with AVX2, enough to hide the latency of
// the multiply-add. A block of one vector may be narrower: it reads and writes `last` lanes.
template <int rows, int vectors, class T>
void block(int64_t k, Strided<T> a, const T* b, int64_t ldb, T* c, int64_t ldc, int64_t last, Onto onto) {
  constexpr int64_t lanes = simd::hn::MaxLanes(simd::Tag<T>());
  const auto load = [last](const T* row, int v) {
    if constexpr (vectors == 1) return simd::load_first<T>(last, row);
    return simd::load<T>(row + v * lanes);
  };
  simd::Vec<T> sum[rows][vectors];
  for (int i = 0; i < rows; ++i)
    for (int v = 0; v < vectors; ++v) sum[i][v] = onto == Onto::sum ? load(c + i * ldc, v) : simd::set<T>(0);
  for (int64_t p = 0; p < k; ++p) {
    simd::Vec<T> right[vectors];
    for (int v = 0; v < vectors; ++v) right[v] = load(b + p * ldb, v);
    for (int i = 0; i < rows; ++i) {
      const simd::Vec<T> left = simd::set<T>(a.data[i * a.row_step + p * a.column_step]);
      for (int v = 0; v < vectors; ++v) sum[i][v] = simd::multiply_add(left, right[v], sum[i][v]);
    }
  }
  for (int i = 0; i < rows; ++i)
    for (int v = 0; v < vectors; ++v) {
      T* const to = c + i * ldc + v * lanes;
      if constexpr (vectors == 1)
        simd::store_first<T>(last, sum[i][v], to);
      else
        simd::store<T>(sum[i][v], to);
    }
}

template <int vectors, class T>
void columns(int64_t m, int64_t k, Strided<T> a, const T* b, int64_t ldb, T* c, int64_t ldc, int64_t last, Onto onto) {
  int64_t i = 0;
  const auto run = [&]<int rows>() {
    for (; i + rows <= m; i += rows)
      block<rows, vectors, T>(k, {a.data + i * a.row_step, a.row_step, a.column_step}, b, ldb, c + i * ldc, ldc, last,
                              onto);
  };
  run.template operator()<6>();
  run.template operator()<4>();
  run.template operator()<2>();
  run.template operator()<1>();
}

}  // namespace tile_product_detail

// c [m, n] = a [m, k] b [k, n], or c += a b; b and c row-major with rows ldb and ldc apart. Single-threaded.
template <class T>
void tile_product(int64_t m, int64_t n, int64_t k, Strided<T> a, const T* b, int64_t ldb, T* c, int64_t ldc,
                  Onto onto) {
  constexpr int64_t lanes = simd::hn::MaxLanes(simd::Tag<T>());
  constexpr int wide = sizeof(T) * lanes == 64 ? 4 : 2;
  int64_t j = 0;
  const auto run = [&]<int vectors>() {
    for (; j + vectors * lanes <= n; j += vectors * lanes)
      tile_product_detail::columns<vectors, T>(m, k, a, b + j, ldb, c + j, ldc, lanes, onto);
  };
  run.template operator()<wide>();
  if constexpr (wide > 3) run.template operator()<3>();
  if constexpr (wide > 2) run.template operator()<2>();
  for (; j < n; j += lanes)
    tile_product_detail::columns<1, T>(m, k, a, b + j, ldb, c + j, ldc, std::min(lanes, n - j), onto);
}

// to [dim, wide] = factor times the transpose of x [rows, dim]; columns from `rows` on are 0. wide is a multiple of the
// number of lanes.
template <class T>
void transpose_tile(int64_t rows, int64_t wide, int64_t dim, T factor, const T* x, int64_t ld, T* to, int64_t ld_to) {
  using Index = simd::hn::Vec<simd::hn::RebindToSigned<simd::Tag<T>>>;
  const simd::hn::RebindToSigned<simd::Tag<T>> index_tag;
  const Index rows_apart =
      simd::hn::Mul(simd::hn::Iota(index_tag, 0), simd::hn::Set(index_tag, static_cast<simd::hn::TFromV<Index>>(ld)));
  const int64_t lanes = simd::lanes<T>;
  // The indices of a gather are as wide as T: those of f32 cannot count rows more than 2^31 / lanes elements apart.
  const bool gathers = ld <= std::numeric_limits<simd::hn::TFromV<Index>>::max() / lanes;
  for (int64_t r = 0; r < wide; r += lanes)
    for (int64_t i = 0; i < dim; ++i) {
      simd::Vec<T> column = simd::set<T>(0);
      if (gathers && r + lanes <= rows) {
        column = simd::hn::GatherIndex(simd::Tag<T>(), x + r * ld + i, rows_apart);
      } else if (r < rows) {
        alignas(64) T some[simd::hn::MaxLanes(simd::Tag<T>())] = {};
        for (int64_t row = r; row < std::min(r + lanes, rows); ++row) some[row - r] = x[row * ld + i];
        column = simd::load<T>(some);
      }
      simd::store<T>(column * simd::set<T>(factor), to + i * ld_to + r);
    }
}

}  // namespace phasor
