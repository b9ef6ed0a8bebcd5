// What -fsanitize=thread has the compiler call at every access, in place of the thread sanitizer's library: kernels are
// compiled with it, and the program is linked without.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/cuda/emulator/emulator.hpp"
#include "tests/cuda/emulator/fiber.hpp"
#include "tests/cuda/emulator/memory.hpp"
#include "tests/cuda/emulator/tracker.hpp"

namespace phasor::emulator {
namespace {
bool is_instrumented = false;

inline void look(const void* at, size_t bytes, tracker::Access access, const void* pc) {
  if (is_on_running_stack(at)) return;
  if (tracker::is_shared(at))
    tracker::note(at, bytes, access, pc);
  else if (!memory::is_device(at))
    tracker::note_elsewhere(at, access, pc);
}
}  // namespace

bool tracks_races() { return is_instrumented; }

}  // namespace phasor::emulator

using phasor::emulator::look;
using phasor::emulator::tracker::Access;

extern "C" {

void __tsan_init() { phasor::emulator::is_instrumented = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

#define PHASOR_HOOKS(bytes)                                                                                     \
  void __tsan_read##bytes(void* at) { look(at, bytes, Access::read, __builtin_return_address(0)); }             \
  void __tsan_write##bytes(void* at) { look(at, bytes, Access::write, __builtin_return_address(0)); }           \
  void __tsan_unaligned_read##bytes(void* at) { look(at, bytes, Access::read, __builtin_return_address(0)); }   \
  void __tsan_unaligned_write##bytes(void* at) { look(at, bytes, Access::write, __builtin_return_address(0)); } \
  void __tsan_volatile_read##bytes(void* at) { look(at, bytes, Access::read, __builtin_return_address(0)); }    \
  void __tsan_volatile_write##bytes(void* at) { look(at, bytes, Access::write, __builtin_return_address(0)); }
PHASOR_HOOKS(1)
PHASOR_HOOKS(2)
PHASOR_HOOKS(4)
PHASOR_HOOKS(8)
PHASOR_HOOKS(16)
#undef PHASOR_HOOKS

void __tsan_read_range(void* at, size_t bytes) { look(at, bytes, Access::read, __builtin_return_address(0)); }
void __tsan_write_range(void* at, size_t bytes) { look(at, bytes, Access::write, __builtin_return_address(0)); }

void* phasor_tracked_memcpy(void* to, const void* from, size_t bytes) {
  look(from, bytes, Access::read, __builtin_return_address(0));
  look(to, bytes, Access::write, __builtin_return_address(0));
  return std::memcpy(to, from, bytes);
}
void* phasor_tracked_memmove(void* to, const void* from, size_t bytes) {
  look(from, bytes, Access::read, __builtin_return_address(0));
  look(to, bytes, Access::write, __builtin_return_address(0));
  return std::memmove(to, from, bytes);
}
void* phasor_tracked_memset(void* to, int value, size_t bytes) {
  look(to, bytes, Access::write, __builtin_return_address(0));
  return std::memset(to, value, bytes);
}

// Atomics of host code in the same files, such as the count of a shared_ptr, must go on working.
#define PHASOR_ATOMICS(bits, T)                                                                                       \
  T __tsan_atomic##bits##_load(const volatile T* at, int) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }           \
  void __tsan_atomic##bits##_store(volatile T* at, T x, int) { __atomic_store_n(at, x, __ATOMIC_SEQ_CST); }           \
  T __tsan_atomic##bits##_exchange(volatile T* at, T x, int) { return __atomic_exchange_n(at, x, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_add(volatile T* at, T x, int) { return __atomic_fetch_add(at, x, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_sub(volatile T* at, T x, int) { return __atomic_fetch_sub(at, x, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_and(volatile T* at, T x, int) { return __atomic_fetch_and(at, x, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_or(volatile T* at, T x, int) { return __atomic_fetch_or(at, x, __ATOMIC_SEQ_CST); }   \
  T __tsan_atomic##bits##_fetch_xor(volatile T* at, T x, int) { return __atomic_fetch_xor(at, x, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_nand(volatile T* at, T x, int) {                                                      \
    return __atomic_fetch_nand(at, x, __ATOMIC_SEQ_CST);                                                              \
  }                                                                                                                   \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile T* at, T* expected, T x, int, int) {                     \
    return __atomic_compare_exchange_n(at, expected, x, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                   \
  }                                                                                                                   \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile T* at, T* expected, T x, int, int) {                       \
    return __atomic_compare_exchange_n(at, expected, x, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                   \
  }                                                                                                                   \
  T __tsan_atomic##bits##_compare_exchange_val(volatile T* at, T expected, T x, int, int) {                           \
    __atomic_compare_exchange_n(at, &expected, x, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                         \
    return expected;                                                                                                  \
  }
PHASOR_ATOMICS(8, uint8_t)
PHASOR_ATOMICS(16, uint16_t)
PHASOR_ATOMICS(32, uint32_t)
PHASOR_ATOMICS(64, uint64_t)
#undef PHASOR_ATOMICS
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

}  // extern "C"
