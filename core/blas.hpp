// Single-threaded matrix products: OpenBLAS behind one function. Parallelism is the caller's, by fixed tiles, because
// OpenBLAS with threads of its own changes bits with their number.
#pragma once

#include <cstdint>
#include <string>

namespace phasor {

enum class Trans { no, yes };

// c = alpha op(a) op(b) + beta c, row-major; op(a) is [m, k], op(b) is [k, n], c is [m, n]; ld* is the distance of rows
// in memory. With beta = 0, c is not read. T is float or double.
template <class T>
void gemm(Trans trans_a, Trans trans_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a, int64_t lda, const T* b,
          int64_t ldb, T beta, T* c, int64_t ldc);

// The processor whose kernels OpenBLAS has chosen, such as "Haswell": an older one than the machine's where it does not
// know that.
std::string blas_core_name();

}  // namespace phasor
