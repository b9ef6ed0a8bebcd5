// Matrix products: fixed tiles spread over threads. The tiles follow from the extents alone, so the bits do not depend
// on the number of threads.
#include "core/ops/matmul.hpp"

#include <cmath>

#include "core/arguments.hpp"
#include "core/blas.hpp"
#include "core/dispatch.hpp"
#include "core/matrices.hpp"
#include "core/ops/binary.hpp"
#include "core/panel_product.hpp"
#include "core/parallel.hpp"
#include "core/scratch.hpp"

namespace phasor {
namespace {

Shape leading_axes(const Tensor& x) {
  return Shape(std::span<const int64_t>(x.shape().begin(), static_cast<size_t>(x.rank() - 2)));
}

// The extents of the result; all checks of the op.
Shape result_shape(const Tensor& a, const Tensor& b) {
  require_float("matmul", "a", a);
  require_same_dtype("matmul", "a", a, "b", b);
  require<ShapeError>(a.rank() >= 2 && b.rank() >= 2, "matmul", "needs matrices: a is ", a.shape(), ", b is ",
                      b.shape(), "; the rank must be at least 2");
  require(a.extent(-1) == b.extent(-2), "matmul", "inner extents differ: a is ", a.shape(), ", b is ", b.shape(),
          "; need a[-1] == b[-2] but ", a.extent(-1), " != ", b.extent(-2));
  const Shape batch_a = leading_axes(a), batch_b = leading_axes(b);
  for (int axis = -1; axis >= -std::min(batch_a.rank(), batch_b.rank()); --axis)
    require(batch_a[axis] == batch_b[axis] || batch_a[axis] == 1 || batch_b[axis] == 1, "matmul",
            "leading axes do not broadcast: a is ", a.shape(), ", b is ", b.shape(), "; axis ", axis - 2, " is ",
            batch_a[axis], " and ", batch_b[axis], ", neither is 1");
  const Shape batch = broadcast_shape("matmul", batch_a, batch_b);
  return batch.insert(-1, a.extent(-2)).insert(-1, b.extent(-1));
}

}  // namespace

// a [..., m, k], b [..., k, n]: y[i, j] = sum_p a[i, p] b[p, j]
Tensor reference::matmul(const Tensor& a, const Tensor& b) {
  const Shape shape = result_shape(a, b);
  const Shape batch = shape.without(-1).without(-1);
  const int64_t m = shape[-2], n = shape[-1], k = a.extent(-1), batches = batch.size();
  const auto stretched = [&](const Tensor& x) {
    return x.to(Dtype::f64)
        .broadcast_to(batch.insert(-1, x.extent(-2)).insert(-1, x.extent(-1)))
        .reshape({batches, x.extent(-2), x.extent(-1)});
  };
  const Tensor wide_a = stretched(a), wide_b = stretched(b), y = Tensor::empty({batches, m, n}, Dtype::f64);
  const View<double> va = wide_a.view<double>(), vb = wide_b.view<double>(), vy = y.view<double>();
  for (int64_t index = 0; index < batches; ++index)
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t p = 0; p < k; ++p) sum += va(index, i, p) * vb(index, p, j);
        vy(index, i, j) = sum;
      }
  return y.reshape(shape).to(a.dtype());
}

namespace {

// The last two axes.
template <class T>
Strided<T> strided(const Tensor& x) {
  if (is_row_major(x)) return {x.data<T>(), leading_step(x), 1};
  return {x.data<T>(), 1, leading_step(x)};
}

// Whether all axes but the last step through memory like one axis.
bool folds_into_rows(const Tensor& x) {
  int64_t step = -1;
  for (int axis = x.rank() - 2; axis >= 0; --axis) {
    if (x.extent(axis) == 1) continue;
    if (step >= 0 && x.stride(axis) != step) return false;
    step = x.stride(axis) * x.extent(axis);
  }
  return true;
}

int64_t pieces(int64_t extent, int64_t tile) { return (extent + tile - 1) / tile; }

// How one product [m, k] x [k, n] is cut into tiles.
struct Tiling {
  int64_t rows, columns, inner;  // of a tile; columns are whole panels
  bool shared_panels;            // all of b is packed once, for all tiles; else each tile packs what it reads
};

// Enough tiles for the threads of a small machine, each worth a task.
template <class T>
Tiling tiling_for(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t tile_work = 1 << 20, row_step = 12, column_step = panel_width<T>;
  const auto piece = [](int64_t extent, int64_t count, int64_t step) {
    return pieces(pieces(extent, count), step) * step;
  };
  // Many rows, as activations have: about 128 of them stay in the cache while all panels pass.
  if (m >= 12 * 128) return {piece(m, pieces(m, 128), row_step), n, k, true};
  int64_t tiles = std::clamp<int64_t>(m * n * k / tile_work, 1, 16), parts = 1;
  if (k >= 2048 && k >= 2 * std::max(m, n)) {
    // Weight gradients sum over many tokens into a small result. Their operands are read least often if the sum is cut,
    // and the result only until a tile of it fits into the cache. The partial results are added in order.
    parts = std::min<int64_t>({k / 1024, tiles, 4});
    tiles = std::min(pieces(tiles, parts), std::max<int64_t>(2, m * n >> 17));
  }
  // Nearly square tiles read least.
  const double side = std::sqrt(static_cast<double>(std::max<int64_t>(1, m * n / tiles)));
  const int64_t most = std::min(tiles, pieces(n, column_step));
  const int64_t across = std::clamp<int64_t>(std::llround(static_cast<double>(n) / side), 1, most);
  return {piece(m, pieces(tiles, across), row_step), piece(n, across, column_step), piece(k, parts, 1), false};
}

// Rows of a block of the inner axis: a panel stays in the second-level cache, with the rows of a transposed a.
int64_t inner_block(int64_t k, bool transposed_a) { return pieces(k, pieces(k, transposed_a ? 256 : 384)); }

// c = a b + addend
template <class T>
struct Product {
  int64_t m, n, k;
  Strided<T> a, b;
  Addend<T> addend = {};
};

// All panels of b, [panels, k, panel_width].
template <class T>
Tensor packed(const Product<T>& x) {
  const int64_t panels = pieces(x.n, panel_width<T>), rows = std::min<int64_t>(x.k, 128), blocks = pieces(x.k, rows);
  const Tensor all = Tensor::empty({panels, x.k, panel_width<T>}, dtype_of<T>);
  parallel_for(panels * blocks, 1, [&](int64_t task, int64_t) {
    const int64_t panel = task / blocks, p = task % blocks * rows, j = panel * panel_width<T>;
    pack_panels<T>(x.b.from(p, j), std::min(rows, x.k - p), std::min(panel_width<T>, x.n - j),
                   all.data<T>() + (panel * x.k + p) * panel_width<T>, 0);
  });
  return all;
}

// A tile of c, or of a partial result.
struct Tile {
  int64_t row, rows, column, columns, start, inner;
};

// What a tile packs of a and b, a block of the inner axis at a time. The rows of a transposed a lie far apart, often by
// a power of two, so that only few of them share the first-level cache: it is copied.
template <class T>
struct Packing {
  bool copies_a, packs_b;
  int64_t block, lda, panels_at, size;
  Packing(const Product<T>& x, const Tiling& tiling, bool shares_panels)
      : copies_a(x.a.row_step == 1 && x.a.column_step > 1),
        packs_b(!shares_panels),
        block(inner_block(tiling.inner, copies_a)),
        lda((copies_a ? pieces(std::min(tiling.rows, x.m), simd::lanes<T>) + 1 : 1) * simd::lanes<T>),
        panels_at(block * lda),
        size(panels_at +
             (packs_b ? pieces(std::min(tiling.columns, x.n), panel_width<T>) : 0) * block * panel_width<T>) {}
};

template <class T>
void multiply_tile(const Product<T>& x, const Packing<T>& packing, const T* shared_panels, const Tile& tile, T* scratch,
                   T* c) {
  const int64_t block = packing.block;
  T *const own_a = scratch, *const own_panels = scratch + packing.panels_at;
  for (int64_t done = 0; done < tile.inner; done += block) {
    const int64_t p = tile.start + done, inner = std::min(block, tile.inner - done);
    Strided<T> a = x.a.from(tile.row, p);
    if (packing.copies_a) {
      copy_rows<T>(inner, tile.rows, a.data, a.column_step, own_a, packing.lda);
      a = {own_a, 1, packing.lda};
    }
    const T* panel = own_panels;
    if (!packing.packs_b)
      panel = shared_panels + tile.column * x.k + p * panel_width<T>;
    else
      pack_panels<T>(x.b.from(p, tile.column), inner, tile.columns, own_panels, inner * panel_width<T>);
    const Addend<T> addend = done + inner == tile.inner ? x.addend.from(tile.row, tile.column) : Addend<T>();
    for (int64_t j = 0; j < tile.columns; j += panel_width<T>) {
      tile_product<T>(tile.rows, std::min(panel_width<T>, tile.columns - j), inner, a, panel, panel_width<T>, c + j,
                      x.n, done > 0 ? Onto::sum : Onto::zero, addend.from(0, j));
      panel += (packing.packs_b ? inner : x.k) * panel_width<T>;
    }
  }
}

// Too few rows or columns to fill the registers: OpenBLAS has kernels of its own for these.
template <class T>
bool is_slender(int64_t m, int64_t n) {
  return m < 8 || n < simd::lanes<T>;
}

template <class T>
void multiply_slender(const Product<T>& x, const Tile& tile, T* c) {
  const auto layout = [](const Strided<T>& s) { return s.column_step == 1 ? Trans::no : Trans::yes; };
  gemm<T>(layout(x.a), layout(x.b), tile.rows, tile.columns, tile.inner, T(1), x.a.from(tile.row, tile.start).data,
          std::max(x.a.row_step, x.a.column_step), x.b.from(tile.start, tile.column).data,
          std::max(x.b.row_step, x.b.column_step), T(0), c, x.n);
  if (!x.addend.data) return;
  const Addend<T> addend = x.addend.from(tile.row, tile.column);
  for (int64_t i = 0; i < tile.rows; ++i)
    simd::map<T>(
        tile.columns, c + i * x.n, [](auto u, auto v) { return u + v; }, static_cast<const T*>(c + i * x.n),
        addend.data + i * addend.ld);
}

// y = the sum of `parts` blocks of y's size, added in their order.
template <class T>
void add_parts(int64_t parts, const T* part, const Tensor& y) {
  T* const to = y.data<T>();
  const int64_t size = y.size();
  parallel_for(size, 8192, [&](int64_t begin, int64_t end) {
    const int64_t count = end - begin;
    const T* const from = part + begin;
    simd::map<T>(
        count, to + begin, [](auto u, auto v) { return u + v; }, from, from + size);
    for (int64_t i = 2; i < parts; ++i)
      simd::map<T>(
          count, to + begin, [](auto u, auto v) { return u + v; }, to + begin, from + i * size);
  });
}

// y = a b + addend. y is row-major; addend is undefined, one row [n], or of y's shape and row-major.
template <class T>
void multiply(const Tensor& a, const Tensor& b, const Tensor& addend, const Tensor& y) {
  const int64_t m = y.extent(-2), n = y.extent(-1), k = a.extent(-1), batches = y.size() / (m * n);
  const Product<T> first{m, n, k, strided<T>(a), strided<T>(b)};
  const bool slender = is_slender<T>(m, n);
  Tiling tiling = tiling_for<T>(m, n, k);
  if (batches > 1) tiling.inner = k;
  const bool shares_panels = tiling.shared_panels && batches == 1 && !slender;
  const Tensor panels = shares_panels ? packed<T>(first) : Tensor();
  const int64_t across = pieces(n, tiling.columns), down = pieces(m, tiling.rows), parts = pieces(k, tiling.inner);
  const int64_t tiles = across * down * parts;
  const Tensor partial = parts > 1 ? Tensor::empty({parts, m, n}, y.dtype()) : y;
  const Packing<T> packing(first, tiling, shares_panels);
  const Scratch<T> scratch(packing.size);
  const bool adds_in_tile = addend.defined() && parts == 1;
  // Small products share a task.
  const int64_t grain = tiles > 1 ? 1 : std::max<int64_t>(1, (1 << 18) / (m * n * k + 1));
  parallel_for(batches * tiles, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t batch = task / tiles, part = task % tiles / (across * down);
      Product<T> product = first;
      int64_t rest = batch;
      for (int axis = y.rank() - 3; axis >= 0; --axis) {
        const int64_t index = rest % y.extent(axis);
        rest /= y.extent(axis);
        product.a.data += index * a.stride(axis);
        product.b.data += index * b.stride(axis);
      }
      if (adds_in_tile)
        product.addend =
            addend.rank() == 1 ? Addend<T>{addend.data<T>(), 0} : Addend<T>{addend.data<T>() + batch * m * n, n};
      const int64_t row = task / across % down * tiling.rows, column = task % across * tiling.columns;
      const int64_t start = part * tiling.inner;
      const Tile tile{row,   std::min(tiling.rows, m - row),   column, std::min(tiling.columns, n - column),
                      start, std::min(tiling.inner, k - start)};
      T* const c = partial.data<T>() + (batch + part) * m * n + row * n + column;
      if (slender)
        multiply_slender<T>(product, tile, c);
      else
        multiply_tile<T>(product, packing, shares_panels ? panels.data<T>() : nullptr, tile, scratch.mine(), c);
    }
  });
  if (parts > 1) add_parts(parts, partial.data<T>(), y);
  if (parts > 1 && addend.defined()) add_into(y, addend);
}

// y = a b + addend, for arguments of result_shape(); y is row-major.
void product(const Tensor& a, const Tensor& b, const Tensor& addend, const Tensor& y) {
  const Shape& shape = y.shape();
  const int64_t m = shape[-2], n = shape[-1], k = a.extent(-1);
  if (y.size() == 0) return;
  with_float("matmul", a.dtype(), [&]<class T>() {
    Tensor dense_addend = addend.defined() ? addend.contiguous() : addend;
    // One matrix b for all of a: the leading axes of a are more rows.
    if (b.size() == k * n && a.size() == shape.size() / n * k && a.rank() > 2 && folds_into_rows(a)) {
      const int64_t rows = shape.size() / n;
      if (addend.defined() && addend.rank() > 1) dense_addend = dense_addend.reshape({rows, n});
      multiply<T>(readable(a.reshape({rows, k})), readable(b.reshape({k, n})), dense_addend, y.reshape({rows, n}));
    } else {
      const Shape batch = shape.without(-1).without(-1);
      multiply<T>(readable(a).broadcast_to(batch.insert(-1, m).insert(-1, k)),
                  readable(b).broadcast_to(batch.insert(-1, k).insert(-1, n)), dense_addend, y);
    }
  });
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) { return matmul_plus(a, b, Tensor()); }

Tensor matmul_plus(const Tensor& a, const Tensor& b, const Tensor& addend) {
  const Shape shape = result_shape(a, b);
  if (a.extent(-1) == 0) {
    const Tensor nothing = Tensor::zeros(shape, a.dtype(), a.device());
    return addend.defined() ? add(nothing, addend.to(a.dtype())) : nothing;
  }
  const Tensor y = Tensor::empty(shape, a.dtype(), a.device());
  if constexpr (kHasCuda)
    if (a.is_on(Device::cuda)) {
      if (addend.defined()) require_same_device("matmul", "a", a, "addend", addend);
      if (y.size() > 0) cuda::matmul(y, a, b, addend);
      return y;
    }
  product(a, b, addend, y);
  return y;
}

}  // namespace phasor
