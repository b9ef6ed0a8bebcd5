// Instructions of the GPU that C++ has no words for: the only inline assembly of the project. PTX names in parentheses;
// all exist since compute capability 8.0. Tests on the CPU have models of them in tests/cuda/emulator/instructions.hpp.
//
// Matrix instructions work on fragments: the 32 lanes of a warp hold a matrix together, a few elements in the registers
// of each. With group = lane / 4 (0 .. 7) and pair = 2 * (lane % 4) (0, 2, 4, 6), and two bf16 in a 32-bit register,
// the first of them in the low half:
//
//   A [16, 16]   a[0]  row group      columns pair, pair + 1       B [16, 8]  b[0]  rows pair, pair + 1      column
//   group
//                a[1]  row group + 8  columns pair, pair + 1                  b[1]  rows pair + 8, pair + 9  column
//                group a[2]  row group      columns pair + 8, pair + 9 a[3]  row group + 8  columns pair + 8, pair + 9
//   D [16, 8]    d[0], d[1]  row group      columns pair, pair + 1     in f32
//                d[2], d[3]  row group + 8  columns pair, pair + 1
//
// Two D side by side are an A: pack_bf16(d[0], d[1]), pack_bf16(d[2], d[3]), then the same of the second.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>

#include <cstdint>

namespace phasor::cuda {

// An address as instructions on shared memory take it.
__device__ __forceinline__ unsigned shared_address(const void* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

// Loads four 8 x 8 matrices of bf16 from shared memory (ldmatrix). `row` is, in lane l, row l % 8 of matrix l / 8: 16
// bytes at a multiple of 16. r[m] then holds of matrix m the row `group`, columns pair, pair + 1. So a 16 x 16 block in
// row order is an A if lane l gives row l % 16, from column 8 * (l / 16) on. The warp does it together: all 32 lanes
// come, with valid addresses.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
// Two matrices: the addresses of lanes 0 .. 15 count; the others come along.
__device__ __forceinline__ void load_matrix_x2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}
// The same, each matrix transposed: r[m] holds of matrix m rows pair, pair + 1 of column `group`. A [k, n] block in row
// order is a B this way, and a [n, k] block is one without transposing.
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void load_matrix_x2_transposed(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}

// D += A B on the tensor cores (mma.m16n8k16), bf16 factors, f32 sums. The whole warp comes.
__device__ __forceinline__ void multiply_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Starts a copy of 16 bytes to shared memory (cp.async); both addresses are multiples of 16. Zeros if not is_valid;
// `global` must be an address that exists all the same. The thread goes on at once: the bytes are there after
// wait_copies, for this thread; for others after a __syncthreads behind it.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool is_valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(shared_address(shared)), "l"(global), "r"(is_valid ? 16 : 0)
               : "memory");
}
// What this thread has started since the last commit becomes a group (cp.async.commit_group). It may be empty.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most the latest `pending_groups` groups of this thread are under way (cp.async.wait_group).
template <int pending_groups>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending_groups) : "memory");
}

// 2^x to 2 units in the last place (ex2.approx.ftz): 0 below 2^-126, and 2^-inf is 0.
__device__ __forceinline__ float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two numbers rounded to bf16, to nearest, ties to even (cvt.rn.bf16x2), in one register, and back.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
__device__ __forceinline__ float low_bf16(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_bf16(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

}  // namespace phasor::cuda
#endif
