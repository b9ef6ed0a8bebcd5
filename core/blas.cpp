// The only file that calls cblas.
#include "core/blas.hpp"

#include <cblas.h>

#include <type_traits>

namespace phasor {

template <class T>
void gemm(Trans trans_a, Trans trans_b, int64_t m, int64_t n, int64_t k, T alpha, const T* a, int64_t lda, const T* b,
          int64_t ldb, T beta, T* c, int64_t ldc) {
  static const bool single_threaded = (openblas_set_num_threads(1), true);
  (void)single_threaded;
  const CBLAS_TRANSPOSE ta = trans_a == Trans::yes ? CblasTrans : CblasNoTrans;
  const CBLAS_TRANSPOSE tb = trans_b == Trans::yes ? CblasTrans : CblasNoTrans;
  const auto i = [](int64_t extent) { return static_cast<blasint>(extent); };
  if constexpr (std::is_same_v<T, float>)
    cblas_sgemm(CblasRowMajor, ta, tb, i(m), i(n), i(k), alpha, a, i(lda), b, i(ldb), beta, c, i(ldc));
  else
    cblas_dgemm(CblasRowMajor, ta, tb, i(m), i(n), i(k), alpha, a, i(lda), b, i(ldb), beta, c, i(ldc));
}

template void gemm(Trans, Trans, int64_t, int64_t, int64_t, float, const float*, int64_t, const float*, int64_t, float,
                   float*, int64_t);
template void gemm(Trans, Trans, int64_t, int64_t, int64_t, double, const double*, int64_t, const double*, int64_t,
                   double, double*, int64_t);

std::string blas_core_name() { return openblas_get_corename(); }

}  // namespace phasor
