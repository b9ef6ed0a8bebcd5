// Panels of the right operand of a large product: as wide as the registers of a tile_product() hold, its rows one after
// the other without gaps. Every row of the left operand then reads a panel in one stream from the cache.
#pragma once

#include "core/tile_product.hpp"

namespace phasor {

template <class T>
constexpr int64_t panel_width = tile_product_detail::widest<T>* simd::hn::MaxLanes(simd::Tag<T>());

// [rows, width] from `from` to `to`, whose rows are ld_from and ld_to apart.
template <class T>
void copy_rows(int64_t rows, int64_t width, const T* from, int64_t ld_from, T* to, int64_t ld_to) {
  for (int64_t i = 0; i < rows; ++i, from += ld_from, to += ld_to) {
    int64_t j = 0;
    for (; j + simd::lanes<T> <= width; j += simd::lanes<T>) simd::store<T>(simd::load<T>(from + j), to + j);
    if (j < width) simd::store_first<T>(width - j, simd::load_first<T>(width - j, from + j), to + j);
  }
}

// [rows, columns] of the right operand, element (p, j) at data[p row_step + j column_step], goes to panels `step`
// elements apart, each [rows, panel_width]. What a panel has beyond the last column holds anything.
template <class T>
void pack_panels(Strided<T> b, int64_t rows, int64_t columns, T* panels, int64_t step) {
  constexpr int64_t wide = panel_width<T>;
  if (b.column_step != 1) {
    for (int64_t j = 0; j < columns; j += wide, panels += step) {
      const int64_t width = std::min(wide, columns - j), whole = (width + simd::lanes<T> - 1) / simd::lanes<T>;
      transpose_tile<T>(width, whole * simd::lanes<T>, rows, T(1), b.from(0, j).data, b.column_step, panels, wide);
    }
    return;
  }
  // Row by row: memory is read in the order in which it lies.
  for (int64_t p = 0; p < rows; ++p)
    for (int64_t j = 0; j < columns; j += wide)
      copy_rows<T>(1, std::min(wide, columns - j), b.from(p, j).data, 0, panels + j / wide * step + p * wide, 0);
}

}  // namespace phasor
