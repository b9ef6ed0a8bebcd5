// Device memory: one reserved range of addresses, of which blocks are handed out.
//
// The host must not touch it, so it is closed to the host: by a protection key where the processor has those, which
// opens and closes it in some nanoseconds, else by mprotect over what is in use.
#include "tests/cuda/emulator/memory.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <new>

#include "tests/cuda/emulator/emulator.hpp"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define PHASOR_POISON(at, bytes) __asan_poison_memory_region(at, bytes)
#define PHASOR_UNPOISON(at, bytes) __asan_unpoison_memory_region(at, bytes)
#else
#define PHASOR_POISON(at, bytes) ((void)(at), (void)(bytes))
#define PHASOR_UNPOISON(at, bytes) ((void)(at), (void)(bytes))
#endif

namespace phasor::emulator {
namespace {

using memory::reserved_bytes;

constexpr size_t alignment = 256, gap = 256, growth = size_t{2} << 20;
#ifdef __SANITIZE_ADDRESS__
constexpr size_t most_quarantined = size_t{256} << 20;  // freed blocks rest, so that later uses of them are seen
#else
constexpr size_t most_quarantined = 0;
#endif

struct Device {
  std::byte* base = nullptr;
  size_t used = 0, grown = 0;  // handed out once; made accessible
  int key = -1, open = 0;
  std::map<size_t, size_t> live;  // offset, bytes that were asked for
  std::map<size_t, size_t> free;  // offset, bytes with the gap
  std::deque<std::pair<size_t, size_t>> quarantine;
  size_t in_use = 0, quarantined = 0;
  size_t total = static_cast<size_t>(from_environment("PHASOR_EMULATED_MEMORY", int64_t{16} << 30));

  Device() {
    void* const range = mmap(nullptr, reserved_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) throw std::bad_alloc();
    base = static_cast<std::byte*>(range);
    memory::first_address = reinterpret_cast<uintptr_t>(range);
    (void)madvise(range, reserved_bytes, MADV_HUGEPAGE);  // mprotect takes time for every page
    key = pkey_alloc(0, PKEY_DISABLE_ACCESS);
  }

  void grow(size_t bytes) {
    if (bytes <= grown) return;
    const size_t end = (bytes + growth - 1) / growth * growth;
    const int failed = key >= 0 ? pkey_mprotect(base + grown, end - grown, PROT_READ | PROT_WRITE, key)
                                : (open > 0 ? mprotect(base + grown, end - grown, PROT_READ | PROT_WRITE) : 0);
    if (failed) throw std::bad_alloc();
    PHASOR_POISON(base + grown, end - grown);
    grown = end;
  }
  void set_access(bool is_open) {
    if (key >= 0)
      pkey_set(key, is_open ? 0 : PKEY_DISABLE_ACCESS);
    else if (grown > 0 && mprotect(base, grown, is_open ? PROT_READ | PROT_WRITE : PROT_NONE) != 0)
      throw std::bad_alloc();
  }

  void give_back(size_t offset, size_t bytes) {
    auto next = free.lower_bound(offset);
    if (next != free.end() && offset + bytes == next->first) {
      bytes += next->second;
      next = free.erase(next);
    }
    if (next != free.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == offset) {
        before->second += bytes;
        return;
      }
    }
    free[offset] = bytes;
  }
  // The offset of a block; `reserved_bytes` if there is none.
  size_t take(size_t bytes) {
    for (auto it = free.begin(); it != free.end(); ++it) {
      if (it->second < bytes) continue;
      const size_t offset = it->first, rest = it->second - bytes;
      free.erase(it);
      if (rest > 0) free[offset + bytes] = rest;
      return offset;
    }
    const size_t offset = used;
    if (offset + bytes > reserved_bytes) return reserved_bytes;
    used += bytes;
    grow(used);
    return offset;
  }
};

// Never destroyed: tensors with static lifetime return their blocks late.
Device& device() {
  static Device* const instance = new Device;
  return *instance;
}

size_t whole(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment + gap; }

// With what follows, so that a kernel that writes too far hits nothing else.
alignas(128) std::byte shared[memory::most_shared_bytes + 1024];
size_t shared_size = 0;

}  // namespace

namespace memory {

Access::Access() {
  if (device().open++ == 0) device().set_access(true);
}
Access::~Access() {
  if (--device().open == 0) device().set_access(false);
}

void* allocate(size_t bytes) {
  Device& d = device();
  if (bytes > d.total || d.in_use + bytes > d.total) return nullptr;
  const Access access;
  const size_t offset = d.take(whole(bytes));
  if (offset == reserved_bytes) return nullptr;
  PHASOR_UNPOISON(d.base + offset, bytes);
  std::memset(d.base + offset, 0xff, bytes);
  d.live[offset] = bytes;
  d.in_use += bytes;
  return d.base + offset;
}

bool release(void* block) {
  Device& d = device();
  if (!is_device(block)) return false;
  const auto it = d.live.find(static_cast<size_t>(static_cast<std::byte*>(block) - d.base));
  if (it == d.live.end()) return false;
  const auto [offset, bytes] = *it;
  d.live.erase(it);
  d.in_use -= bytes;
  PHASOR_POISON(d.base + offset, bytes);
  d.quarantine.emplace_back(offset, whole(bytes));
  d.quarantined += whole(bytes);
  while (d.quarantined > most_quarantined) {
    const auto [oldest, size] = d.quarantine.front();
    d.quarantine.pop_front();
    d.quarantined -= size;
    d.give_back(oldest, size);
  }
  return true;
}

bool is_live(const void* at, size_t bytes) {
  const Device& d = device();
  if (!is_device(at)) return false;
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(at) - d.base);
  auto it = d.live.upper_bound(offset);
  if (it == d.live.begin()) return false;
  --it;
  return offset + bytes <= it->first + it->second;
}

size_t bytes_in_use() { return device().in_use; }
size_t total_bytes() { return device().total; }

void set_dynamic_shared(size_t bytes) {
  shared_size = bytes;
  PHASOR_UNPOISON(shared, sizeof shared);
  PHASOR_POISON(shared + bytes, sizeof shared - bytes);
}

bool may_be_shared(const void* at, size_t bytes) {
  const auto* const byte = static_cast<const std::byte*>(at);
  if (byte >= shared && byte < shared + sizeof shared) return byte + bytes <= shared + shared_size;
  return !is_device(at);
}

}  // namespace memory

bool is_sanitized() {
#ifdef __SANITIZE_ADDRESS__
  return true;
#else
  return false;
#endif
}
void* dynamic_shared() { return shared; }
int64_t live_allocations() { return static_cast<int64_t>(device().live.size()); }
void set_total_memory(size_t bytes) { device().total = bytes; }

}  // namespace phasor::emulator
