// Turning components by given angles: the CPU kernels for both layouts. The inverse turn is the same kernel with s ->
// -s.
#include "core/ops/rotary.hpp"

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/loops.hpp"
#include "core/simd.hpp"

namespace phasor {

RotaryTensors checked_rotary_tables(const char* op, const char* name, const std::string& prefix, const Tensor& x,
                                    const Tensor& cos, const Tensor& sin) {
  require_float(op, name, x);
  const std::string cos_name = prefix + "cos", sin_name = prefix + "sin";
  const auto require_table = [&](const std::string& of_table, const Tensor& table) {
    if (is_f32_beside_bf16(table, x))
      require_same_device(op, of_table.c_str(), table, name, x);
    else
      require_same_dtype(op, of_table.c_str(), table, name, x);
  };
  require_table(cos_name, cos);
  require_table(sin_name, sin);
  require_same_dtype(op, sin_name.c_str(), sin, cos_name.c_str(), cos);
  require(x.rank() == 4, op, name, " is ", x.shape(), "; needs [batch, heads, length, head_dim]");
  require(x.extent(-1) % 2 == 0, op, name, " is ", x.shape(), ": head_dim ", x.extent(-1),
          " (axis 3) is odd; components are pairs of channels");
  require(cos.shape() == sin.shape(), op, sin_name, " is ", sin.shape(), "; expected ", cos.shape(), " like ",
          cos_name);
  require(cos.rank() >= 1 && cos.rank() <= 4, op, cos_name, " is ", cos.shape(),
          "; needs at most [batch, heads, length, components]");
  const int64_t components = cos.extent(-1);
  require(2 * components <= x.extent(-1), op, cos_name, " is ", cos.shape(), ": ", components,
          " components need a head_dim of at least ", 2 * components, ", ", name, " is ", x.shape());
  const Shape target = x.shape().with(-1, components);
  const char* const axes[] = {"length", "heads", "batch"};
  for (int axis = 2; axis <= cos.rank(); ++axis)
    require(cos.extent(-axis) == 1 || cos.extent(-axis) == target[-axis], op, cos_name, " is ", cos.shape(), ", ", name,
            " is ", x.shape(), ": axis ", -axis, " (", axes[axis - 2], ") is ", cos.extent(-axis), "; needs 1 or ",
            target[-axis]);
  return {cos.broadcast_to(target), sin.broadcast_to(target)};
}

namespace {

RotaryTensors checked_tables(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  return checked_rotary_tables("rotary", "x", "", x, cos, sin);
}

}  // namespace

Tensor reference::rotary(const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryLayout layout) {
  const RotaryTensors tables = checked_tables(x, cos, sin);
  const Tensor wide_x = x.to(Dtype::f64), wide_cos = tables.cos.to(Dtype::f64), wide_sin = tables.sin.to(Dtype::f64);
  const Tensor y = wide_x.clone();
  const View<double> vx = wide_x.view<double>(), vc = wide_cos.view<double>(), vs = wide_sin.view<double>(),
                     vy = y.view<double>();
  const int64_t components = cos.extent(-1);
  for (int64_t batch = 0; batch < x.extent(0); ++batch)
    for (int64_t head = 0; head < x.extent(1); ++head)
      for (int64_t position = 0; position < x.extent(2); ++position)
        for (int64_t component = 0; component < components; ++component) {
          const bool interleaved = layout == RotaryLayout::interleaved;
          const int64_t first = interleaved ? 2 * component : component;
          const int64_t second = interleaved ? first + 1 : component + components;
          const double x0 = vx(batch, head, position, first), x1 = vx(batch, head, position, second);
          const double c = vc(batch, head, position, component), s = vs(batch, head, position, component);
          vy(batch, head, position, first) = x0 * c - x1 * s;
          vy(batch, head, position, second) = x1 * c + x0 * s;
        }
  return y.to(x.dtype());
}

namespace {

namespace hn = simd::hn;

Tensor dense_last(const Tensor& x) { return x.stride(-1) == 1 || x.extent(-1) <= 1 ? x : x.clone(); }

// The two channels of n components from p on, 1 <= n <= lanes; lanes beyond n are not stored.
template <class T, RotaryLayout layout>
void load_pairs(const T* x, int64_t components, int64_t p, int64_t n, simd::Vec<T>& x0, simd::Vec<T>& x1) {
  if constexpr (layout == RotaryLayout::half_split) {
    x0 = simd::load_first<T>(n, x + p);
    x1 = simd::load_first<T>(n, x + components + p);
  } else if (n == simd::lanes<T>) {
    hn::LoadInterleaved2(simd::Tag<T>(), x + 2 * p, x0, x1);
  } else {
    alignas(64) T pairs[2 * hn::MaxLanes(simd::Tag<T>())] = {};
    std::copy(x + 2 * p, x + 2 * (p + n), pairs);
    hn::LoadInterleaved2(simd::Tag<T>(), pairs, x0, x1);
  }
}

template <class T, RotaryLayout layout>
void store_pairs(T* y, int64_t components, int64_t p, int64_t n, simd::Vec<T> y0, simd::Vec<T> y1) {
  if constexpr (layout == RotaryLayout::half_split) {
    simd::store_first<T>(n, y0, y + p);
    simd::store_first<T>(n, y1, y + components + p);
  } else if (n == simd::lanes<T>) {
    hn::StoreInterleaved2(y0, y1, simd::Tag<T>(), y + 2 * p);
  } else {
    alignas(64) T pairs[2 * hn::MaxLanes(simd::Tag<T>())];
    hn::StoreInterleaved2(y0, y1, simd::Tag<T>(), pairs);
    std::copy(pairs, pairs + 2 * n, y + 2 * p);
  }
}

// f.template operator()<layout>(): the layout as a template argument.
template <class F>
void with_layout(RotaryLayout layout, F f) {
  if (layout == RotaryLayout::interleaved)
    f.template operator()<RotaryLayout::interleaved>();
  else
    f.template operator()<RotaryLayout::half_split>();
}

enum class Turn { forward, inverse };

// x [batch, heads, length, head_dim], the tables [batch, heads, length, components] with broadcast strides. A tile is
// some positions of a batch entry in the memory order of y.
template <class T, RotaryLayout layout, Turn direction>
void turn(const Tensor& x, const RotaryTensors& tables, const Tensor& y) {
  const int64_t batch = x.extent(0), heads = x.extent(1), length = x.extent(2), head_dim = x.extent(3);
  const int64_t components = tables.cos.extent(-1);
  const auto turn_row = [=](const T* from, const T* cos, const T* sin, T* to) {
    const auto block = [&](int64_t p, int64_t n) {
      simd::Vec<T> x0, x1;
      load_pairs<T, layout>(from, components, p, n, x0, x1);
      const simd::Vec<T> c = simd::load_first<T>(n, cos + p), table_s = simd::load_first<T>(n, sin + p);
      const simd::Vec<T> s = direction == Turn::forward ? table_s : hn::Neg(table_s);
      store_pairs<T, layout>(to, components, p, n, x0 * c - x1 * s, x1 * c + x0 * s);
    };
    int64_t p = 0;
    for (; p + simd::lanes<T> <= components; p += simd::lanes<T>) block(p, simd::lanes<T>);
    if (p < components) {  // the last whole vector may turn some components a second time
      if (p > 0)
        block(components - simd::lanes<T>, simd::lanes<T>);
      else
        block(0, components);
    }
    if (2 * components < head_dim) std::copy(from + 2 * components, from + head_dim, to + 2 * components);
  };
  const View<T> vx = x.view<T>(), vc = tables.cos.view<T>(), vs = tables.sin.view<T>(), vy = y.view<T>();
  constexpr int64_t line = 64 / sizeof(T);
  // The inner loop is over the axis along which rows are neighbours in memory.
  const int outer = y.stride(1) < y.stride(2) ? 2 : 1, inner = 3 - outer;
  const int64_t positions = std::max<int64_t>(1, grain_for(1) / ((outer == 1 ? 1 : heads) * head_dim));
  const int64_t tiles = (length + positions - 1) / positions;
  parallel_for(batch * tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t entry = tile / tiles, first = tile % tiles * positions, last = std::min(first + positions, length);
      const int64_t outer_count = outer == 1 ? heads : last - first, inner_count = outer == 1 ? last - first : heads;
      for (int64_t i = 0; i < outer_count; ++i) {
        const auto start = [&](const View<T>& v) {
          return v.data + entry * v.strides[0] + first * v.strides[2] + i * v.strides[outer];
        };
        const T *from = start(vx), *cos = start(vc), *sin = start(vs);
        T* to = start(vy);
        for (int64_t k = 0; k < inner_count; ++k) {
          turn_row(from, cos, sin, to);
          if (outer == 1)  // the processor's own prefetching of x suffers where a new row of the tables comes each time
            for (int64_t c = 0; c < head_dim; c += line) __builtin_prefetch(from + 16 * head_dim + c);
          from += vx.strides[inner], cos += vc.strides[inner], sin += vs.strides[inner], to += vy.strides[inner];
        }
      }
    }
  });
}

Tensor turned(const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryLayout layout, Turn direction) {
  checked_tables(x, cos, sin);  // before dense_last, which asks for a last axis
  const RotaryTensors tables = checked_tables(x, dense_last(cos), dense_last(sin));
  const Tensor dense = dense_last(x);
  Tensor y = Tensor::empty_like(dense);
  if (y.size() == 0) return y;
  // An axis of x that repeats itself (stride 0) would come innermost in y.
  if (y.stride(-1) != 1) y = Tensor::empty(x.shape(), x.dtype(), x.device());
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) {
      if (direction == Turn::forward)
        cuda::rotary(y, dense, tables.cos, tables.sin, layout);
      else
        cuda::rotary_transposed(y, dense, tables.cos, tables.sin, layout);
      return y;
    }
  with_float("rotary", x.dtype(), [&]<class T>() {
    with_layout(layout, [&]<RotaryLayout known>() {
      if (direction == Turn::forward)
        turn<T, known, Turn::forward>(dense, tables, y);
      else
        turn<T, known, Turn::inverse>(dense, tables, y);
    });
  });
  return y;
}

}  // namespace

Tensor rotary(const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryLayout layout) {
  return turned(x, cos, sin, layout, Turn::forward);
}

Tensor rotary_transposed(const Tensor& dy, const Tensor& cos, const Tensor& sin, RotaryLayout layout) {
  return turned(dy, cos, sin, layout, Turn::inverse);
}

// A row of the tables per task; the rows of x that it turned are added in row-major order.
RotaryTableGradients rotary_table_backward(const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryLayout layout,
                                           const Tensor& dy) {
  checked_tables(x, cos, sin);
  require_same_shape("rotary_table_backward", "x", x, "dy", dy);
  require_same_dtype("rotary_table_backward", "x", x, "dy", dy);
  const RotaryTableGradients gradients{Tensor::zeros(cos.shape(), cos.dtype(), cos.device()),
                                       Tensor::zeros(cos.shape(), cos.dtype(), cos.device())};
  const Tensor dense_x = dense_last(x), dense_dy = dense_last(dy);
  const int64_t components = cos.extent(-1);
  std::array<int64_t, 3> own{1, 1, 1}, shared{};  // extents of the table, and over how many of x each row is used
  for (int axis = 2; axis <= cos.rank(); ++axis) own[4 - axis] = cos.extent(-axis);
  for (int axis = 0; axis < 3; ++axis) shared[axis] = own[axis] == 1 ? x.extent(axis) : 1;
  if (x.size() == 0 || components == 0) return gradients;
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) {
      cuda::rotary_table_backward(gradients, dense_x, own, layout, dense_dy);
      return gradients;
    }
  const int64_t table_rows = own[0] * own[1] * own[2], uses = shared[0] * shared[1] * shared[2];
  with_float("rotary", x.dtype(), [&]<class T>() {
    with_layout(layout, [&]<RotaryLayout known>() {
      parallel_for(table_rows, grain_for(2 * uses * components), [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          const std::array<int64_t, 3> first{row / own[2] / own[1], row / own[2] % own[1], row % own[2]};
          T* const dcos = gradients.dcos.data<T>() + row * components;
          T* const dsin = gradients.dsin.data<T>() + row * components;
          for (int64_t use = 0; use < uses; ++use) {
            const std::array<int64_t, 3> offset{use / shared[2] / shared[1], use / shared[2] % shared[1],
                                                use % shared[2]};
            const T *xr = dense_x.data<T>(), *dyr = dense_dy.data<T>();
            for (int axis = 0; axis < 3; ++axis) {
              xr += (first[axis] + offset[axis]) * dense_x.stride(axis);
              dyr += (first[axis] + offset[axis]) * dense_dy.stride(axis);
            }
            for (int64_t p = 0; p < components; p += simd::lanes<T>) {
              const int64_t n = std::min(simd::lanes<T>, components - p);
              simd::Vec<T> x0, x1, dy0, dy1;
              load_pairs<T, known>(xr, components, p, n, x0, x1);
              load_pairs<T, known>(dyr, components, p, n, dy0, dy1);
              const simd::Vec<T> dc = simd::load_first<T>(n, dcos + p) + (dy0 * x0 + dy1 * x1);
              const simd::Vec<T> ds = simd::load_first<T>(n, dsin + p) + (dy1 * x0 - dy0 * x1);
              simd::store_first<T>(n, dc, dcos + p);
              simd::store_first<T>(n, ds, dsin + p);
            }
          }
        }
      });
    });
  });
  return gradients;
}

}  // namespace phasor
