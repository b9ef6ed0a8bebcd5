// Stacks and jumps, and what the address sanitizer must be told about them.
#include "tests/cuda/emulator/fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <boost/context/detail/fcontext.hpp>
#include <new>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace phasor::emulator {
namespace {

namespace context = boost::context::detail;

#ifdef __SANITIZE_ADDRESS__
constexpr size_t stack_size = 512 << 10;  // red zones around every local
#else
constexpr size_t stack_size = 256 << 10;
#endif

Fiber host;
Fiber* running = &host;

// After a jump, on the new stack: where the one before stopped.
void arrive(context::transfer_t from, Fiber& own) {
  Fiber& previous = *static_cast<Fiber*>(from.data);
  previous.context = from.fctx;
#ifdef __SANITIZE_ADDRESS__
  const void* stack = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(own.sanitizer_stack, &stack, &bytes);
  if (&previous == &host) {
    host.stack = static_cast<std::byte*>(const_cast<void*>(stack));
    host.stack_bytes = bytes;
  }
#endif
  running = &own;
  running_stack = reinterpret_cast<uintptr_t>(own.stack);
  running_stack_bytes = &own == &host ? 0 : own.stack_bytes;
}

void (*first_entry)() = nullptr;
Fiber* arriving = nullptr;

void begin(context::transfer_t from) {
  arrive(from, *arriving);
  first_entry();  // never returns
}

}  // namespace

Fiber& running_fiber() { return *running; }
Fiber& host_fiber() { return host; }

Fiber& fiber(size_t index) {
  static std::vector<std::unique_ptr<Fiber>> fibers;
  while (fibers.size() <= index) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* const memory = mmap(nullptr, stack_size + page, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) throw std::bad_alloc();
    auto made = std::make_unique<Fiber>();
    made->stack = static_cast<std::byte*>(memory) + page;
    made->stack_bytes = stack_size;
    // Stacks at equal distances would share the same few lines of the cache.
    made->offset = fibers.size() % 61 * 192;
    fibers.push_back(std::move(made));
  }
  return *fibers[index];
}

void reset(Fiber& fiber) {
  fiber.context = nullptr;
  fiber.sanitizer_stack = nullptr;
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
#endif
}

void switch_to(Fiber& to, void (*entry)()) {
  Fiber& own = *running;
  if (!to.context && &to != &host)
    to.context = context::make_fcontext(to.stack + to.stack_bytes - to.offset, to.stack_bytes - to.offset, begin);
  first_entry = entry;
  arriving = &to;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&own.sanitizer_stack, to.stack, to.stack_bytes);
#endif
  arrive(context::jump_fcontext(to.context, &own), own);
}

}  // namespace phasor::emulator
