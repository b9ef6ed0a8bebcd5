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

 private:
  StridedLoop<N> loop_;
};

}  // namespace phasor
