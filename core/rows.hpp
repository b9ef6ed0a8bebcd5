// Rows: runs along the last axis of several tensors that agree in all other axes, for kernels that take a row at a
// time.
//
//   const RowLoop<2> rows(x.shape().without(-1), {y.strides(), x.strides()});
//   rows.run(width, [&](const std::array<int64_t, 2>& at) { ... });   // at: where the row begins in each tensor
//
// Rows come in the memory order of the first tensor, in tiles that depend on the shape alone.
#pragma once

#include "core/loops.hpp"
#include "core/tensor.hpp"

namespace phasor {

// x itself where its rows lie without gaps, else a row-major copy.
inline Tensor dense_rows(const Tensor& x) { return x.extent(-1) <= 1 || x.stride(-1) == 1 ? x : x.contiguous(); }

template <int N>
class RowLoop {
 public:
  // Strides of the full tensors; the entry of the last axis is not read.
  RowLoop(const Shape& outer, std::array<Strides, N> strides) : loop_(outer, strides) {}

  int64_t count() const { return loop_.rows() * loop_.row(); }

  std::array<int64_t, N> offsets(int64_t row) const {
    std::array<int64_t, N> at{};
    if (loop_.rows() == 1) {  // no division: a row may be short
      for (int n = 0; n < N; ++n) at[n] = row * loop_.step(n);
      return at;
    }
    at = loop_.offsets(row / loop_.row());
    for (int n = 0; n < N; ++n) at[n] += row % loop_.row() * loop_.step(n);
    return at;
  }

  // Rows per tile where a row of `width` elements costs about 8 operations an element.
  static int64_t grain(int64_t width) { return std::max<int64_t>(1, grain_for(8) / std::max<int64_t>(width, 1)); }

  template <class Body>
  void run(int64_t width, Body&& body) const {
    parallel_for(count(), grain(width), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) body(offsets(row));
    });
  }

  // write(at, measure(at)) for the rows begin .. end. Each row is measured before the one in front of it is written:
  // that keeps the processor busy while the sum over a row is on its way through adders, divisions and roots.
  template <class Measure, class Write>
  void run_ahead(int64_t begin, int64_t end, Measure&& measure, Write&& write) const {
    std::array<int64_t, N> at = offsets(begin);
    auto measured = measure(at);
    for (int64_t row = begin; row + 1 < end; ++row) {
      const std::array<int64_t, N> next_at = offsets(row + 1);
      const auto next = measure(next_at);
      write(at, measured);
      at = next_at;
      measured = next;
    }
    write(at, measured);
  }
  template <class Measure, class Write>
  void run_ahead(int64_t width, Measure&& measure, Write&& write) const {
    parallel_for(count(), grain(width), [&](int64_t begin, int64_t end) { run_ahead(begin, end, measure, write); });
  }

 private:
  StridedLoop<N> loop_;
};

}  // namespace phasor
