// cuBLASLt in one place: products of matrices in f32, f64 and bf16, each by the same algorithm every time.
#pragma once

#include "core/dtype.hpp"

namespace phasor::cuda {

// A batch of matrices whose rows (or columns, if it is column-major) lie without gaps. Steps in elements; a batch_step
// of 0 means one matrix for all.
struct Matrices {
  const void* data;
  bool is_row_major;
  int64_t leading_step, batch_step;
};

// y = a b, [batches, m, n] from [batches, m, k] and [batches, k, n], plus `bias` [n] or `addend`, [batches, m, n] like
// y. y and addend are row-major without gaps between rows, with y_step from matrix to matrix. bias and addend may be
// null; all are of one dtype.
struct Product {
  Dtype dtype;
  int64_t batches, m, n, k;
  Matrices a, b;
  const void *bias, *addend;
  void* y;
  int64_t y_step = 0;
};

// Sums of f32 and bf16 are f32 (never TF32), rounded once. False if there is no algorithm that adds a bias to such a
// product: then the caller passes it as an addend. DeviceError if there is none at all.
bool multiply(const char* op, const Product& product);

}  // namespace phasor::cuda
