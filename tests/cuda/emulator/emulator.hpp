// Runs CUDA kernels on the CPU, for tests: the functions that tests and cuda/launch.cuh call.
//
// A kernel's threads are fibers on one thread of the host, its blocks run one after another, and what a GPU leaves
// undefined is an error with a place: barriers that not all reach, lanes that miss a shuffle, races in shared memory.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "tests/cuda/emulator/cuda_runtime.hpp"

namespace phasor::emulator {

enum class FaultKind {
  launch,     // a grid, block or shared memory that no GPU takes
  barrier,    // threads of a block at different barriers, or gone while others wait
  mask,       // a lane outside its own mask, or a mask that names a lane that has gone
  lanes,      // lanes of a warp at different operations
  deadlock,   // every thread waits
  copy,       // an asynchronous copy that nobody waited for, or with a wrong address
  race,       // two threads, one place in shared memory, at least one writes, nothing orders them
  unwritten,  // shared memory is read that no thread of the block has written
  bounds,     // outside the dynamic shared memory that was asked for
  host,       // a kernel in memory of the host
};

struct Fault : std::runtime_error {
  FaultKind kind;
  std::string op, file;  // of the kernel's line, where it is known
  unsigned line = 0;
  uint3 block, thread;
  Fault(FaultKind kind_, const std::string& message, std::string op_, std::string file_, unsigned line_, uint3 block_,
        uint3 thread_)
      : std::runtime_error(message),
        kind(kind_),
        op(std::move(op_)),
        file(std::move(file_)),
        line(line_),
        block(block_),
        thread(thread_) {}
};

// Calls `body` once for each thread, with threadIdx and the like set, or records it if the stream captures.
void launch(const char* op, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
            std::function<void()> body);
// A body that says where its closure is, which holds the kernel's arguments: other memory of the host is out of bounds.
struct Body {
  void (*call)(const void* closure);
  std::shared_ptr<void> closure;
  size_t bytes;
  void operator()() const { call(closure.get()); }
};
std::shared_ptr<void> closure_memory(size_t bytes);  // uninitialised
void launch_body(const char* op, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, Body body);
// Every kernel has an F of its own: little is compiled for it.
template <class F>
requires std::is_trivially_destructible_v<F>
void launch(const char* op, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, const F& body) {
  const Body as_body{[](const void* closure) { (*static_cast<const F*>(closure))(); }, closure_memory(sizeof(F)),
                     sizeof(F)};
  new (as_body.closure.get()) F(body);
  launch_body(op, grid, block, shared_bytes, stream, as_body);
}
// The shared memory that the launch asked for, at a multiple of 128 bytes; NaN where nothing was written.
void* dynamic_shared();

// Which thread goes on where several could, and in which order blocks run. A right kernel gives the same bits in all.
enum class Order {
  ascending,   // the first one that can: warp after warp
  descending,  // the last one that can, and the last block first
  lockstep,    // each in turn, from one meeting to the next
  shuffled,    // by chance, which `seed` decides
};
void set_order(Order order, uint64_t seed = 0);

bool tracks_races();  // the kernels of this program were compiled for the tracker
bool is_sanitized();  // they and the emulator were compiled with the address sanitizer
int64_t launches();   // kernels that have run since the program began
int64_t live_allocations();

// What the next calls of the runtime find. In a program of its own the variables PHASOR_EMULATED_DEVICES, _DRIVER and
// _MEMORY say the same.
void set_device_count(int count);
void set_driver_version(int version);  // 12040: 12.4; 0: no driver
void set_total_memory(size_t bytes);   // cudaMalloc fails beyond
void fail_next_launch(cudaError_t error);

inline int64_t from_environment(const char* variable, int64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text ? std::atoll(text) : otherwise;
}

}  // namespace phasor::emulator
