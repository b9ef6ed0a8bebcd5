// What the machine can do at most, measured in the same run as what is compared with it.
#pragma once

#include "experiments/bench/measure.hpp"

namespace phasor {

// A product of 1024 x 1024 matrices by OpenBLAS on one core; its work is in operations.
Subject gemm_ceiling();

// Multiply-adds that touch registers only, on one core: no f32 program of this build does more operations a second.
// OpenBLAS stays far below it where it does not know the processor and takes an older one's kernel.
Subject multiply_add_ceiling();

// A loop that loads the first `bytes` / 2 of a vector of f32 and stores them in another with ordinary stores, on all
// threads; its work is `bytes`. Copies of different sizes may share the vectors.
// An ordinary store reads the line that it writes; an op that writes less than half of its bytes, or writes in place,
// may be faster.
Subject copy_ceiling(int64_t bytes, const Tensor& source, const Tensor& destination);

}  // namespace phasor
