// The emulator's matrix products, through the calls of cuBLASLt.
#include "tests/cuda/emulator/cublaslt.hpp"

#include <array>
#include <bit>
#include <memory>
#include <string>
#include <vector>

#include "tests/cuda/emulator_support.hpp"

using namespace phasor;
using namespace phasor::planted;

namespace {

// As bytes on the device: small integers, exact in every type.
struct Numbers {
  cudaDataType_t type;
  Block block;
  explicit Numbers(cudaDataType_t type_, const std::vector<double>& values)
      : type(type_), block(encoded(type_, values)) {}

  static std::vector<int> encoded(cudaDataType_t type, const std::vector<double>& values) {
    std::vector<int> words;
    uint32_t half = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      const uint32_t single = std::bit_cast<uint32_t>(static_cast<float>(values[i]));
      if (type == CUDA_R_64F) {
        const auto pair = std::bit_cast<std::array<int, 2>>(values[i]);
        words.insert(words.end(), pair.begin(), pair.end());
      } else if (type == CUDA_R_32F) {
        words.push_back(static_cast<int>(single));
      } else if (i % 2 == 0) {
        half = single >> 16;
        if (i + 1 == values.size()) words.push_back(static_cast<int>(half));
      } else {
        words.push_back(static_cast<int>(half | (single & 0xffff0000u)));
      }
    }
    return words;
  }
  std::vector<double> values(size_t count) const {
    const std::vector<int> words = block.values();
    std::vector<double> result(count);
    for (size_t i = 0; i < count; ++i)
      result[i] =
          type == CUDA_R_64F ? std::bit_cast<double>(std::array<int, 2>{words[2 * i], words[2 * i + 1]})
          : type == CUDA_R_32F
              ? std::bit_cast<float>(words[i])
              : std::bit_cast<float>(static_cast<uint32_t>(words[i / 2]) << (i % 2 == 0 ? 16 : 0) & 0xffff0000u);
    return result;
  }
};

std::vector<double> small_numbers(size_t count, int seed) {
  std::vector<double> result(count);
  for (size_t i = 0; i < count; ++i)
    result[i] = static_cast<double>((i * 7 + static_cast<size_t>(seed)) * 2654435761u >> 20 & 7) - 3;
  return result;
}

struct Case {
  cudaDataType_t type;
  bool transposes_a, transposes_b, has_bias, is_row_major;
  double alpha, beta;
};

struct Library {
  cublasLtHandle_t handle = nullptr;
  Library() { REQUIRE(cublasLtCreate(&handle) == CUBLAS_STATUS_SUCCESS); }
  ~Library() { (void)cublasLtDestroy(handle); }
};

constexpr int rows = 5, columns = 19, inner = 7, batches = 2, gap = 3;  // every matrix has a gap between its lines

using Layout = std::unique_ptr<cublasLtMatrixLayout, decltype(&cublasLtMatrixLayoutDestroy)>;
using Operation = std::unique_ptr<cublasLtMatmulDesc, decltype(&cublasLtMatmulDescDestroy)>;

struct Matrix {
  int rows, columns, leading_step, step;  // between matrices
  bool is_row_major;
  Matrix(int rows_, int columns_, bool is_row_major_)
      : rows(rows_),
        columns(columns_),
        leading_step((is_row_major_ ? columns_ : rows_) + gap),
        step(leading_step * (is_row_major_ ? rows_ : columns_)),
        is_row_major(is_row_major_) {}
  size_t at(int batch, int row, int column) const {
    return static_cast<size_t>(batch * step +
                               (is_row_major ? row * leading_step + column : column * leading_step + row));
  }
  size_t size() const { return static_cast<size_t>(batches * step); }
  Layout layout(cudaDataType_t type) const {
    cublasLtMatrixLayout_t made = nullptr;
    REQUIRE(cublasLtMatrixLayoutCreate(&made, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns),
                                       leading_step) == CUBLAS_STATUS_SUCCESS);
    const int32_t order = is_row_major ? CUBLASLT_ORDER_ROW : CUBLASLT_ORDER_COL, count = batches;
    const int64_t offset = step;
    REQUIRE(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_ORDER, &order, sizeof order) ==
            CUBLAS_STATUS_SUCCESS);
    REQUIRE(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count) ==
            CUBLAS_STATUS_SUCCESS);
    REQUIRE(cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &offset,
                                             sizeof offset) == CUBLAS_STATUS_SUCCESS);
    return {made, cublasLtMatrixLayoutDestroy};
  }
};

Operation operation(const Case& c, const void* bias) {
  const bool is_double = c.type == CUDA_R_64F;
  cublasLtMatmulDesc_t op = nullptr;
  REQUIRE(cublasLtMatmulDescCreate(&op, is_double ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                   is_double ? CUDA_R_64F : CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
  const int32_t a = c.transposes_a ? CUBLAS_OP_T : CUBLAS_OP_N, b = c.transposes_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const uint32_t epilogue = c.has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  REQUIRE(cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_TRANSA, &a, sizeof a) == CUBLAS_STATUS_SUCCESS);
  REQUIRE(cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_TRANSB, &b, sizeof b) == CUBLAS_STATUS_SUCCESS);
  REQUIRE(cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) ==
          CUBLAS_STATUS_SUCCESS);
  REQUIRE(cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias) ==
          CUBLAS_STATUS_SUCCESS);
  return {op, cublasLtMatmulDescDestroy};
}

void check(const Case& c) {
  const Library library;
  const Matrix ma(c.transposes_a ? inner : rows, c.transposes_a ? rows : inner, c.is_row_major);
  const Matrix mb(c.transposes_b ? columns : inner, c.transposes_b ? inner : columns, c.is_row_major);
  const Matrix md(rows, columns, c.is_row_major);
  const auto va = small_numbers(ma.size(), 1), vb = small_numbers(mb.size(), 2), vc = small_numbers(md.size(), 3);
  const auto bias = small_numbers(rows, 4);
  const Numbers a(c.type, va), b(c.type, vb), addend(c.type, vc), d(c.type, vc), to_add(c.type, bias);
  const Layout la = ma.layout(c.type), lb = mb.layout(c.type), ld = md.layout(c.type);
  const Operation op = operation(c, to_add.block.data);
  const float alpha = static_cast<float>(c.alpha), beta = static_cast<float>(c.beta);
  const bool is_double = c.type == CUDA_R_64F;
  REQUIRE(cublasLtMatmul(library.handle, op.get(), is_double ? static_cast<const void*>(&c.alpha) : &alpha,
                         a.block.data, la.get(), b.block.data, lb.get(),
                         is_double ? static_cast<const void*>(&c.beta) : &beta, addend.block.data, ld.get(),
                         d.block.data, ld.get(), nullptr, nullptr, 0, nullptr) == CUBLAS_STATUS_SUCCESS);
  std::vector<double> right = vc;  // the gaps stay
  for (int batch = 0; batch < batches; ++batch)
    for (int row = 0; row < rows; ++row)
      for (int column = 0; column < columns; ++column) {
        double sum = 0;
        for (int k = 0; k < inner; ++k)
          sum += va[c.transposes_a ? ma.at(batch, k, row) : ma.at(batch, row, k)] *
                 vb[c.transposes_b ? mb.at(batch, column, k) : mb.at(batch, k, column)];
        right[md.at(batch, row, column)] =
            c.alpha * sum + c.beta * vc[md.at(batch, row, column)] + (c.has_bias ? bias[static_cast<size_t>(row)] : 0);
      }
  CHECK(d.values(md.size()) == right);
}

}  // namespace

TEST_CASE("emulator: matrix products of cuBLASLt agree with a plain loop") {
  for (const cudaDataType_t type : {CUDA_R_32F, CUDA_R_64F, CUDA_R_16BF})
    for (const bool transposes_a : {false, true})
      for (const bool transposes_b : {false, true})
        for (const bool is_row_major : {false, true}) {
          check({type, transposes_a, transposes_b, false, is_row_major, 1, 0});
          check({type, transposes_a, transposes_b, false, is_row_major, 2, 1});
          if (type != CUDA_R_64F && !is_row_major) check({type, transposes_a, transposes_b, true, false, 1, 1});
        }
}

TEST_CASE("emulator: products of cuBLASLt are refused where they cannot be") {
  const Library library;
  const Matrix ma(rows, inner, false), mb(inner, columns, false), md(rows, columns, false),
      wrong(rows + 1, columns, false);
  const Numbers a(CUDA_R_32F, small_numbers(ma.size(), 1)), b(CUDA_R_32F, small_numbers(mb.size(), 2)),
      d(CUDA_R_32F, small_numbers(md.size() + 1, 3));
  const Case plain{CUDA_R_32F, false, false, false, false, 1, 0};
  const float one = 1, zero = 0;
  const auto call = [&](const Case& c, const Matrix& to, int* pointer, const cublasLtMatmulAlgo_t* algo) {
    const Operation op = operation(c, nullptr);
    const Layout la = ma.layout(c.type), lb = mb.layout(c.type), ld = to.layout(c.type);
    const cublasStatus_t status =
        cublasLtMatmul(library.handle, op.get(), &one, a.block.data, la.get(), b.block.data, lb.get(), &zero, pointer,
                       ld.get(), pointer, ld.get(), algo, nullptr, 0, nullptr);
    return status;
  };
  CHECK(call(plain, md, d.block.data, nullptr) == CUBLAS_STATUS_SUCCESS);
  CHECK(call(plain, wrong, d.block.data, nullptr) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(call({CUDA_R_64F, false, false, true, false, 1, 0}, md, d.block.data, nullptr) == CUBLAS_STATUS_NOT_SUPPORTED);
  CHECK(std::string(cublasLtGetStatusString(CUBLAS_STATUS_NOT_SUPPORTED)) == "CUBLAS_STATUS_NOT_SUPPORTED");
  // Beyond the block of device memory.
  CHECK_THROWS_AS(call(plain, md, d.block.data + 8, nullptr), emulator::Fault);

  // An algorithm that was asked for 16 bytes does not take 4.
  cublasLtMatmulPreference_t preference = nullptr;
  REQUIRE(cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS);
  const Operation op = operation(plain, nullptr);
  const Layout la = ma.layout(CUDA_R_32F), lb = mb.layout(CUDA_R_32F), ld = md.layout(CUDA_R_32F);
  cublasLtMatmulHeuristicResult_t result{};
  int count = 0;
  for (const uint32_t alignment : {16u, 4u}) {
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      REQUIRE(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &alignment, sizeof alignment) ==
              CUBLAS_STATUS_SUCCESS);
    REQUIRE(cublasLtMatmulAlgoGetHeuristic(library.handle, op.get(), la.get(), lb.get(), ld.get(), ld.get(), preference,
                                           1, &result, &count) == CUBLAS_STATUS_SUCCESS);
    REQUIRE(count == 1);
    CHECK(call(plain, md, d.block.data + 1, &result.algo) ==
          (alignment == 16 ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS));
  }
  (void)cublasLtMatmulPreferenceDestroy(preference);
}
