// Planted faults of what a kernel computes and of the memory it touches, and the list of all planted kernels.
#include <memory>

#include "tests/cuda/faults.cuh"

namespace phasor::planted {
namespace {

// The sum of a warp: the last step of the reduction is lost.
template <Version version>
__global__ void sum_kernel(int* y, const int* x) {
  int sum = x[at()];
#pragma unroll
  for (int step = 16; step > (version == Version::right ? 0 : 1); step /= 2)
    sum += __shfl_xor_sync(all_lanes, sum, step);
  y[at()] = sum;
}
int sum_of_warp(const int* x, int i) {
  int sum = 0;
  for (int j = 0; j < 32; ++j) sum += x[i / 32 * 32 + j];
  return sum;
}

// The sum up to and with each element of the block; a causal mask that is off by one.
template <Version version>
__global__ void causal_kernel(int* y, const int* x) {
  int sum = 0;
  for (int j = 0; j < threads; ++j)
    if (version == Version::right ? j <= thread() : j < thread()) sum += x[at() - thread() + j];
  y[at()] = sum;
}
int sum_so_far(const int* x, int i) {
  int sum = 0;
  for (int j = i / threads * threads; j <= i; ++j) sum += x[j];
  return sum;
}

template <Version version>
__global__ void copy_kernel(int* y, const int* x) {
  y[at()] = x[at()];
}

// Past the end of the dynamic shared memory, of which the launch asked for too little.
template <Version version>
__global__ void too_much_shared_kernel(int* y, const int* x) {
  PHASOR_SHARED(int, row);
  row[thread() + (version == Version::right ? 0 : 16)] = x[at()];
  __syncthreads();
  y[at()] = row[(thread() ^ 1) + (version == Version::right ? 0 : 16)];
}

// A pointer to memory of the host among the arguments.
struct Weights {
  const int* values;
};
__global__ void host_pointer_kernel(int* y, const int* x, Weights weights) { y[at()] = x[at()] + weights.values[0]; }

__global__ void outside_kernel(Outside what, int* y, const int* x) {
  PHASOR_SHARED(int, dynamic);
  __shared__ int before[8], row[threads], tile[8][8];
  before[thread() % 8] = row[thread()] = dynamic[thread()] = tile[thread() / 8][thread() % 8] = x[at()];
  const int far = threads + (thread() == 3);
  if (what == Outside::global) y[at() + (at() == numbers - 1)] = 1;
  int* const first = row;  // else the undefined-behaviour sanitizer, which knows the extent, says it
  if (what == Outside::static_shared) first[thread() == 3 ? far : thread()] = 1;
  if (what == Outside::dynamic_shared) dynamic[thread() == 3 ? far : thread()] = 1;
  if (what == Outside::row_of_a_tile) tile[thread() / 8][thread() % 8 + (thread() == 3 ? 5 : 0)] = 1;
  if (what == Outside::misaligned && thread() == 3)
    *reinterpret_cast<int4*>(dynamic + 1) = *reinterpret_cast<const int4*>(x);
  __syncthreads();
  y[at()] = row[thread()] + dynamic[thread()] + before[thread() % 8] + tile[thread() / 8][0];
}

__global__ void add_one_kernel(int* y, const int* x, int count) {
  if (at() < count) y[at()] = x[at()] + 1;
}

}  // namespace

std::span<const Kernel> work_kernels() {
  using enum emulator::FaultKind;
  static const std::vector<Kernel> list = {
      {"a lost step of a reduction",
       Found::by_result,
       {},
       "",
       run<sum_kernel<Version::right>, sum_kernel<Version::wrong>>,
       sum_of_warp},
      {"a causal mask off by one",
       Found::by_result,
       {},
       "",
       run<causal_kernel<Version::right>, causal_kernel<Version::wrong>>,
       sum_so_far},
      {"a short grid",
       Found::by_result,
       {},
       "",
       [](Version version, int* y, const int* x) {
         cuda::launch("planted", copy_kernel<Version::right>, Grid{version == Version::right ? blocks : blocks - 1},
                      threads, 0, y, x);
       },
       same},
      {"a pointer to memory of the host",
       Found::only_by_tracker,
       {host},
       "reads memory of the host",
       [](Version version, int* y, const int* x) {
         static const int constant = 7;  // a constant of the program is as good as one of the GPU
         const auto weight = std::make_unique<int>(7);
         cuda::launch("planted", host_pointer_kernel, Grid{blocks}, threads, 0, y, x,
                      Weights{version == Version::right ? &constant : weight.get()});
       },
       [](const int* x, int i) { return x[i] + 7; }},
      {"too little dynamic shared memory",
       Found::only_by_tracker,
       {bounds},
       "of the dynamic shared memory, which has 256",
       [](Version version, int* y, const int* x) {
         cuda::launch("planted",
                      version == Version::right ? too_much_shared_kernel<Version::right>
                                                : too_much_shared_kernel<Version::wrong>,
                      Grid{blocks}, threads, threads * sizeof(int), y, x);
       },
       of_neighbour},
  };
  return list;
}

std::span<const Kernel> kernels() {
  static const std::vector<Kernel> all = [] {
    std::vector<Kernel> result;
    for (const std::span<const Kernel> some : {meeting_kernels(), matrix_kernels(), work_kernels()})
      result.insert(result.end(), some.begin(), some.end());
    return result;
  }();
  return all;
}

void step_outside(Outside what, int* y, const int* x) {
  cuda::launch("outside", outside_kernel, Grid{blocks}, threads, threads * sizeof(int), what, y, x);
}

void fill_place(int* y, int first) { y[at()] = at() + first; }

void add_one(int* y, const int* x, int count) {
  cuda::launch("add_one", add_one_kernel, Grid{cuda::pieces(count, 256)}, 256, 0, y, x, count);
}

}  // namespace phasor::planted
