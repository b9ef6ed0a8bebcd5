// Matrix products in the place of cuBLASLt: arguments are checked as it does, or harder, then a plain loop runs.
#include "tests/cuda/emulator/cublaslt.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "tests/cuda/emulator/instructions.hpp"
#include "tests/cuda/emulator/memory.hpp"
#include "tests/cuda/emulator/runtime.hpp"

using namespace phasor::emulator;

struct cublasLtContext {};
struct cublasLtMatrixLayout {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t leading_step;
  int32_t order = CUBLASLT_ORDER_COL, batches = 1;
  int64_t batch_step = 0;

  int64_t row_step() const { return order == CUBLASLT_ORDER_COL ? 1 : leading_step; }
  int64_t column_step() const { return order == CUBLASLT_ORDER_COL ? leading_step : 1; }
  bool is_valid() const {
    return leading_step >= static_cast<int64_t>(order == CUBLASLT_ORDER_COL ? rows : columns) && batches >= 1;
  }
};
struct cublasLtMatmulDesc {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  int32_t transposes_a = CUBLAS_OP_N, transposes_b = CUBLAS_OP_N;
  uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};
struct cublasLtMatmulPreference {
  uint64_t workspace_bytes = 0;
  uint32_t reduction_schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  uint32_t alignments[4] = {256, 256, 256, 256};
};

namespace {

// Of the fake algorithm: what data[0] holds, and then the alignments that were promised.
constexpr uint64_t plain_loop = 0x1009;

size_t bytes_of(cudaDataType_t type) { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2; }

template <class T>
cublasStatus_t set(T& to, const void* from, size_t bytes) {
  if (!from || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

bool is_aligned(const void* at, uint64_t bytes) { return bytes == 0 || reinterpret_cast<uintptr_t>(at) % bytes == 0; }

uint64_t rows_of(const cublasLtMatrixLayout& m, int32_t transposes) {
  return transposes == CUBLAS_OP_T ? m.columns : m.rows;
}
uint64_t columns_of(const cublasLtMatrixLayout& m, int32_t transposes) {
  return transposes == CUBLAS_OP_T ? m.rows : m.columns;
}

cublasStatus_t check(const cublasLtMatmulDesc& op, const cublasLtMatrixLayout& a, const cublasLtMatrixLayout& b,
                     const cublasLtMatrixLayout& c, const cublasLtMatrixLayout& d) {
  for (const auto* const m : {&a, &b, &c, &d})
    if (!m->is_valid() || m->batches != d.batches) return CUBLAS_STATUS_INVALID_VALUE;
  if (rows_of(a, op.transposes_a) != d.rows || columns_of(b, op.transposes_b) != d.columns ||
      columns_of(a, op.transposes_a) != rows_of(b, op.transposes_b) || c.rows != d.rows || c.columns != d.columns)
    return CUBLAS_STATUS_INVALID_VALUE;
  const bool is_double = d.type == CUDA_R_64F;
  if (a.type != b.type || c.type != d.type || (a.type == CUDA_R_64F) != is_double) return CUBLAS_STATUS_NOT_SUPPORTED;
  if (a.type == CUDA_R_32F && d.type != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  if ((op.compute == CUBLAS_COMPUTE_64F) != is_double || (op.scale == CUDA_R_64F) != is_double)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  if (op.epilogue != CUBLASLT_EPILOGUE_DEFAULT && op.epilogue != CUBLASLT_EPILOGUE_BIAS)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  // The real library adds a bias neither to f64 nor to rows that lie in rows.
  if (op.epilogue == CUBLASLT_EPILOGUE_BIAS && (is_double || d.order != CUBLASLT_ORDER_COL))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  return CUBLAS_STATUS_SUCCESS;
}

template <class Sum>
Sum element(const std::byte* data, cudaDataType_t type, int64_t at) {
  if (type == CUDA_R_64F) return static_cast<Sum>(reinterpret_cast<const double*>(data)[at]);
  if (type == CUDA_R_32F) return static_cast<Sum>(reinterpret_cast<const float*>(data)[at]);
  const uint32_t bits = reinterpret_cast<const uint16_t*>(data)[at];
  return static_cast<Sum>(std::bit_cast<float>(bits << 16));
}
template <class Sum>
void set_element(std::byte* data, cudaDataType_t type, int64_t at, Sum value) {
  if (type == CUDA_R_64F)
    reinterpret_cast<double*>(data)[at] = static_cast<double>(value);
  else if (type == CUDA_R_32F)
    reinterpret_cast<float*>(data)[at] = static_cast<float>(value);
  else
    reinterpret_cast<uint16_t*>(data)[at] = rounded_bf16(static_cast<float>(value));
}

// The matrix or its transpose, row by row, every row filled up with zeros to `width`.
template <class Sum>
std::vector<Sum> rows(const std::byte* data, const cublasLtMatrixLayout& m, int32_t transposes, size_t width) {
  const int64_t row_step = transposes == CUBLAS_OP_T ? m.column_step() : m.row_step();
  const int64_t column_step = transposes == CUBLAS_OP_T ? m.row_step() : m.column_step();
  const uint64_t count = rows_of(m, transposes), columns = columns_of(m, transposes);
  std::vector<Sum> result(count * width);
  for (uint64_t row = 0; row < count; ++row)
    for (uint64_t column = 0; column < columns; ++column)
      result[row * width + column] =
          element<Sum>(data, m.type, static_cast<int64_t>(row) * row_step + static_cast<int64_t>(column) * column_step);
  return result;
}

struct Call {
  cublasLtMatmulDesc op;
  double alpha, beta;
  const std::byte *a, *b, *c;
  std::byte* d;
  cublasLtMatrixLayout of_a, of_b, of_c, of_d;
};

template <class Sum>
void multiply(const Call& call) {
  constexpr size_t lanes = 16;
  const size_t m = call.of_d.rows, n = call.of_d.columns, k = columns_of(call.of_a, call.op.transposes_a);
  const size_t width = (n + lanes - 1) / lanes * lanes;
  for (int32_t batch = 0; batch < call.of_d.batches; ++batch) {
    const auto of_batch = [&](auto* data, const cublasLtMatrixLayout& layout) {
      return data + batch * layout.batch_step * static_cast<int64_t>(bytes_of(layout.type));
    };
    const std::vector<Sum> a = rows<Sum>(of_batch(call.a, call.of_a), call.of_a, call.op.transposes_a, k);
    const std::vector<Sum> b = rows<Sum>(of_batch(call.b, call.of_b), call.of_b, call.op.transposes_b, width);
    const std::byte* const c = of_batch(call.c, call.of_c);
    std::byte* const d = of_batch(call.d, call.of_d);
    for (size_t row = 0; row < m; ++row)
      for (size_t first = 0; first < n; first += lanes) {
        Sum sums[lanes] = {};
        for (size_t i = 0; i < k; ++i) {
          const Sum factor = a[row * k + i];
          const Sum* const from = b.data() + i * width + first;
          for (size_t lane = 0; lane < lanes; ++lane) sums[lane] += factor * from[lane];
        }
        for (size_t column = first; column < std::min(first + lanes, n); ++column) {
          const auto place = [&](const cublasLtMatrixLayout& layout) {
            return static_cast<int64_t>(row) * layout.row_step() + static_cast<int64_t>(column) * layout.column_step();
          };
          Sum value = static_cast<Sum>(call.alpha) * sums[column - first];
          if (call.beta != 0)  // else c is not read: NaN does not matter
            value += static_cast<Sum>(call.beta) * element<Sum>(c, call.of_c.type, place(call.of_c));
          if (call.op.epilogue == CUBLASLT_EPILOGUE_BIAS)
            value +=
                element<Sum>(static_cast<const std::byte*>(call.op.bias), call.of_d.type, static_cast<int64_t>(row));
          set_element(d, call.of_d.type, place(call.of_d), value);
        }
      }
  }
}

void require_live(const char* what, const void* data, const cublasLtMatrixLayout& m) {
  const int64_t last = static_cast<int64_t>(m.rows - 1) * m.row_step() +
                       static_cast<int64_t>(m.columns - 1) * m.column_step() + (m.batches - 1) * m.batch_step;
  if (m.rows == 0 || m.columns == 0) return;
  if (!memory::is_live(data, static_cast<size_t>(last + 1) * bytes_of(m.type)))
    throw Fault(FaultKind::bounds,
                std::string("cublasLtMatmul: matrix ") + what + " of " + std::to_string(m.rows) + " x " +
                    std::to_string(m.columns) + ", leading dimension " + std::to_string(m.leading_step) + ", " +
                    std::to_string(m.batches) + " times, reaches beyond its block of device memory",
                "cublasLtMatmul", "", 0, {}, {});
}

struct StatusName {
  cublasStatus_t status;
  const char* name;
};
constexpr StatusName names[] = {
    {CUBLAS_STATUS_SUCCESS, "CUBLAS_STATUS_SUCCESS"},
    {CUBLAS_STATUS_NOT_INITIALIZED, "CUBLAS_STATUS_NOT_INITIALIZED"},
    {CUBLAS_STATUS_ALLOC_FAILED, "CUBLAS_STATUS_ALLOC_FAILED"},
    {CUBLAS_STATUS_INVALID_VALUE, "CUBLAS_STATUS_INVALID_VALUE"},
    {CUBLAS_STATUS_EXECUTION_FAILED, "CUBLAS_STATUS_EXECUTION_FAILED"},
    {CUBLAS_STATUS_NOT_SUPPORTED, "CUBLAS_STATUS_NOT_SUPPORTED"},
};

}  // namespace

const char* cublasLtGetStatusName(cublasStatus_t status) {
  for (const StatusName& each : names)
    if (each.status == status) return each.name;
  return "unknown";
}
const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasLtGetStatusName(status); }
size_t cublasLtGetVersion() { return 120400; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t leading_step) {
  *layout = new cublasLtMatrixLayout{type, rows, columns, leading_step};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute, const void* value,
                                                size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
      return set(layout->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
      return set(layout->leading_step, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
      return set(layout->batches, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
      return set(layout->batch_step, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* op, cublasComputeType_t compute, cudaDataType_t scale) {
  *op = new cublasLtMatmulDesc{compute, scale};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t op) {
  delete op;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t op, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      return set(op->transposes_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
      return set(op->transposes_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return set(op->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      return set(op->bias, value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new cublasLtMatmulPreference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      return set(preference->workspace_bytes, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      return set(preference->reduction_schemes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return set(preference->alignments[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t op,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results, int* count) {
  *count = 0;
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (wanted <= 0) return CUBLAS_STATUS_INVALID_VALUE;
  if (const cublasStatus_t status = check(*op, *a, *b, *c, *d); status != CUBLAS_STATUS_SUCCESS) return status;
  results[0] = {};
  results[0].algo.data[0] = plain_loop;
  for (int i = 0; i < 4; ++i) results[0].algo.data[1 + i] = preference->alignments[i];
  results[0].wavesCount = 1;
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t op, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t of_a, const void* b, cublasLtMatrixLayout_t of_b, const void* beta,
                              const void* c, cublasLtMatrixLayout_t of_c, void* d, cublasLtMatrixLayout_t of_d,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (const cublasStatus_t status = check(*op, *of_a, *of_b, *of_c, *of_d); status != CUBLAS_STATUS_SUCCESS)
    return status;
  // The algorithm was chosen for pointers that are multiples of this.
  const void* const pointers[] = {a, b, c, d};
  const cublasLtMatrixLayout* const layouts[] = {of_a, of_b, of_c, of_d};
  for (int i = 0; i < 4; ++i) {
    const uint64_t alignment = algo ? algo->data[1 + i] : 16;
    if (algo && algo->data[0] != plain_loop) return CUBLAS_STATUS_INVALID_VALUE;
    if (!is_aligned(pointers[i], alignment) || !is_aligned(pointers[i], bytes_of(layouts[i]->type)))
      return CUBLAS_STATUS_INVALID_VALUE;
  }
  const bool is_double = op->scale == CUDA_R_64F;
  const auto number = [&](const void* x) {
    return is_double ? *static_cast<const double*>(x) : static_cast<double>(*static_cast<const float*>(x));
  };
  const Call call{*op,
                  number(alpha),
                  number(beta),
                  static_cast<const std::byte*>(a),
                  static_cast<const std::byte*>(b),
                  static_cast<const std::byte*>(c),
                  static_cast<std::byte*>(d),
                  *of_a,
                  *of_b,
                  *of_c,
                  *of_d};
  {
    const std::lock_guard lock(device_mutex());
    require_live("a", a, *of_a);
    require_live("b", b, *of_b);
    if (call.beta != 0) require_live("c", c, *of_c);
    require_live("d", d, *of_d);
    if (op->epilogue == CUBLASLT_EPILOGUE_BIAS && !memory::is_live(op->bias, of_d->rows * bytes_of(of_d->type)))
      throw Fault(FaultKind::bounds, "cublasLtMatmul: the bias is not in device memory", "cublasLtMatmul", "", 0, {},
                  {});
    if (workspace_bytes > 0 && !memory::is_live(workspace, workspace_bytes)) return CUBLAS_STATUS_INVALID_VALUE;
  }
  const cudaError_t error =
      enqueue(stream, [call, is_double] { is_double ? multiply<double>(call) : multiply<float>(call); });
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
