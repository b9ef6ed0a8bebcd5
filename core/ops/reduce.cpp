// Reductions over any axes, as two nested strided loops: one over what is kept, one over what is reduced. Whichever of
// them walks neighbouring numbers runs innermost: along the run when it is reduced, side by side when it is kept.
#include "core/ops/reduce.hpp"

#include <algorithm>
#include <limits>

#include "core/dispatch.hpp"
#include "core/loops.hpp"
#include "core/ops/binary.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace reference {
namespace {

// y[kept index] = combine(y[kept index], x[index]) over all of x in row-major order.
template <class Combine>
Tensor reduce(const Tensor& x, const std::vector<int>& axes, double start, Combine combine) {
  std::array<bool, max_rank> reduced{};
  if (axes.empty()) reduced.fill(true);
  for (const int axis : axes) reduced[axis < 0 ? axis + x.rank() : axis] = true;
  Shape shape = x.shape();
  for (int axis = 0; axis < x.rank(); ++axis)
    if (reduced[axis]) shape = shape.with(axis, 1);
  const Tensor y = Tensor::full(shape, start, Dtype::f64);
  const std::vector<double> values = x.to(Dtype::f64).to_vector<double>();
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t rest = i, place = 0;
    for (int axis = x.rank() - 1; axis >= 0; --axis) {
      if (!reduced[axis]) place += rest % x.extent(axis) * y.stride(axis);
      rest /= x.extent(axis);
    }
    y.data<double>()[place] = combine(y.data<double>()[place], values[i]);
  }
  return y.to(x.dtype());
}

}  // namespace

Tensor sum(const Tensor& x, const std::vector<int>& axes) {
  return reduce(x, axes, 0, [](double a, double b) { return a + b; });
}
Tensor max(const Tensor& x, const std::vector<int>& axes) {
  return reduce(x, axes, -std::numeric_limits<double>::infinity(),
                [](double a, double b) { return a != a || a > b ? a : b; });
}

}  // namespace reference

namespace {

struct Sum {
  static constexpr double identity = 0;
  template <class V>
  static V combine(V a, V b) {
    return a + b;
  }
  template <class T>
  static T run(int64_t n, const T* x) {
    return simd::sum<T>(
        n, [](auto v) { return v; }, x);
  }
};

struct Max {
  static constexpr double identity = -std::numeric_limits<double>::infinity();
  // A NaN on either side stays.
  template <class V>
  static V combine(V a, V b) {
    if constexpr (std::is_arithmetic_v<V>) {
      return a != a || a > b ? a : b;
    } else {
      namespace hn = simd::hn;
      return hn::IfThenElse(hn::Or(hn::Gt(a, b), hn::IsNaN(a)), a, b);
    }
  }
  template <class T>
  static T run(int64_t n, const T* x) {
    return simd::maximum(n, x);
  }
};

constexpr int64_t chunk = 32768;  // elements that one tile reads, about

// Runs are reduced: one number for each piece of each output, pieces combined in order.
template <class Op, class T>
void reduce_runs(const Tensor& y, const StridedLoop<2>& kept, const StridedLoop<1>& reduced, const T* x) {
  const int64_t outputs = kept.rows() * kept.row();
  const int64_t segments = std::max<int64_t>(1, (reduced.row() + chunk - 1) / chunk), units = reduced.rows() * segments;
  const int64_t unit = std::clamp<int64_t>(reduced.row(), 1, chunk),
                units_per_piece = std::max<int64_t>(1, chunk / unit);
  const int64_t pieces = std::max<int64_t>(1, (units + units_per_piece - 1) / units_per_piece);
  std::vector<double> partial(pieces > 1 ? outputs * pieces : 0);
  const int64_t grain = std::max<int64_t>(1, chunk / std::max<int64_t>(1, std::min(units, units_per_piece) * unit));

  parallel_for(outputs * pieces, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t output = task / pieces, first = task % pieces * units_per_piece;
      std::array<int64_t, 2> at = kept.offsets(output / kept.row());
      for (int n = 0; n < 2; ++n) at[n] += output % kept.row() * kept.step(n);
      if (units == 1) {
        y.data<T>()[at[1]] = Op::run(reduced.row(), x + at[0]);
        continue;
      }
      double total = Op::identity;
      for (int64_t index = first; index < std::min(first + units_per_piece, units); ++index) {
        const int64_t start = index % segments * chunk, count = std::min(chunk, reduced.row() - start);
        total = Op::combine(total, double{Op::run(count, x + at[0] + reduced.offsets(index / segments)[0] + start)});
      }
      if (pieces > 1)
        partial[task] = total;
      else
        y.data<T>()[at[1]] = static_cast<T>(total);
    }
  });
  if (pieces == 1) return;
  for (int64_t output = 0; output < outputs; ++output) {
    double total = partial[output * pieces];
    for (int64_t piece = 1; piece < pieces; ++piece) total = Op::combine(total, partial[output * pieces + piece]);
    y.data<T>()[kept.offsets(output / kept.row())[1] + output % kept.row() * kept.step(1)] = static_cast<T>(total);
  }
}

// acc[i] = combination over the reduced indices [begin, end) of x[their offset + i], i < n.
template <class Op, class T>
void combine_rows(int64_t n, T* acc, const T* x, const StridedLoop<1>& reduced, int64_t begin, int64_t end) {
  std::fill_n(acc, n, static_cast<T>(Op::identity));
  const int64_t step = reduced.step(0);
  while (begin < end) {
    const T* row = x + reduced.offsets(begin / reduced.row())[0] + begin % reduced.row() * step;
    const int64_t stop = std::min(end, (begin / reduced.row() + 1) * reduced.row());
    const T* const so_far = acc;
    // Four rows at a time: a quarter of the traffic to the accumulators.
    for (; begin + 4 <= stop; begin += 4, row += 4 * step) {
      const auto combine = [](auto a, auto r0, auto r1, auto r2, auto r3) {
        return Op::combine(a, Op::combine(Op::combine(r0, r1), Op::combine(r2, r3)));
      };
      simd::map(n, acc, combine, so_far, row, row + step, row + 2 * step, row + 3 * step);
    }
    for (; begin < stop; ++begin, row += step)
      simd::map(
          n, acc, [](auto a, auto r) { return Op::combine(a, r); }, so_far, row);
  }
}

// Runs are kept: columns side by side, in blocks whose accumulators stay in the cache.
template <class Op, class T>
void reduce_columns(const Tensor& y, const StridedLoop<2>& kept, const StridedLoop<1>& reduced, const T* x) {
  constexpr int64_t widest = 1024;
  const int64_t width = kept.row(), rows = reduced.rows() * reduced.row();
  const int64_t block = std::min(widest, width), blocks = (width + block - 1) / block;
  const int64_t rows_per_piece = std::max<int64_t>(1, chunk / block);
  const int64_t pieces = std::max<int64_t>(1, (rows + rows_per_piece - 1) / rows_per_piece);
  const int64_t columns = kept.rows() * blocks, outputs = kept.rows() * width;
  std::vector<T> partial(pieces > 1 ? pieces * outputs : 0);
  const int64_t grain = std::max<int64_t>(1, chunk / (block * std::max<int64_t>(1, std::min(rows, rows_per_piece))));

  const auto write = [&](int64_t kept_row, int64_t column, int64_t n, const T* acc) {
    T* const to = y.data<T>() + kept.offsets(kept_row)[1] + column * kept.step(1);
    for (int64_t i = 0; i < n; ++i) to[i * kept.step(1)] = acc[i];
  };
  parallel_for(columns * pieces, grain, [&](int64_t begin, int64_t end) {
    alignas(64) T acc[widest];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t piece = task / columns, kept_row = task % columns / blocks, column = task % blocks * block;
      const int64_t n = std::min(block, width - column), first = piece * rows_per_piece;
      T* const to = pieces > 1 ? partial.data() + piece * outputs + kept_row * width + column : acc;
      combine_rows<Op>(n, to, x + kept.offsets(kept_row)[0] + column, reduced, first,
                       std::min(first + rows_per_piece, rows));
      if (pieces == 1) write(kept_row, column, n, acc);
    }
  });
  if (pieces == 1) return;
  const StridedLoop<1> over_pieces({pieces}, {Strides{outputs}});
  parallel_for(columns, std::max<int64_t>(1, chunk / (block * pieces)), [&](int64_t begin, int64_t end) {
    alignas(64) T acc[widest];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t kept_row = task / blocks, column = task % blocks * block, n = std::min(block, width - column);
      combine_rows<Op>(n, acc, partial.data() + kept_row * width + column, over_pieces, 0, pieces);
      write(kept_row, column, n, acc);
    }
  });
}

// Which axes are reduced, and the shape that is left: the same rank, with extent 1 for those.
struct Axes {
  std::array<bool, max_rank> reduced{};
  Shape kept, inner;  // x's shape with the reduced axes, and with the others, as extent 1

  Axes(const char* op, const Shape& shape, const std::vector<int>& axes) : kept(shape), inner(shape) {
    if (axes.empty()) reduced.fill(true);
    for (const int given : axes) {
      const int axis = normalized_axis(op, given, shape.rank());
      require(!reduced[axis], op, "axis ", given, " of ", shape, " is named twice; needs each axis once");
      reduced[axis] = true;
    }
    for (int axis = 0; axis < shape.rank(); ++axis) {
      Shape& shrinks = reduced[axis] ? kept : inner;
      shrinks = shrinks.with(axis, 1);
    }
  }
};

template <class Op>
Tensor reduce(const char* op, const Tensor& x, const Axes& axes) {
  return with_float(op, x.dtype(), [&]<class T>() {
    const Tensor y = Tensor::empty(axes.kept, x.dtype());
    if (x.size() == 0) {
      fill(y, Op::identity);
      return y;
    }
    Tensor from = x;
    const auto over_kept = [&] { return StridedLoop<2>(axes.kept, {from.strides(), y.strides()}); };
    const auto over_reduced = [&] { return StridedLoop<1>(axes.inner, {from.strides()}); };
    if (over_kept().step(0) != 1 && over_reduced().step(0) != 1) from = x.contiguous();
    const T* const data = from.data<T>();
    if (over_kept().step(0) == 1)
      reduce_columns<Op>(y, over_kept(), over_reduced(), data);
    else
      reduce_runs<Op>(y, over_kept(), over_reduced(), data);
    return y;
  });
}

}  // namespace

Tensor sum(const Tensor& x, const std::vector<int>& axes) {
  return reduce<Sum>("sum", x, Axes("sum", x.shape(), axes));
}

Tensor mean(const Tensor& x, const std::vector<int>& axes) {
  const Axes which("mean", x.shape(), axes);
  require(which.inner.size() > 0, "mean", "the mean of nothing: x is ", x.shape(), "; needs an element to average");
  const Tensor total = reduce<Sum>("mean", x, which);
  return div(total, Tensor::scalar(static_cast<double>(which.inner.size()), x.dtype()));
}

Tensor max(const Tensor& x, const std::vector<int>& axes) {
  const Axes which("max", x.shape(), axes);
  require(which.inner.size() > 0, "max", "the maximum of nothing: x is ", x.shape(), "; needs an element");
  return reduce<Max>("max", x, which);
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  require(broadcast_shape("sum_to", x.shape(), shape) == x.shape(), "sum_to", shape,
          " does not broadcast to x, which is ", x.shape());
  if (x.shape() == shape) return x;
  const int added = x.rank() - shape.rank();
  std::vector<int> stretched;
  for (int axis = 0; axis < x.rank(); ++axis)
    if (axis < added || (shape[axis - added] == 1 && x.extent(axis) != 1)) stretched.push_back(axis);
  return reduce<Sum>("sum_to", x, Axes("sum_to", x.shape(), stretched)).reshape(shape);
}

}  // namespace phasor
