// Planted faults of fragments and asynchronous copies.
#include "core/bf16.hpp"
#include "cuda/instructions.cuh"
#include "tests/cuda/faults.cuh"

namespace phasor::planted {
namespace {

using namespace cuda;

// Small numbers, so that products in bf16 are exact: what the warp of element i multiplies.
PHASOR_HOST_DEVICE inline int element_a(const int* x, int i, int row, int k) {
  return (x[(16 * row + k) % numbers] + i / 32) % 5 - 2;
}
PHASOR_HOST_DEVICE inline int element_b(const int* x, int i, int k, int column) {
  return (x[(8 * k + column + i / 32) % numbers] * 3) % 7 - 3;
}
// What a lane makes of its four sums.
int product(const int* x, int i) {
  const int group = i % 32 / 4, pair = i % 4 * 2;
  int result = 0;
  for (int r = 0; r < 4; ++r)
    for (int k = 0; k < 16; ++k)
      result += (2 * r + 1) * element_a(x, i, group + r / 2 * 8, k) * element_b(x, i, k, pair + r % 2);
  return result;
}

enum class Mistake { none, a_swapped, b_swapped, b_not_transposed, rows_of_a, pairs_swapped, lanes_apart, misaligned };

template <Mistake mistake>
__global__ void product_kernel(int* y, const int* x) {
  __shared__ __align__(16) bf16 a_tiles[threads / 32][16][16], b_tiles[threads / 32][16][8];
  bf16(&a_tile)[16][16] = a_tiles[thread() / 32];
  bf16(&b_tile)[16][8] = b_tiles[thread() / 32];
  for (int i = lane(); i < 256; i += 32) a_tile[i / 16][i % 16] = bf16(element_a(x, at(), i / 16, i % 16));
  for (int i = lane(); i < 128; i += 32) b_tile[i / 8][i % 8] = bf16(element_b(x, at(), i / 8, i % 8));
  __syncwarp();
  uint32_t a[4], b[2];
  const int row = mistake == Mistake::rows_of_a ? (lane() ^ 1) % 16 : lane() % 16;
  load_matrix_x4(a, &a_tile[row][8 * (lane() / 16)]);
  const bf16* const b_row = b_tile[lane() % 16] + (mistake == Mistake::misaligned && lane() == 2 ? 1 : 0);
  if constexpr (mistake == Mistake::b_not_transposed)
    load_matrix_x2(b, b_row);
  else
    load_matrix_x2_transposed(b, b_row);
  if constexpr (mistake == Mistake::a_swapped) {
    const uint32_t keep = a[1];
    a[1] = a[2];
    a[2] = keep;
  }
  if constexpr (mistake == Mistake::b_swapped) {
    const uint32_t keep = b[0];
    b[0] = b[1];
    b[1] = keep;
  }
  if constexpr (mistake == Mistake::pairs_swapped) b[0] = pack_bf16(high_bf16(b[0]), low_bf16(b[0]));
  float d[4] = {};
  if (mistake != Mistake::lanes_apart || lane() != 7)
    multiply_bf16(d, a, b);
  else
    multiply_bf16(d, a, b);
  y[at()] = static_cast<int>(d[0] + 3 * d[1] + 5 * d[2] + 7 * d[3]);
}

// The same fragments by hand, as cuda/instructions.cuh describes them.
__global__ void product_by_hand_kernel(int* y, const int* x) {
  const int group = lane() / 4, pair = lane() % 4 * 2;
  uint32_t a[4], b[2];
  for (int r = 0; r < 4; ++r) {
    const int row = group + r % 2 * 8, k = pair + r / 2 * 8;
    a[r] =
        pack_bf16(static_cast<float>(element_a(x, at(), row, k)), static_cast<float>(element_a(x, at(), row, k + 1)));
  }
  for (int r = 0; r < 2; ++r)
    b[r] = pack_bf16(static_cast<float>(element_b(x, at(), pair + 8 * r, group)),
                     static_cast<float>(element_b(x, at(), pair + 8 * r + 1, group)));
  float d[4] = {};
  multiply_bf16(d, a, b);
  y[at()] = static_cast<int>(d[0] + 3 * d[1] + 5 * d[2] + 7 * d[3]);
}

enum class Copying {
  right,
  no_wait,     // before reading
  weak_wait,   // for the group before
  no_barrier,  // after the wait
  wait_after_barrier,
  never_waited,
  misaligned,
  not_shared,
  not_cleared,  // rows beyond the end are copied too
};

// Numbers of the block in reverse order, through two groups of copies; those beyond the block's 60th count as 0.
template <Copying how>
__global__ void copies_kernel(int* y, const int* x) {
  PHASOR_SHARED(int, row);
  constexpr int there = 60;
  const int* const from = x + blockIdx.x * threads;
  const auto start = [&](int chunk) {
    void* to = row + 4 * chunk;
    if (how == Copying::misaligned) to = row + 4 * chunk + 1;
    if (how == Copying::not_shared && chunk == 1) to = y + 4 * chunk;
    copy_async_16(to, from + 4 * chunk, 4 * chunk < there || how == Copying::not_cleared);
  };
  if (thread() < 8) start(thread());
  commit_copies();
  if (thread() < 8) start(8 + thread());
  commit_copies();
  if constexpr (how == Copying::never_waited) {
    y[at()] = x[at()];
    return;
  }
  if constexpr (how == Copying::weak_wait) wait_copies<1>();
  if constexpr (how != Copying::weak_wait && how != Copying::no_wait && how != Copying::wait_after_barrier)
    wait_copies<0>();
  if constexpr (how != Copying::no_barrier) __syncthreads();
  if constexpr (how == Copying::wait_after_barrier) wait_copies<0>();
  const int value = row[threads - 1 - thread()];
  wait_copies<0>();
  y[at()] = value;
}
int reversed_60(const int* x, int i) {
  const int from = threads - 1 - i % threads;
  return from < 60 ? x[i / threads * threads + from] : 0;
}

// Three tiles through two buffers; the wrong one fills a buffer that others still read.
template <Version version>
__global__ void ring_kernel(int* y, const int* x) {
  __shared__ __align__(16) int buffers[2][threads];
  const auto start = [&](int tile) {
    if (thread() < threads / 4)
      copy_async_16(buffers[tile % 2] + 4 * thread(), x + tile * threads + 4 * thread(), true);
    commit_copies();
  };
  start(0);
  int sum = 0;
  for (int tile = 0; tile < blocks; ++tile) {
    wait_copies<0>();
    if (version == Version::wrong && tile + 1 < blocks) start(tile + 1);
    __syncthreads();
    if (version == Version::right && tile + 1 < blocks) start(tile + 1);
    sum += buffers[tile % 2][threads - 1 - thread()];
  }
  y[at()] = sum;
}
int sum_of_tiles(const int* x, int i) {
  int sum = 0;
  for (int tile = 0; tile < blocks; ++tile) sum += x[tile * threads + threads - 1 - i % threads];
  return sum;
}

template <Mistake mistake>
Kernel of_product(const char* name, Found found = Found::by_result, std::vector<emulator::FaultKind> kinds = {},
                  const char* message = "") {
  return {name, found, std::move(kinds), message, run<product_kernel<Mistake::none>, product_kernel<mistake>>, product};
}
template <Copying how>
Kernel of_copies(const char* name, Found found, std::vector<emulator::FaultKind> kinds, const char* message) {
  return {name, found, std::move(kinds), message, run<copies_kernel<Copying::right>, copies_kernel<how>>, reversed_60};
}

}  // namespace

std::span<const Kernel> matrix_kernels() {
  using enum emulator::FaultKind;
  static const std::vector<Kernel> list = {
      of_product<Mistake::a_swapped>("two registers of a left fragment swapped"),
      of_product<Mistake::b_swapped>("two registers of a right fragment swapped"),
      of_product<Mistake::b_not_transposed>("a right fragment not transposed"),
      of_product<Mistake::rows_of_a>("rows of a left fragment swapped"),
      of_product<Mistake::pairs_swapped>("halves of a register swapped"),
      of_product<Mistake::lanes_apart>("a lane at another matrix product", Found::by_fault, {lanes},
                                       "a matrix product"),
      of_product<Mistake::misaligned>("a misaligned row of a matrix", Found::by_fault, {lanes}, "multiple of 16"),
      {"fragments by hand; rows of a left fragment swapped",
       Found::by_result,
       {},
       "",
       run<product_by_hand_kernel, product_kernel<Mistake::rows_of_a>>,
       product},
      of_copies<Copying::no_wait>("no wait for copies", Found::by_tracker, {copy}, "is under way"),
      of_copies<Copying::weak_wait>("a wait for the group before", Found::by_tracker, {copy}, "is under way"),
      of_copies<Copying::no_barrier>("no barrier behind a wait", Found::by_tracker, {race, unwritten, copy}, ""),
      of_copies<Copying::wait_after_barrier>("a wait behind the barrier", Found::by_tracker, {race, copy}, ""),
      of_copies<Copying::never_waited>("copies that nobody waits for", Found::by_fault, {copy}, "never waited for"),
      of_copies<Copying::misaligned>("a copy to no multiple of 16 bytes", Found::by_fault, {copy}, "multiple of 16"),
      of_copies<Copying::not_shared>("a copy to device memory", Found::by_fault, {copy}, "outside the shared memory"),
      of_copies<Copying::not_cleared>("rows beyond the end not cleared", Found::by_result, {}, ""),
      {"a buffer filled while others read it",
       Found::by_tracker,
       {race, copy},
       "",
       run<ring_kernel<Version::right>, ring_kernel<Version::wrong>>,
       sum_of_tiles},
  };
  return list;
}

}  // namespace phasor::planted
