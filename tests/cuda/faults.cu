// Planted faults of threads and lanes that miss each other, and of shared memory.
#include "tests/cuda/faults.cuh"

namespace phasor::planted {
namespace {

// The numbers of a block in reverse order.
template <Version version>
__global__ void reverse_kernel(int* y, const int* x) {
  __shared__ int row[threads];
  row[thread()] = x[at()];
  if constexpr (version == Version::right) __syncthreads();
  y[at()] = row[threads - 1 - thread()];
}
int reversed(const int* x, int i) { return x[i / threads * threads + threads - 1 - i % threads]; }

// Twice, through one row: what is read must be read before it is written again.
template <Version version>
__global__ void reverse_twice_kernel(int* y, const int* x) {
  PHASOR_SHARED(int, row);
  row[thread()] = x[at()];
  __syncthreads();
  const int value = row[threads - 1 - thread()];
  if constexpr (version == Version::right) __syncthreads();
  row[thread()] = value;
  __syncthreads();
  y[at()] = row[threads - 1 - thread()];
}

enum class Between { syncwarp, nothing, vote, shuffle };
template <Between between>
__global__ void reverse_warp_kernel(int* y, const int* x) {
  __shared__ int row[threads];
  row[thread()] = x[at()];
  if constexpr (between == Between::syncwarp) __syncwarp();
  if constexpr (between == Between::vote) (void)__any_sync(all_lanes, lane() == 0);
  if constexpr (between == Between::shuffle) (void)__shfl_xor_sync(all_lanes, thread(), 1);
  y[at()] = row[thread() ^ 31];
}
template <Version version>
__global__ void reverse_warp_nothing(int* y, const int* x) {
  version == Version::right ? reverse_warp_kernel<Between::syncwarp>(y, x)
                            : reverse_warp_kernel<Between::nothing>(y, x);
}
template <Version version>
__global__ void reverse_warp_vote(int* y, const int* x) {
  version == Version::right ? reverse_warp_kernel<Between::syncwarp>(y, x) : reverse_warp_kernel<Between::vote>(y, x);
}
template <Version version>
__global__ void reverse_warp_shuffle(int* y, const int* x) {
  version == Version::right ? reverse_warp_kernel<Between::syncwarp>(y, x)
                            : reverse_warp_kernel<Between::shuffle>(y, x);
}
int reversed_in_warp(const int* x, int i) { return x[i / 32 * 32 + 31 - i % 32]; }

// __syncwarp orders the lanes of one warp, not two of them.
template <Version version>
__global__ void neighbour_warp_kernel(int* y, const int* x) {
  __shared__ int row[threads];
  row[thread()] = x[at()];
  if constexpr (version == Version::right)
    __syncthreads();
  else
    __syncwarp();
  y[at()] = row[thread() ^ 32];
}
int of_neighbour_warp(const int* x, int i) { return x[i ^ 32]; }

// How many numbers of the block fall on each of 4 counts.
template <Version version>
__global__ void count_kernel(int* y, const int* x) {
  __shared__ int counts[4];
  if (thread() < 4) counts[thread()] = 0;
  __syncthreads();
  if constexpr (version == Version::right)
    atomicAdd(&counts[x[at()] & 3], 1);
  else
    ++counts[x[at()] & 3];
  __syncthreads();
  y[at()] = counts[thread() & 3];
}
int counted(const int* x, int i) {
  int count = 0;
  for (int j = 0; j < threads; ++j) count += (x[i / threads * threads + j] & 3) == (i & 3);
  return count;
}

// All write the same: a race all the same.
template <Version version>
__global__ void flag_kernel(int* y, const int* x) {
  __shared__ int flag;
  if (version == Version::wrong || thread() == 0) flag = 7;
  __syncthreads();
  y[at()] = x[at()] + flag;
}
int plus_seven(const int* x, int i) { return x[i] + 7; }

template <Version version>
__global__ void unwritten_kernel(int* y, const int* x) {
  __shared__ int row[threads + 1];
  row[thread()] = x[at()];
  if (version == Version::right && thread() == 0) row[threads] = 0;
  __syncthreads();
  y[at()] = row[thread() + 1];
}
int next_or_zero(const int* x, int i) { return i % threads == threads - 1 ? 0 : x[i + 1]; }

// A struct of 48 bytes is copied by one assignment.
struct Wide {
  int values[12];
};
template <Version version>
__global__ void struct_kernel(int* y, const int* x) {
  __shared__ Wide wide[threads];
  Wide own{};
  own.values[11] = x[at()];
  wide[thread()] = own;
  if constexpr (version == Version::right) __syncthreads();
  const Wide other = wide[thread() ^ 1];
  y[at()] = other.values[11];
}

template <Version version>
__global__ void memcpy_kernel(int* y, const int* x) {
  PHASOR_SHARED(int, rows);
  for (int i = 0; i < 3; ++i) rows[3 * thread() + i] = x[at()];
  if constexpr (version == Version::right) __syncthreads();
  int other[3];
  const int count = x[0] == 0 ? 2 : 3;  // so that it stays a call
  memcpy(other, rows + 3 * (thread() ^ 1), sizeof(int) * static_cast<size_t>(count));
  y[at()] = other[1];
}

__device__ inline void divergent() {
  if (thread() < 32)
    __syncthreads();
  else
    __syncthreads();
}
template <Version version>
__global__ void divergent_kernel(int* y, const int* x) {
  version == Version::right ? __syncthreads() : divergent();
  y[at()] = x[at()];
}

template <Version version>
__global__ void other_vote_kernel(int* y, const int* x) {
  if (version == Version::right || thread() != 5)
    y[at()] = x[at()] + 6 + __syncthreads_or(thread() == 9);
  else
    y[at()] = x[at()] + 6 + __syncthreads_and(thread() == 9);
}

template <Version version>
__global__ void early_exit_kernel(int* y, const int* x) {
  __shared__ int row[threads];
  row[thread()] = x[at()];
  const bool is_idle = thread() >= threads - 5;
  if (version == Version::wrong && is_idle) return;
  __syncthreads();
  y[at()] = row[thread()];
}

template <Version version>
__global__ void idle_lanes_kernel(int* y, const int* x) {
  int value = x[at()];
  if (version == Version::wrong && lane() >= 16) {
    y[at()] = value;
    return;
  }
  value = __shfl_xor_sync(all_lanes, value, 1);
  y[at()] = value;
}

template <Version version>
__global__ void foreign_mask_kernel(int* y, const int* x) {
  const unsigned half = lane() < 16 ? 0x0000ffffu : 0xffff0000u;
  y[at()] = __shfl_xor_sync(version == Version::right ? half : 0x0000ffffu, x[at()], 1);
}

template <Version version>
__global__ void source_outside_kernel(int* y, const int* x) {
  const unsigned half = lane() < 16 ? 0x0000ffffu : 0xffff0000u;
  y[at()] = __shfl_xor_sync(version == Version::right ? all_lanes : half, x[at()], 31);
}

template <Version version>
__global__ void different_masks_kernel(int* y, const int* x) {
  const bool is_odd_one = version == Version::wrong && lane() == 3;
  y[at()] = __shfl_xor_sync(is_odd_one ? 0x7fffffffu : all_lanes, x[at()], 1);
}

template <Version version>
__global__ void different_operations_kernel(int* y, const int* x) {
  int value;
  if (version == Version::right || lane() < 16)
    value = __shfl_xor_sync(all_lanes, x[at()], 1);
  else
    value = static_cast<int>(__ballot_sync(all_lanes, x[at()] != 0));
  y[at()] = value;
}

template <Version version>
__global__ void shuffle_or_barrier_kernel(int* y, const int* x) {
  int value = x[at()];
  if (version == Version::right || lane() != 3) value = __shfl_xor_sync(all_lanes, value, 1);
  __syncthreads();
  y[at()] = value;
}

}  // namespace

std::span<const Kernel> meeting_kernels() {
  using enum emulator::FaultKind;
  static const std::vector<Kernel> list = {
      {"no barrier between writing and reading",
       Found::by_tracker,
       {race, unwritten},
       "static shared array",
       run<reverse_kernel<Version::right>, reverse_kernel<Version::wrong>>,
       reversed},
      {"no barrier between reading and writing again",
       Found::by_tracker,
       {race},
       "nothing orders the two",
       run<reverse_twice_kernel<Version::right>, reverse_twice_kernel<Version::wrong>>,
       same},
      {"no __syncwarp",
       Found::by_tracker,
       {race, unwritten},
       "static shared array",
       run<reverse_warp_nothing<Version::right>, reverse_warp_nothing<Version::wrong>>,
       reversed_in_warp},
      {"a vote in place of __syncwarp",
       Found::only_by_tracker,
       {race},
       "nothing orders the two",
       run<reverse_warp_vote<Version::right>, reverse_warp_vote<Version::wrong>>,
       reversed_in_warp},
      {"a shuffle in place of __syncwarp",
       Found::only_by_tracker,
       {race},
       "nothing orders the two",
       run<reverse_warp_shuffle<Version::right>, reverse_warp_shuffle<Version::wrong>>,
       reversed_in_warp},
      {"__syncwarp between two warps",
       Found::by_tracker,
       {race, unwritten},
       "static shared array",
       run<neighbour_warp_kernel<Version::right>, neighbour_warp_kernel<Version::wrong>>,
       of_neighbour_warp},
      {"a lost update",
       Found::only_by_tracker,
       {race},
       "nothing orders the two",
       run<count_kernel<Version::right>, count_kernel<Version::wrong>>,
       counted},
      {"a race of equal values",
       Found::only_by_tracker,
       {race},
       "which thread",
       run<flag_kernel<Version::right>, flag_kernel<Version::wrong>>,
       plus_seven},
      {"reading what nobody wrote",
       Found::only_by_tracker,
       {unwritten},
       "no thread of the block has written",
       run<unwritten_kernel<Version::right>, unwritten_kernel<Version::wrong>>,
       next_or_zero},
      {"a race of structs",
       Found::by_tracker,
       {race, unwritten},
       "static shared array",
       run<struct_kernel<Version::right>, struct_kernel<Version::wrong>>,
       of_neighbour},
      {"a race in memcpy",
       Found::by_tracker,
       {race, unwritten},
       "dynamic shared memory",
       run<memcpy_kernel<Version::right>, memcpy_kernel<Version::wrong>>,
       of_neighbour},
      {"barriers in two branches",
       Found::by_fault,
       {barrier},
       "another barrier",
       run<divergent_kernel<Version::right>, divergent_kernel<Version::wrong>>,
       same},
      {"different votes at barriers",
       Found::by_fault,
       {barrier},
       "another barrier",
       run<other_vote_kernel<Version::right>, other_vote_kernel<Version::wrong>>,
       plus_seven},
      {"an exit before a barrier",
       Found::by_fault,
       {barrier},
       "returned",
       run<early_exit_kernel<Version::right>, early_exit_kernel<Version::wrong>>,
       same},
      {"an exit before a shuffle",
       Found::by_fault,
       {mask},
       "returned",
       run<idle_lanes_kernel<Version::right>, idle_lanes_kernel<Version::wrong>>,
       of_neighbour},
      {"a lane outside its mask",
       Found::by_fault,
       {mask},
       "not in its own mask",
       run<foreign_mask_kernel<Version::right>, foreign_mask_kernel<Version::wrong>>,
       of_neighbour},
      {"a value from outside the mask",
       Found::by_fault,
       {mask},
       "which is not in the mask",
       run<source_outside_kernel<Version::right>, source_outside_kernel<Version::wrong>>,
       reversed_in_warp},
      {"different masks",
       Found::by_fault,
       {lanes},
       "with mask 0x7fffffff",
       run<different_masks_kernel<Version::right>, different_masks_kernel<Version::wrong>>,
       of_neighbour},
      {"lanes at different operations",
       Found::by_fault,
       {lanes},
       "__ballot_sync",
       run<different_operations_kernel<Version::right>, different_operations_kernel<Version::wrong>>,
       of_neighbour},
      {"one lane at a barrier, the others at a shuffle",
       Found::by_fault,
       {lanes},
       "barrier",
       run<shuffle_or_barrier_kernel<Version::right>, shuffle_or_barrier_kernel<Version::wrong>>,
       of_neighbour},
  };
  return list;
}

void meet_apart() { divergent(); }

}  // namespace phasor::planted
