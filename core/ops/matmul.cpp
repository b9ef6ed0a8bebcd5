// Matrix products: fixed tiles, each one single-threaded gemm, spread over threads. The tiles follow from the extents
// alone, so the bits do not depend on the number of threads.
#include "core/ops/matmul.hpp"

#include "core/arguments.hpp"
#include "core/blas.hpp"
#include "core/dispatch.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"

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

// The last two axes of a tensor as gemm reads them.
struct Layout {
  Trans trans = Trans::no;
  int64_t ld = 0;  // 0: neither axis is dense, gemm cannot read it
};

Layout layout_of(const Tensor& x) {
  const int64_t rows = x.extent(-2), columns = x.extent(-1), row_step = x.stride(-2), column_step = x.stride(-1);
  const auto reads = [](int64_t outer, int64_t outer_step, int64_t inner, int64_t inner_step) {
    return (inner_step == 1 || inner <= 1) && (outer_step >= inner || outer <= 1);
  };
  if (reads(rows, row_step, columns, column_step)) return {Trans::no, std::max({row_step, columns, int64_t{1}})};
  if (reads(columns, column_step, rows, row_step)) return {Trans::yes, std::max({column_step, rows, int64_t{1}})};
  return {};
}

Tensor readable(const Tensor& x) { return layout_of(x).ld > 0 ? x : x.clone(); }

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

// Extents of a tile of one product [m, k] x [k, n].
struct Tile {
  int64_t m, n, k;
};

int64_t pieces(int64_t extent, int64_t tile) { return (extent + tile - 1) / tile; }

// About eight equal pieces: enough for the threads of a small machine, large enough that gemm packs each operand
// seldom.
int64_t piece_of(int64_t extent) { return std::clamp<int64_t>(pieces(pieces(extent, 8), 16) * 16, 64, 512); }

Tile tile_for(int64_t m, int64_t n, int64_t k) {
  if (m * n * k <= 1 << 19) return {m, n, k};
  // Weight gradients sum over many tokens into a small result: cutting m or n would leave slivers, so the sum is cut,
  // and the partial results are added in order.
  if (k >= 2 * std::max(m, n) && k >= 512) return {m, n, std::clamp<int64_t>(pieces(pieces(k, 8), 16) * 16, 128, 1024)};
  if (m >= n) return {piece_of(m), n, k};
  return {m, piece_of(n), k};
}

template <class T>
struct Operand {
  const T* data;
  Layout layout;
  const T* at(int64_t row, int64_t column) const {
    return data + (layout.trans == Trans::yes ? column * layout.ld + row : row * layout.ld + column);
  }
};

// Tile `index` of c = a b, c row-major with rows n apart, or of a b + `onto` in every row, unless that is null. The
// partial results of a cut sum lie m n apart.
template <class T>
void run_tile(const Operand<T>& a, const Operand<T>& b, const T* onto, T* c, int64_t m, int64_t n, int64_t k,
              const Tile& tile, int64_t index) {
  const int64_t across = pieces(n, tile.n), down = pieces(m, tile.m);
  const int64_t column = index % across * tile.n, row = index / across % down * tile.m;
  const int64_t part = index / across / down, start = part * tile.k;
  const int64_t rows = std::min(tile.m, m - row), columns = std::min(tile.n, n - column);
  T* const to = c + part * m * n + row * n + column;
  const bool continues = onto != nullptr && part == 0;
  for (int64_t i = 0; continues && i < rows; ++i) std::copy_n(onto + column, columns, to + i * n);
  gemm<T>(a.layout.trans, b.layout.trans, rows, columns, std::min(tile.k, k - start), T(1), a.at(row, start),
          a.layout.ld, b.at(start, column), b.layout.ld, T(continues), to, n);
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

template <class T>
void multiply(const Tensor& a, const Tensor& b, const T* onto, const Tensor& y) {
  const int64_t m = y.extent(-2), n = y.extent(-1), k = a.extent(-1);
  const Layout layout_a = layout_of(a), layout_b = layout_of(b);
  const int batch_rank = y.rank() - 2;
  const int64_t batches = m * n == 0 ? 0 : y.size() / (m * n);
  Tile tile = tile_for(m, n, k);
  if (batches > 1) tile.k = k;
  const int64_t parts = pieces(k, tile.k), tiles = pieces(m, tile.m) * pieces(n, tile.n) * parts;
  const Tensor partial = parts > 1 ? Tensor::empty({parts, m, n}, y.dtype()) : y;
  T* const to = partial.data<T>();
  // Small products share a task.
  const int64_t grain = tiles > 1 ? 1 : std::max<int64_t>(1, (1 << 18) / (m * n * k + 1));
  parallel_for(batches * tiles, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t batch = task / tiles;
      Operand<T> from_a{a.data<T>(), layout_a}, from_b{b.data<T>(), layout_b};
      int64_t rest = batch;
      for (int axis = batch_rank - 1; axis >= 0; --axis) {
        const int64_t index = rest % y.extent(axis);
        rest /= y.extent(axis);
        from_a.data += index * a.stride(axis);
        from_b.data += index * b.stride(axis);
      }
      run_tile(from_a, from_b, onto, to + batch * m * n, m, n, k, tile, task % tiles);
    }
  });
  if (parts > 1) add_parts(parts, partial.data<T>(), y);
}

Tensor product(const Tensor& a, const Tensor& b, const Tensor& row) {
  const Shape shape = result_shape(a, b);
  if (a.extent(-1) == 0) return row.defined() ? row.broadcast_to(shape).clone() : Tensor::zeros(shape, a.dtype());
  const Tensor y = Tensor::empty(shape, a.dtype());
  if (y.size() == 0) return y;
  const int64_t m = shape[-2], n = shape[-1], k = a.extent(-1);
  with_float("matmul", a.dtype(), [&]<class T>() {
    const Tensor dense_row = row.defined() ? row.contiguous() : row;
    const T* const onto = row.defined() ? dense_row.data<T>() : nullptr;
    // One matrix b for all of a: the leading axes of a are more rows.
    if (b.size() == k * n && a.size() == shape.size() / n * k && a.rank() > 2 && folds_into_rows(a)) {
      const int64_t rows = shape.size() / n;
      multiply<T>(readable(a.reshape({rows, k})), readable(b.reshape({k, n})), onto, y.reshape({rows, n}));
    } else {
      const Shape batch = shape.without(-1).without(-1);
      multiply<T>(readable(a).broadcast_to(batch.insert(-1, m).insert(-1, k)),
                  readable(b).broadcast_to(batch.insert(-1, k).insert(-1, n)), onto, y);
    }
  });
  return y;
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) { return product(a, b, Tensor()); }

Tensor matmul_onto_row(const Tensor& a, const Tensor& b, const Tensor& row) { return product(a, b, row); }

}  // namespace phasor
