// The handle, the work space and the plans of cuBLASLt.
#include "cuda/blas.cuh"

#ifdef __CUDACC__
#include <cublasLt.h>
#endif

#include <array>
#include <map>
#include <mutex>

#include "cuda/launch.cuh"

namespace phasor::cuda {
namespace {

constexpr size_t workspace_bytes = size_t{32} << 20;

void check_blas(const char* op, cublasStatus_t status) {
  require<DeviceError>(status == CUBLAS_STATUS_SUCCESS, op, "failed on the GPU: cuBLASLt says ",
                       cublasLtGetStatusString(status));
}

// Of all products: they are on one stream, in order.
struct Library {
  cublasLtHandle_t handle = nullptr;
  std::byte* workspace = nullptr;
};

const Library& library(const char* op) {
  static const Library instance = [op] {
    Library created;
    check_blas(op, cublasLtCreate(&created.handle));
    created.workspace = permanent_block(workspace_bytes);
    return created;
  }();
  return instance;
}

cudaDataType_t data_type(Dtype dtype) {
  return dtype == Dtype::f64 ? CUDA_R_64F : dtype == Dtype::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// How a product is done. Kept for good: a program has few shapes. Row-major matrices are column-major ones transposed,
// so that y^T = b^T a^T is what the library, which thinks in columns, is asked for: b comes first.
struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;
  std::array<cublasLtMatmulHeuristicResult_t, 8> candidates{};
  int count = 0;    // candidates, best first
  int chosen = -1;  // the first that has run
};

// The largest power of 2 up to 256 that divides the address and the distance between matrices.
uint32_t alignment(const void* data, int64_t batch_bytes) {
  const uint64_t bits = reinterpret_cast<uintptr_t>(data) | static_cast<uint64_t>(batch_bytes) | 256;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

struct Alignments {
  uint32_t first, second, addend, result;
};

Alignments alignments(const Product& p) {
  const int64_t bytes = static_cast<int64_t>(bytes_per_element(p.dtype)), of_result = p.y_step * bytes;
  const auto of = [&](const Matrices& x) { return alignment(x.data, x.batch_step * bytes); };
  const uint32_t result = alignment(p.y, of_result);
  return {of(p.b), of(p.a), p.addend ? alignment(p.addend, of_result) : result, result};
}

cublasLtMatrixLayout_t layout(const char* op, const Product& p, int64_t rows, int64_t columns, int64_t leading_step,
                              int64_t batch_step) {
  cublasLtMatrixLayout_t created = nullptr;
  check_blas(op, cublasLtMatrixLayoutCreate(&created, data_type(p.dtype), static_cast<uint64_t>(rows),
                                            static_cast<uint64_t>(columns), leading_step));
  const int32_t batches = static_cast<int32_t>(p.batches);
  check_blas(op,
             cublasLtMatrixLayoutSetAttribute(created, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batches, sizeof(batches)));
  check_blas(op, cublasLtMatrixLayoutSetAttribute(created, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch_step,
                                                  sizeof(batch_step)));
  return created;
}

Plan make_plan(const char* op, const Product& p) {
  Plan plan;
  const bool is_double = p.dtype == Dtype::f64;
  check_blas(op, cublasLtMatmulDescCreate(&plan.operation, is_double ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                          is_double ? CUDA_R_64F : CUDA_R_32F));
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    check_blas(op, cublasLtMatmulDescSetAttribute(plan.operation, attribute, &value, sizeof(value)));
  };
  const cublasOperation_t as_it_lies = CUBLAS_OP_N, transposed = CUBLAS_OP_T;
  set(CUBLASLT_MATMUL_DESC_TRANSA, p.b.is_row_major ? as_it_lies : transposed);
  set(CUBLASLT_MATMUL_DESC_TRANSB, p.a.is_row_major ? as_it_lies : transposed);
  if (p.bias) {
    const cublasLtEpilogue_t adds_bias = CUBLASLT_EPILOGUE_BIAS;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, adds_bias);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  }
  const auto operand = [&](const Matrices& x, int64_t rows, int64_t columns) {
    return layout(op, p, x.is_row_major ? columns : rows, x.is_row_major ? rows : columns, x.leading_step,
                  x.batch_step);
  };
  plan.first = operand(p.b, p.k, p.n);
  plan.second = operand(p.a, p.m, p.k);
  plan.result = layout(op, p, p.n, p.m, p.n, p.y_step);

  cublasLtMatmulPreference_t preference = nullptr;
  check_blas(op, cublasLtMatmulPreferenceCreate(&preference));
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check_blas(op, cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
  // A sum that is cut is put together in f32, in a step of its own: neither in bf16 nor in the order of arrival.
  const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes);
  const Alignments aligned = alignments(p);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, aligned.first);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, aligned.second);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, aligned.addend);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, aligned.result);
  // Without a candidate the status says that nothing is supported; `count` says so too.
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      library(op).handle, plan.operation, plan.first, plan.second, plan.result, plan.result, preference,
      static_cast<int>(plan.candidates.size()), plan.candidates.data(), &plan.count);
  if (status != CUBLAS_STATUS_SUCCESS) plan.count = 0;
  check_blas(op, cublasLtMatmulPreferenceDestroy(preference));
  return plan;
}

using Key = std::array<int64_t, 17>;

Key key_of(const Product& p) {
  const Alignments aligned = alignments(p);
  return {static_cast<int64_t>(p.dtype),
          p.batches,
          p.m,
          p.n,
          p.k,
          p.a.is_row_major,
          p.a.leading_step,
          p.a.batch_step,
          p.b.is_row_major,
          p.b.leading_step,
          p.b.batch_step,
          p.bias     ? 1
          : p.addend ? 2
                     : 0,
          aligned.first,
          aligned.second,
          aligned.addend,
          aligned.result,
          p.y_step};
}

// Whether the library took it.
bool run(const char* op, Plan& plan, const Product& p) {
  if (p.bias)
    check_blas(
        op, cublasLtMatmulDescSetAttribute(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p.bias, sizeof(p.bias)));
  const float one = 1, beta = p.addend ? 1 : 0;
  const double one_wide = 1, beta_wide = beta;
  const bool is_double = p.dtype == Dtype::f64;
  const auto with = [&](int candidate) {
    return cublasLtMatmul(library(op).handle, plan.operation, is_double ? static_cast<const void*>(&one_wide) : &one,
                          p.b.data, plan.first, p.a.data, plan.second,
                          is_double ? static_cast<const void*>(&beta_wide) : &beta, p.addend ? p.addend : p.y,
                          plan.result, p.y, plan.result, &plan.candidates[candidate].algo, library(op).workspace,
                          workspace_bytes, stream());
  };
  before_launch(op);
  if (plan.chosen >= 0) {
    check_blas(op, with(plan.chosen));
    return true;
  }
  for (int candidate = 0; candidate < plan.count; ++candidate) {
    const cublasStatus_t status = with(candidate);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) continue;
    check_blas(op, status);
    plan.chosen = candidate;
    return true;
  }
  return false;
}

}  // namespace

bool multiply(const char* op, const Product& product) {
  static std::mutex mutex;
  static auto* const plans = new std::map<Key, Plan>;  // never destroyed: the driver may be gone before statics are
  const std::lock_guard lock(mutex);
  const Key key = key_of(product);
  auto found = plans->find(key);
  if (found == plans->end()) found = plans->emplace(key, make_plan(op, product)).first;
  if (run(op, found->second, product)) return true;
  require<DeviceError>(product.bias != nullptr, op, "cuBLASLt has no algorithm for [", product.m, ", ", product.k,
                       "] x [", product.k, ", ", product.n, "] ", product.dtype, " on this GPU");
  return false;
}

}  // namespace phasor::cuda
