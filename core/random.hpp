// Random numbers as a pure function of (seed, stream, counter), by Philox. No global generator, no state to save, the
// same integers on every thread and device.
#pragma once

#include <cstdint>

#include "core/philox.hpp"
#include "core/tensor.hpp"

namespace phasor {

// A stream of numbers. Streams with different (seed, stream) are independent; `counter` is the next block.
struct Random {
  uint64_t seed = 0;
  uint64_t stream = 0;
  uint64_t counter = 0;

  uint64_t bits();               // 64 random bits; one block each
  double uniform();              // [0, 1), 53 bits
  int64_t below(int64_t bound);  // 0 .. bound-1, unbiased; ValueError unless bound >= 1
  double normal();               // mean 0, deviation 1 (Box-Muller)
};

// New tensors filled in row-major order; f32 values are the f64 ones rounded.
Tensor normal(const Shape& shape, double mean, double deviation, Dtype dtype, Random& random);
Tensor uniform(const Shape& shape, double low, double high, Dtype dtype, Random& random);

}  // namespace phasor
