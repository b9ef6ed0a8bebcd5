// How a reduction walks a tensor: two nested strided loops, one over what is kept, one over what is reduced. Whichever
// of them walks neighbouring numbers runs innermost: along the run when it is reduced, side by side when it is kept.
//
// Tiles read about `chunk` elements, once from memory: what an Op needs several passes for, it does while they are in
// the cache. The summaries of tiles are merged in order. An Op is a struct of static functions:
//   Summary                     what is known of some numbers; `identity` is that of none
//   of_run(n, x)                of n >= 1 neighbours
//   merge(a, b)                 of both
//   result(summary)
// and the same for columns side by side, each with a Column<T> (a Summary, or less):
//   of_columns(n, out, rows)    of n <= `widest` columns, over all rows
//   merge_columns(n, out, in, step, count)   in[i], in[i + step], ... for column i < n
#pragma once

#include <vector>

#include "core/arguments.hpp"
#include "core/axis.hpp"
#include "core/dispatch.hpp"
#include "core/loops.hpp"
#include "core/simd.hpp"
#include "core/tensor.hpp"

namespace phasor::reduction {

constexpr int64_t chunk = 32768;  // elements that one tile reads, about

// Which axes are reduced, and the shape that is left: the same rank, with extent 1 for those.
struct Axes {
  std::array<bool, max_rank> reduced{};
  Shape kept, inner;  // x's shape with the reduced axes, and with the others, as extent 1

  Axes(At op, const Tensor& x, const std::vector<int>& axes) : kept(x.shape()), inner(x.shape()) {
    require_float(op, "x", x);
    const Shape& shape = x.shape();
    if (axes.empty()) reduced.fill(true);
    for (const int given : axes) {
      const int axis = checked_axis(op, "x", x, given);
      require(!reduced[axis], op, "axis ", given, " of x, which is ", shape, ", is named twice; needs each axis once");
      reduced[axis] = true;
    }
    for (int axis = 0; axis < shape.rank(); ++axis) {
      Shape& shrinks = reduced[axis] ? kept : inner;
      shrinks = shrinks.with(axis, 1);
    }
  }
};

// The reduced indices [begin, end): rows of columns that lie side by side.
template <class T>
struct Rows {
  const T* x;
  const StridedLoop<1>& reduced;
  int64_t begin, end;

  const T* row(int64_t index) const {
    return x + reduced.offsets(index / reduced.row())[0] + index % reduced.row() * reduced.step(0);
  }

  // body(row) or, where they follow each other, body(row, row, row, row): a quarter of the traffic to accumulators.
  template <class Body>
  void each(Body body) const {
    const int64_t step = reduced.step(0);
    for (int64_t index = begin; index < end;) {
      const T* at = row(index);
      const int64_t stop = std::min(end, (index / reduced.row() + 1) * reduced.row());
      for (; index + 4 <= stop; index += 4, at += 4 * step) body(at, at + step, at + 2 * step, at + 3 * step);
      for (; index < stop; ++index, at += step) body(at);
    }
  }
};

// Runs are reduced: one summary for each piece of each output, pieces merged in order.
template <class Op, class R, class T>
void reduce_runs(const Tensor& y, const StridedLoop<2>& kept, const StridedLoop<1>& reduced, const T* x) {
  using Summary = typename Op::Summary;
  const int64_t outputs = kept.rows() * kept.row();
  const int64_t segments = std::max<int64_t>(1, (reduced.row() + chunk - 1) / chunk), units = reduced.rows() * segments;
  const int64_t unit = std::clamp<int64_t>(reduced.row(), 1, chunk),
                units_per_piece = std::max<int64_t>(1, chunk / unit);
  const int64_t pieces = std::max<int64_t>(1, (units + units_per_piece - 1) / units_per_piece);
  std::vector<Summary> partial(pieces > 1 ? outputs * pieces : 0, Op::identity);
  const int64_t grain = std::max<int64_t>(1, chunk / std::max<int64_t>(1, std::min(units, units_per_piece) * unit));

  parallel_for(outputs * pieces, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t output = task / pieces, first = task % pieces * units_per_piece;
      std::array<int64_t, 2> at = kept.offsets(output / kept.row());
      for (int n = 0; n < 2; ++n) at[n] += output % kept.row() * kept.step(n);
      if (units == 1) {
        y.data<R>()[at[1]] = static_cast<R>(Op::result(Op::of_run(reduced.row(), x + at[0])));
        continue;
      }
      Summary total = Op::identity;
      for (int64_t index = first; index < std::min(first + units_per_piece, units); ++index) {
        const int64_t start = index % segments * chunk, count = std::min(chunk, reduced.row() - start);
        total = Op::merge(total, Op::of_run(count, x + at[0] + reduced.offsets(index / segments)[0] + start));
      }
      if (pieces > 1)
        partial[task] = total;
      else
        y.data<R>()[at[1]] = static_cast<R>(Op::result(total));
    }
  });
  if (pieces == 1) return;
  for (int64_t output = 0; output < outputs; ++output) {
    Summary total = partial[output * pieces];
    for (int64_t piece = 1; piece < pieces; ++piece) total = Op::merge(total, partial[output * pieces + piece]);
    y.data<R>()[kept.offsets(output / kept.row())[1] + output % kept.row() * kept.step(1)] =
        static_cast<R>(Op::result(total));
  }
}

// Runs are kept: columns side by side, in blocks that stay in the cache with their summaries.
template <class Op, class R, class T>
void reduce_columns(const Tensor& y, const StridedLoop<2>& kept, const StridedLoop<1>& reduced, const T* x) {
  using Column = typename Op::template Column<T>;
  const int64_t width = kept.row(), rows = reduced.rows() * reduced.row();
  const int64_t block = std::min(Op::widest, width), blocks = (width + block - 1) / block;
  const int64_t rows_per_piece = std::max<int64_t>(1, chunk / block);
  const int64_t pieces = std::max<int64_t>(1, (rows + rows_per_piece - 1) / rows_per_piece);
  const int64_t columns = kept.rows() * blocks, outputs = kept.rows() * width;
  std::vector<Column> partial(pieces > 1 ? pieces * outputs : 0);
  const int64_t grain = std::max<int64_t>(1, chunk / (block * std::max<int64_t>(1, std::min(rows, rows_per_piece))));

  const auto write = [&](int64_t kept_row, int64_t column, int64_t n, const Column* summaries) {
    R* const to = y.data<R>() + kept.offsets(kept_row)[1] + column * kept.step(1);
    for (int64_t i = 0; i < n; ++i) to[i * kept.step(1)] = static_cast<R>(Op::result(summaries[i]));
  };
  parallel_for(columns * pieces, grain, [&](int64_t begin, int64_t end) {
    alignas(64) Column summaries[Op::widest];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t piece = task / columns, kept_row = task % columns / blocks, column = task % blocks * block;
      const int64_t n = std::min(block, width - column), first = piece * rows_per_piece;
      Column* const to = pieces > 1 ? partial.data() + piece * outputs + kept_row * width + column : summaries;
      Op::of_columns(
          n, to,
          Rows<T>{x + kept.offsets(kept_row)[0] + column, reduced, first, std::min(first + rows_per_piece, rows)});
      if (pieces == 1) write(kept_row, column, n, summaries);
    }
  });
  if (pieces == 1) return;
  parallel_for(columns, std::max<int64_t>(1, chunk / (block * pieces)), [&](int64_t begin, int64_t end) {
    alignas(64) Column summaries[Op::widest];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t kept_row = task / blocks, column = task % blocks * block, n = std::min(block, width - column);
      Op::merge_columns(n, summaries, partial.data() + kept_row * width + column, outputs, pieces);
      write(kept_row, column, n, summaries);
    }
  });
}

// The result is of type R; of x's own where that is void.
template <class Op, class Result = void>
Tensor reduce(At op, const Tensor& x, const Axes& axes) {
  return with_float(op, x.dtype(), [&]<class T>() {
    using R = std::conditional_t<std::is_void_v<Result>, T, Result>;
    const Tensor y = Tensor::empty(axes.kept, dtype_of<R>);
    if (x.size() == 0) {
      fill(y, static_cast<double>(Op::result(Op::identity)));
      return y;
    }
    Tensor from = x;
    const auto over_kept = [&] { return StridedLoop<2>(axes.kept, {from.strides(), y.strides()}); };
    const auto over_reduced = [&] { return StridedLoop<1>(axes.inner, {from.strides()}); };
    if (over_kept().step(0) != 1 && over_reduced().step(0) != 1) from = x.contiguous();
    const T* const data = from.data<T>();
    if (over_kept().step(0) == 1)
      reduce_columns<Op, R>(y, over_kept(), over_reduced(), data);
    else
      reduce_runs<Op, R>(y, over_kept(), over_reduced(), data);
    return y;
  });
}

}  // namespace phasor::reduction
