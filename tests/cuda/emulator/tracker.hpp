// The tracker of races in shared memory: what the hooks of instrumented kernels tell, and what the block tells it.
//
// Two accesses are ordered if one thread made both, if a barrier of the block came between, or if lanes of one warp
// met at a __syncwarp between. Anything else on the same byte, one of them writing, is a race.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>

// Where the program's variables begin and end.
extern "C" std::byte __data_start[], _end[];
extern "C" const char __executable_start;

namespace phasor::emulator::tracker {

// Whether this thread of the host runs a kernel's own code now. Functions of the standard library that the emulator
// uses may be the instrumented ones of a .cu file: what it does itself must not be looked at.
inline constinit thread_local bool in_kernel = false;
struct OutOfKernel {
  OutOfKernel() { in_kernel = false; }
  ~OutOfKernel() { in_kernel = true; }
  OutOfKernel(const OutOfKernel&) = delete;
  OutOfKernel& operator=(const OutOfKernel&) = delete;
};

enum class Access : uint8_t { read, write, atomic };

void begin_block();
void pass_barrier();
void join_lanes(int warp, unsigned mask);

// Shared memory is what has static storage: a kernel has no business with any other variable of the program, and what
// the host wrote there counts as not written.
inline bool is_shared(const void* at) {
  return reinterpret_cast<uintptr_t>(at) - reinterpret_cast<uintptr_t>(__data_start) <
         static_cast<uintptr_t>(_end - __data_start);
}
// Of the thread that runs; `pc` is behind the access. Nothing happens outside of shared memory and kernels.
void note(const void* at, size_t bytes, Access access, const void* pc);
void note_at(const void* at, size_t bytes, Access access, const std::source_location& where);
// A copy that goes on while the thread does: until it is finished nobody may look.
void begin_copy(const void* to, size_t bytes, const std::source_location& where);
void finish_copy(const void* to, size_t bytes);

// An access neither to shared nor to device memory: to what is a kernel's own, or it is a fault.
void note_elsewhere(const void* at, Access access, const void* pc);

// What was found first, until it is taken. A hook cannot throw: the compiler does not expect it to.
struct Finding {
  int kind = 0;  // a FaultKind
  std::string what, file;
  unsigned line = 0;
};
inline bool found = false;
Finding take();

}  // namespace phasor::emulator::tracker
