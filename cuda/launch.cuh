// What every .cu file starts from: the only place that launches kernels, and the macro for dynamic shared memory.
//
//   launch("softmax", softmax_kernel<T>, Grid{rows}, 128, 0, softmax_arguments...);
//
// Kernels stand in an anonymous namespace, take pointers, numbers and small structs, and only assert: what came was
// checked by core/ops. They keep to the rules of cuda/README.md, so that the same file also runs through the emulator
// of tests/cuda, which includes its own shim in front of it in place of NVIDIA's header.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>
#elif !defined(PHASOR_EMULATED)
#error "compile with nvcc, or with g++ and tests/cuda/emulator/shim.hpp in front"
#endif

#include <cstddef>
#include <cstdint>

#include "core/cuda.hpp"

// T* name: the dynamic shared memory of the block, 128 bytes aligned. One name and type for each kernel.
#ifdef __CUDACC__
#define PHASOR_SHARED(type, name)                              \
  extern __shared__ __align__(128) unsigned char name##_raw[]; \
  type* const name = reinterpret_cast<type*>(name##_raw)
#else
#define PHASOR_SHARED(type, name) type* const name = static_cast<type*>(phasor::emulator::dynamic_shared())
#endif

namespace phasor::cuda {

constexpr int warp = 32;
constexpr unsigned all_lanes = 0xffffffffu;

// The one stream that all work is on, in order.
cudaStream_t stream();
// Throws what the code means: MemoryError, DeviceError naming `op`. Success passes.
void check(const char* op, cudaError_t code);
void allow_shared_bytes(const char* op, const void* kernel, size_t bytes);
// Multiprocessors of the GPU, for grids of a fixed size.
int processors();
// Memory for as long as the program runs, not from the pool: work space that graphs use too.
std::byte* permanent_block(size_t bytes);

constexpr int64_t pieces(int64_t extent, int64_t piece) { return (extent + piece - 1) / piece; }

// Blocks of a launch; y and z at most 65535.
struct Grid {
  int64_t x = 1, y = 1, z = 1;
};
struct Block {
  unsigned x = 1, y = 1, z = 1;
  Block(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Refuses a grid that no GPU takes, and keeps the names of the latest launches for errors that come later.
void before_launch(const char* op, const Grid& grid = {});

// A grid without blocks does nothing: there is no element.
template <class... Parameters, class... Arguments>
void launch(const char* op, void (*kernel)(Parameters...), Grid grid, Block block, size_t shared_bytes,
            Arguments... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "as many arguments as the kernel takes");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  before_launch(op, grid);
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
  const dim3 threads(block.x, block.y, block.z);
#ifdef __CUDACC__
  if (shared_bytes > 48 * 1024) allow_shared_bytes(op, reinterpret_cast<const void*>(kernel), shared_bytes);
  kernel<<<blocks, threads, shared_bytes, stream()>>>(static_cast<Parameters>(arguments)...);
#else
  emulator::launch(op, blocks, threads, shared_bytes, stream(), [=] { kernel(static_cast<Parameters>(arguments)...); });
#endif
  check(op, cudaGetLastError());
}

}  // namespace phasor::cuda
