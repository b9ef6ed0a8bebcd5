// Element-wise kernels over tensors of one shape and any strides: the kernel sees runs of neighbouring numbers only.
#pragma once

#include "core/loops.hpp"
#include "core/tensor.hpp"

namespace phasor {

// Calls kernel(count, y, x) for runs that together cover every element once, in parallel, where
//   y  std::array<T*, results>         x  std::array<const T*, operands>
// point to `count` neighbouring numbers. All tensors have the shape of results[0] (operands may be broadcast views); a
// result may also be an operand. An operand whose inner step is not 1 passes through a buffer that stays in the cache,
// so that one vector kernel serves every stride.
template <class T, size_t results, size_t operands, class Kernel>
void for_each_run(int64_t grain, const std::array<Tensor, results>& result, const std::array<Tensor, operands>& operand,
                  Kernel kernel) {
  constexpr size_t all = results + operands;
  std::array<Strides, all> strides;
  std::array<T*, results> y;
  std::array<const T*, operands> x;
  for (size_t i = 0; i < results; ++i) strides[i] = result[i].strides(), y[i] = result[i].template data<T>();
  for (size_t i = 0; i < operands; ++i)
    strides[results + i] = operand[i].strides(), x[i] = operand[i].template data<T>();

  const StridedLoop<all> loop(result[0].shape(), strides);
  bool dense = true;
  for (size_t i = 0; i < all; ++i) dense = dense && loop.step(i) == 1;
  loop.run(grain, [&](const std::array<int64_t, all>& at, int64_t count) {
    std::array<T*, results> y_run;
    std::array<const T*, operands> x_run;
    if (dense) {
      for (size_t i = 0; i < results; ++i) y_run[i] = y[i] + at[i];
      for (size_t i = 0; i < operands; ++i) x_run[i] = x[i] + at[results + i];
      return kernel(count, y_run, x_run);
    }
    constexpr int64_t block = 512;
    alignas(64) T buffer[all][block];
    for (int64_t start = 0; start < count; start += block) {
      const int64_t n = std::min(block, count - start);
      for (size_t i = 0; i < operands; ++i) {
        const int64_t step = loop.step(results + i);
        const T* const from = x[i] + at[results + i] + start * step;
        x_run[i] = step == 1 ? from : buffer[results + i];
        if (step == 1) continue;
        if (step != 0) {
          for (int64_t k = 0; k < n; ++k) buffer[results + i][k] = from[k * step];
        } else if (start == 0) {  // a broadcast number fills its buffer once
          std::fill_n(buffer[results + i], n, *from);
        }
      }
      for (size_t i = 0; i < results; ++i)
        y_run[i] = loop.step(i) == 1 ? y[i] + at[i] + start : static_cast<T*>(buffer[i]);
      kernel(n, y_run, x_run);
      for (size_t i = 0; i < results; ++i) {
        if (loop.step(i) == 1) continue;
        T* const to = y[i] + at[i] + start * loop.step(i);
        for (int64_t k = 0; k < n; ++k) to[k * loop.step(i)] = buffer[i][k];
      }
    }
  });
}

}  // namespace phasor
