// Dropout (Srivastava et al., JMLR 2014): y = x / (1 - probability) for elements that are kept, +0 for the others, also
// where x is infinite or NaN. The factor 1 / (1 - probability) is rounded once to x's dtype (bf16: to f32); probability
// 0 gives x itself. Element i, counted in row-major order, is dropped if word i % 4 of Philox block `counter + i / 4`
// of (seed, stream) is below round(probability 2^32): integers are compared, so the choice is the same for every memory
// layout, thread count and device. The same `random` chooses the same elements: give each call a stream or counter of
// its own.
//   x f32 or f64 (on the GPU bf16 too), any shape and strides      0 <= probability < 1
// Errors: DtypeError, ValueError (probability).
#pragma once

#include "core/random.hpp"
#include "core/tensor.hpp"

namespace phasor {

Tensor dropout(const Tensor& x, double probability, const Random& random);  // also its own backward: dx = dropout(dy)

namespace cuda {
// What the function above calls on the GPU, after its checks: words below `threshold` drop their element.
Tensor dropout(const Tensor& x, uint32_t threshold, double factor, const Random& random);
// For work that is recorded once and launched many times: block `random.counter` + *blocks is the first, where `blocks`
// is an address on the GPU that is read at each launch.
Tensor dropout(const Tensor& x, uint32_t threshold, double factor, const Random& random, const uint64_t* blocks);
}  // namespace cuda

namespace reference {
Tensor dropout(const Tensor& x, double probability, const Random& random);
}

}  // namespace phasor
