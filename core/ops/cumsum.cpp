// Running sums: each line along the axis is added in order, many lines at once.
#include "core/ops/cumsum.hpp"

#include "core/arguments.hpp"
#include "core/axis.hpp"
#include "core/dispatch.hpp"
#include "core/rows.hpp"

namespace phasor {
namespace reference {

Tensor cumsum(const Tensor& x, int axis) {
  const Tensor y = x.to(Dtype::f64).transpose(axis, -1).clone();
  const int64_t length = y.extent(-1);
  for (int64_t i = 0; i < y.size(); ++i)
    if (i % length > 0) y.data<double>()[i] += y.data<double>()[i - 1];
  return y.transpose(axis, -1).contiguous().to(x.dtype());
}

}  // namespace reference

namespace {

enum class Direction { forward, backward };

// `lines` lines at once: their additions do not wait for each other.
template <int lines, class T>
void add_up_lines(int64_t length, const std::array<T*, 4>& y, int64_t y_step, const std::array<const T*, 4>& x,
                  int64_t x_step) {
  double total[lines] = {};
  for (int64_t i = 0; i < length; ++i)
    for (int line = 0; line < lines; ++line) y[line][i * y_step] = static_cast<T>(total[line] += x[line][i * x_step]);
}

// Lines side by side: element i of line c is at x[i * x_step + c].
template <class T>
void add_up_columns(int64_t lines, int64_t length, T* y, int64_t y_step, const T* x, int64_t x_step) {
  alignas(64) double total[widest_bundle];
  for (int64_t first = 0; first < lines; first += widest_bundle) {
    const int64_t n = std::min(widest_bundle, lines - first);
    std::fill_n(total, n, 0.0);
    for (int64_t i = 0; i < length; ++i) {
      const T* const from = x + i * x_step + first;
      T* const to = y + i * y_step + first;
      for (int64_t c = 0; c < n; ++c) to[c] = static_cast<T>(total[c] += from[c]);
    }
  }
}

template <Direction direction>
Tensor add_up(const char* op, const char* name, const Tensor& x, int axis) {
  require_float(op, name, x);
  axis = checked_axis(op, name, x, axis);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda))
      return direction == Direction::forward ? cuda::cumsum(x, axis) : cuda::cumsum_backward(x, axis);
  return with_float(op, x.dtype(), [&]<class T>() {
    const Tensor y = Tensor::empty_like(x);
    if (y.size() == 0) return y;
    const int64_t length = x.extent(axis);
    const int64_t start = direction == Direction::forward ? 0 : length - 1;
    const int64_t sign = direction == Direction::forward ? 1 : -1;
    const Tensor y_start = y.select(axis, start), x_start = x.select(axis, start);
    const int64_t y_step = sign * y.stride(axis), x_step = sign * x.stride(axis);
    T* const to = y_start.data<T>();
    const T* const from = x_start.data<T>();

    const StridedLoop<2> loop(y_start.shape(), {y_start.strides(), x_start.strides()});
    if (loop.step(0) == 1 && loop.step(1) == 1) {
      const int64_t grain = lines_per_tile<T>(y.size() / length, length, 2);
      loop.run(grain, [&](const std::array<int64_t, 2>& at, int64_t count) {
        add_up_columns(count, length, to + at[0], y_step, from + at[1], x_step);
      });
      return y;
    }
    const RowLoop<2> rows(y_start.shape(), {y_start.strides(), x_start.strides()});
    // Where there are many lines a tile holds at least four, however long.
    const int64_t grain = std::max<int64_t>(rows.count() >= 64 ? 4 : 1, grain_for(2) / length);
    parallel_for(rows.count(), grain, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t lines = end - begin >= 4 ? 4 : 1;
        std::array<T*, 4> y_line{};
        std::array<const T*, 4> x_line{};
        for (int64_t line = 0; line < lines; ++line) {
          const std::array<int64_t, 2> at = rows.offsets(begin + line);
          y_line[line] = to + at[0];
          x_line[line] = from + at[1];
        }
        if (lines == 4)
          add_up_lines<4>(length, y_line, y_step, x_line, x_step);
        else
          add_up_lines<1>(length, y_line, y_step, x_line, x_step);
        begin += lines;
      }
    });
    return y;
  });
}

}  // namespace

Tensor cumsum(const Tensor& x, int axis) { return add_up<Direction::forward>("cumsum", "x", x, axis); }

Tensor cumsum_backward(const Tensor& dy, int axis) {
  return add_up<Direction::backward>("cumsum_backward", "dy", dy, axis);
}

}  // namespace phasor
