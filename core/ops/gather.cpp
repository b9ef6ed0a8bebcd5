// Lookups along an axis, and sums in the order of ids. Ids are read where they lie: one id for a whole row
// (index_select) is an id tensor with stride 0 across the row.
#include "core/ops/gather.hpp"

#include <algorithm>

#include "core/arguments.hpp"
#include "core/axis.hpp"
#include "core/dispatch.hpp"
#include "core/ids.hpp"
#include "core/loops.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace reference {
namespace {

// A row-major tensor as [outer, extent, inner] around an axis; at(o, e, i) is the place of an element.
struct Around {
  int64_t outer = 1, extent = 1, inner = 1;
  Around(const Shape& shape, int axis) : extent(shape[axis]) {
    axis = axis < 0 ? axis + shape.rank() : axis;
    for (int i = 0; i < axis; ++i) outer *= shape[i];
    for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  }
  size_t at(int64_t o, int64_t e, int64_t i) const { return static_cast<size_t>((o * extent + e) * inner + i); }
};

// visit(place in ids, place in x) for every id, in row-major order.
template <class Visit>
void for_each_id(const Tensor& x, int axis, const Tensor& ids, Visit visit) {
  const Around of_x(x.shape(), axis), of_ids(ids.shape(), axis);
  const std::vector<int64_t> id = ids.to(Dtype::i64).to_vector<int64_t>();
  for (int64_t outer = 0; outer < of_ids.outer; ++outer)
    for (int64_t i = 0; i < of_ids.extent; ++i)
      for (int64_t inner = 0; inner < of_ids.inner; ++inner) {
        const size_t place = of_ids.at(outer, i, inner);
        visit(place, of_x.at(outer, id[place], inner));
      }
}

}  // namespace

Tensor gather(const Tensor& x, int axis, const Tensor& ids) {
  const std::vector<double> from = x.to(Dtype::f64).to_vector<double>();
  std::vector<double> y(static_cast<size_t>(ids.size()));
  for_each_id(x, axis, ids, [&](size_t place, size_t in_x) { y[place] = from[in_x]; });
  return Tensor::of<double>(ids.shape(), y).to(x.dtype());
}

Tensor scatter_add(const Tensor& x, int axis, const Tensor& ids, const Tensor& source) {
  const std::vector<double> from = source.to(Dtype::f64).to_vector<double>();
  std::vector<double> y = x.to(Dtype::f64).to_vector<double>();
  for_each_id(x, axis, ids, [&](size_t place, size_t in_x) { y[in_x] += from[place]; });
  return Tensor::of<double>(x.shape(), y).to(x.dtype());
}

Tensor index_select(const Tensor& x, int axis, const Tensor& ids) {
  const std::vector<int64_t> rows = ids.to(Dtype::i64).to_vector<int64_t>();
  const Tensor y = Tensor::empty(x.shape().with(axis, ids.size()), x.dtype());
  for (int64_t i = 0; i < ids.size(); ++i) copy_into(y.select(axis, i), x.select(axis, rows[i]));
  return y;
}

}  // namespace reference

namespace {

// ids has the shape of x but for the axis.
void require_ids_fit(const char* op, const char* name, const Tensor& x, int axis, const Tensor& ids) {
  require_defined(op, "ids", ids);
  require(ids.rank() == x.rank(), op, "ids is ", ids.shape(), ", ", name, " is ", x.shape(), "; the ranks must agree");
  for (int other = 0; other < x.rank(); ++other)
    require(other == axis || ids.extent(other) == x.extent(other), op, "ids is ", ids.shape(), ", ", name, " is ",
            x.shape(), "; axis ", other, " must agree (all but axis ", axis, "), is ", ids.extent(other), " and ",
            x.extent(other));
}

void require_list(const char* op, const Tensor& ids) {
  require_defined(op, "ids", ids);
  require(ids.rank() == 1, op, "ids is ", ids.shape(), "; needs [n]");
}

void require_extent(const char* op, int64_t extent) {
  require(extent >= 0, op, "the extent is ", extent, "; needs 0 or more");
}

// ids [n] as ids of `shape` (extent n at the axis), the same along all other axes.
Tensor along(int axis, const Tensor& ids, const Shape& shape) {
  Tensor wide = ids;
  for (int i = 0; i < axis; ++i) wide = wide.unsqueeze(0);
  for (int i = axis + 1; i < shape.rank(); ++i) wide = wide.unsqueeze(-1);
  return wide.broadcast_to(shape);
}

Strides strides_without(const Tensor& x, int axis) {
  Strides strides = x.strides();
  std::copy(strides.begin() + axis + 1, strides.end(), strides.begin() + axis);
  return strides;
}

// y[.., i, ..] = x[.., ids[.., i, ..], ..], y and ids of one shape.
template <class T, class Id>
void copy_chosen(const Tensor& y, const Tensor& x, int axis, const Tensor& ids) {
  Strides strides_x = x.strides();
  strides_x[axis] = 0;  // the id says where along the axis
  const StridedLoop<3> loop(y.shape(), {y.strides(), strides_x, ids.strides()});
  const int64_t step_y = loop.step(0), step_x = loop.step(1), step_id = loop.step(2), stride = x.stride(axis);
  loop.run(grain_for(2), [&](const std::array<int64_t, 3>& at, int64_t count) {
    T* const to = y.data<T>() + at[0];
    const T* const from = x.data<T>() + at[1];
    const Id* const id = ids.data<Id>() + at[2];
    if (step_id == 0 && step_x == 1 && step_y == 1)
      std::copy_n(from + *id * stride, count, to);
    else if (step_id == 1 && step_x == 0 && step_y == 1 && stride == 1)
      for (int64_t i = 0; i < count; ++i) to[i] = from[id[i]];
    else
      for (int64_t i = 0; i < count; ++i) to[i * step_y] = from[id[i * step_id] * stride + i * step_x];
  });
}

Tensor chosen(const char* op, const Tensor& x, int axis, const Tensor& ids) {
  require_same_device(op, "x", x, "ids", ids);
  const Tensor y = Tensor::empty(ids.shape(), x.dtype(), x.device());
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) {
      cuda::gather(op, y, x, axis, ids);
      return y;
    }
  with_float(op, x.dtype(), [&]<class T>() {
    with_integer(op, ids.dtype(), [&]<class Id>() { copy_chosen<T, Id>(y, x, axis, ids); });
  });
  return y;
}

// y[.., ids[.., i, ..], ..] += x[.., i, ..] in the order of i, ids and x of one shape. Everything that may meet at one
// element lies on one line along the axis; a line has one owner.
template <class T, class Id>
void add_chosen(const Tensor& y, int axis, const Tensor& ids, const Tensor& x) {
  const StridedLoop<3> lines(x.shape().without(axis),
                             {strides_without(y, axis), strides_without(x, axis), strides_without(ids, axis)});
  const int64_t step_y = lines.step(0), step_x = lines.step(1), step_id = lines.step(2);
  const int64_t n = x.extent(axis), stride_y = y.stride(axis), stride_x = x.stride(axis), stride_id = ids.stride(axis);
  // Where lines are columns, a tile takes many at a time: few would fill no cache line, and a power of two between rows
  // makes each addition wait for an earlier one whose address agrees in the low bits.
  const bool columns = lines.row() > 1 && stride_y > step_y;
  const int64_t grain = std::max<int64_t>(grain_for(2 * n), columns ? 64 : 1);
  lines.run(grain, [&](const std::array<int64_t, 3>& at, int64_t count) {
    T* const to = y.data<T>() + at[0];
    const T* const from = x.data<T>() + at[1];
    const Id* const id = ids.data<Id>() + at[2];
    const auto add = [=](int64_t line, int64_t i) {
      to[line * step_y + id[line * step_id + i * stride_id] * stride_y] += from[line * step_x + i * stride_x];
    };
    if (columns)
      for (int64_t i = 0; i < n; ++i)
        for (int64_t line = 0; line < count; ++line) add(line, i);
    else
      for (int64_t line = 0; line < count; ++line)
        for (int64_t i = 0; i < n; ++i) add(line, i);
  });
}

void add_into_chosen(const char* op, const Tensor& y, int axis, const Tensor& ids, const Tensor& x) {
  require_same_device(op, "x", x, "ids", ids);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::scatter_add(op, y, axis, ids, x);
  with_float(op, x.dtype(), [&]<class T>() {
    with_integer(op, ids.dtype(), [&]<class Id>() { add_chosen<T, Id>(y, axis, ids, x); });
  });
}

}  // namespace

Tensor gather(const Tensor& x, int axis, const Tensor& ids) {
  axis = checked_axis("gather", "x", x, axis);
  require_float("gather", "x", x);
  require_ids_fit("gather", "x", x, axis, ids);
  require_ids("gather", "id", ids, x.extent(axis));
  return chosen("gather", x, axis, ids);
}

Tensor index_select(const Tensor& x, int axis, const Tensor& ids) {
  axis = checked_axis("index_select", "x", x, axis);
  require_float("index_select", "x", x);
  require_list("index_select", ids);
  require_ids("index_select", "id", ids, x.extent(axis));
  return chosen("index_select", x, axis, along(axis, ids, x.shape().with(axis, ids.size())));
}

Tensor scatter_add(const Tensor& x, int axis, const Tensor& ids, const Tensor& source) {
  axis = checked_axis("scatter_add", "x", x, axis);
  require_float("scatter_add", "x", x);
  require_ids_fit("scatter_add", "x", x, axis, ids);
  require_same_shape("scatter_add", "ids", ids, "source", source);
  require_same_dtype("scatter_add", "x", x, "source", source);
  require_ids("scatter_add", "id", ids, x.extent(axis));
  const Tensor y = Tensor::empty_like(x);
  copy_into(y, x);
  add_into_chosen("scatter_add", y, axis, ids, source);
  return y;
}

Tensor gather_backward(int64_t extent, int axis, const Tensor& ids, const Tensor& dy) {
  axis = checked_axis("gather_backward", "dy", dy, axis);
  require_float("gather_backward", "dy", dy);
  require_extent("gather_backward", extent);
  require_same_shape("gather_backward", "ids", ids, "dy", dy);
  require_ids("gather_backward", "id", ids, extent);
  const Tensor dx = Tensor::zeros(dy.shape().with(axis, extent), dy.dtype(), dy.device());
  add_into_chosen("gather_backward", dx, axis, ids, dy);
  return dx;
}

namespace {

// The places of each id, in order: those of `row` are places[starts[row]] .. places[starts[row + 1] - 1].
struct Places {
  std::vector<int64_t> starts, places;

  Places(int64_t rows, const std::vector<int64_t>& ids) : starts(rows + 1), places(ids.size()) {
    for (const int64_t id : ids) ++starts[id + 1];
    for (int64_t row = 0; row < rows; ++row) starts[row + 1] += starts[row];
    std::vector<int64_t> next = starts;
    for (size_t i = 0; i < ids.size(); ++i) places[next[ids[i]]++] = static_cast<int64_t>(i);
  }
};

// y[column] = sum of x[place * stride + column] over `places` in order, for `count` columns, at most 4 vectors of them:
// the sums stay in registers.
template <class T>
void sum_rows(int64_t count, T* y, const T* x, int64_t stride, const int64_t* places, int64_t places_count) {
  const int64_t lanes = simd::lanes<T>;
  if (count == 4 * lanes) {
    simd::Vec<T> s0 = simd::set<T>(0), s1 = s0, s2 = s0, s3 = s0;
    for (int64_t i = 0; i < places_count; ++i) {
      const T* const row = x + places[i] * stride;
      s0 = s0 + simd::load<T>(row);
      s1 = s1 + simd::load<T>(row + lanes);
      s2 = s2 + simd::load<T>(row + 2 * lanes);
      s3 = s3 + simd::load<T>(row + 3 * lanes);
    }
    simd::store<T>(s0, y);
    simd::store<T>(s1, y + lanes);
    simd::store<T>(s2, y + 2 * lanes);
    simd::store<T>(s3, y + 3 * lanes);
    return;
  }
  for (int64_t start = 0; start < count; start += lanes) {
    const int64_t n = std::min(lanes, count - start);
    simd::Vec<T> s = simd::set<T>(0);
    for (int64_t i = 0; i < places_count; ++i) s = s + simd::load_first<T>(n, x + places[i] * stride + start);
    simd::store_first<T>(n, s, y + start);
  }
}

}  // namespace

Tensor index_select_backward(int64_t extent, int axis, const Tensor& ids, const Tensor& dy) {
  axis = checked_axis("index_select_backward", "dy", dy, axis);
  require_float("index_select_backward", "dy", dy);
  require_extent("index_select_backward", extent);
  require_list("index_select_backward", ids);
  require(dy.extent(axis) == ids.size(), "index_select_backward", "dy is ", dy.shape(), ", ids is ", ids.shape(),
          "; axis ", axis, " of dy must be the number of ids");
  if constexpr (kHasCuda)
    if (dy.is_on(Device::cuda)) {
      require_same_device("index_select_backward", "dy", dy, "ids", ids);
      require_ids("index_select_backward", "id", ids, extent);
      return cuda::index_select_backward(extent, axis, ids, dy);
    }
  const Shape shape = dy.shape().with(axis, extent);
  return with_float("index_select_backward", dy.dtype(), [&]<class T>() {
    const Tensor dx = Tensor::empty(shape, dy.dtype());
    const StridedLoop<2> rows(shape.without(axis), {strides_without(dx, axis), strides_without(dy, axis)});
    if (rows.row() < simd::lanes<T> || rows.step(0) != 1 || rows.step(1) != 1) {  // no rows to add as vectors
      require_ids("index_select_backward", "id", ids, extent);
      fill(dx, 0);
      add_into_chosen("index_select_backward", dx, axis, along(axis, ids, dy.shape()), dy);
      return dx;
    }
    const Places places(extent, checked_ids("index_select_backward", "id", ids, extent));
    const int64_t block = 4 * simd::lanes<T>, blocks = (rows.row() + block - 1) / block;
    // Every cell has one owner, which adds in the order of ids. Blocks of columns share the work of a frequent id.
    const int64_t mean_places = 1 + ids.size() / std::max<int64_t>(extent, 1);
    parallel_for(rows.rows() * extent * blocks, grain_for(mean_places * block), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t column = task % blocks * block, id = task / blocks % extent, first = places.starts[id];
        const std::array<int64_t, 2> at = rows.offsets(task / blocks / extent);
        sum_rows(std::min(block, rows.row() - column), dx.data<T>() + at[0] + id * dx.stride(axis) + column,
                 dy.data<T>() + at[1] + column, dy.stride(axis), places.places.data() + first,
                 places.starts[id + 1] - first);
      }
    });
    return dx;
  });
}

Tensor one_hot(const Tensor& ids, int64_t classes, Dtype dtype) {
  require_defined("one_hot", "ids", ids);
  require(ids.rank() < max_rank, "one_hot", "ids is ", ids.shape(), "; needs a rank below ", max_rank);
  require<ValueError>(classes >= 0, "one_hot", "the number of classes is ", classes, "; needs 0 or more");
  require_ids("one_hot", "id", ids, classes);
  if constexpr (kHasCuda)
    if (ids.is_on(Device::cuda)) {
      const Tensor y = Tensor::zeros(ids.shape().insert(-1, classes), dtype, Device::cuda);
      cuda::one_hot(y, ids);
      return y;
    }
  const Tensor y = Tensor::empty(ids.shape().insert(-1, classes), dtype);
  with_any(dtype, [&]<class T>() {
    with_integer("one_hot", ids.dtype(), [&]<class Id>() {
      const Tensor list = ids.contiguous();
      const int64_t grain = std::max<int64_t>(1, grain_for(1) / std::max<int64_t>(classes, 1));
      parallel_for(ids.size(), grain, [&](int64_t begin, int64_t end) {
        T* const row = y.data<T>();
        std::fill(row + begin * classes, row + end * classes, T(0));
        for (int64_t i = begin; i < end; ++i) row[i * classes + list.data<Id>()[i]] = T(1);
      });
    });
  });
  return y;
}

}  // namespace phasor
