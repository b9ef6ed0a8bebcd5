// Fibers: stacks to switch between, on Boost.Context's raw jumps (10 ns each).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace phasor::emulator {

struct Fiber {
  void* context = nullptr;  // where it goes on; null before it has begun
  std::byte* stack = nullptr;
  size_t stack_bytes = 0, offset = 0;
  void* sanitizer_stack = nullptr;
  int thread = -1;  // of the block, that it runs
};

// All with guard pages below them, kept for the next launch.
Fiber& fiber(size_t index);
// Forgets where the fiber was, so that it begins anew, perhaps on another thread of the host.
void reset(Fiber& fiber);

// Whether it is on the stack of the fiber that runs; not for the host's. Most accesses of a kernel are: it is quick.
inline uintptr_t running_stack = 0;
inline size_t running_stack_bytes = 0;
inline bool is_on_running_stack(const void* at) {
  return reinterpret_cast<uintptr_t>(at) - running_stack < running_stack_bytes;
}

// The fiber that runs, or the thread of the host that launched.
Fiber& running_fiber();
Fiber& host_fiber();
// Begins `entry` on a fiber that has not begun.
void switch_to(Fiber& to, void (*entry)());

}  // namespace phasor::emulator
