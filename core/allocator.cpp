// The pool behind allocate(): blocks by size, one lock, counts.
#include "core/allocator.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "core/cuda.hpp"
#include "core/device.hpp"
#include "core/error.hpp"

namespace phasor {
namespace {

constexpr size_t alignment = 64;  // one cache line, one AVX-512 vector
// Pages of this size cost fewer faults, and fewer misses of the address translation where rows lie far apart.
constexpr size_t huge_page = size_t{2} << 20;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool caches = false;  // a pooled block would hide a use after free from the sanitizer
#else
constexpr bool caches = true;
#endif

// The sanitizer build keeps the exact size, so that one byte too far is seen.
size_t block_size(size_t bytes) { return caches ? pooled_block_size(bytes) : bytes; }

struct Pool {
  std::mutex mutex;
  std::map<size_t, std::vector<void*>> free_blocks;
  MemoryCounts counts;
};

// Never destroyed: tensors with static lifetime return their blocks after other statics are gone.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

bool is_mapped(size_t size) { return caches && size >= 2 * huge_page; }

// A block of its own pages, on a boundary of huge pages, which the system is asked for. That is advice: where it is not
// taken, nothing but the speed changes. aligned_alloc would keep the room before the boundary, and what is given back.
void* map_block(size_t size) {
  void* const mapped = mmap(nullptr, size + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  const auto start = reinterpret_cast<uintptr_t>(mapped), block = (start + huge_page - 1) / huge_page * huge_page;
  if (block > start) munmap(mapped, block - start);
  if (const size_t rest = start + huge_page - block; rest > 0) munmap(reinterpret_cast<void*>(block + size), rest);
  madvise(reinterpret_cast<void*>(block), size, MADV_HUGEPAGE);
  return reinterpret_cast<void*>(block);
}

void* system_block(size_t size) {
  if (size > SIZE_MAX / 2) return nullptr;
  if (is_mapped(size)) return map_block(size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void free_system_block(void* block, size_t size) {
  if (is_mapped(size))
    munmap(block, size);
  else
    std::free(block);
}

// Hands every waiting block back; the caller holds the lock.
void release_blocks(Pool& p) {
  for (auto& [size, blocks] : p.free_blocks) {
    for (void* block : blocks) free_system_block(block, size);
    p.counts.bytes_cached -= static_cast<int64_t>(size * blocks.size());
  }
  p.free_blocks.clear();
}

void give_back(void* block, size_t size) {
  Pool& p = pool();
  const std::lock_guard lock(p.mutex);
  p.counts.bytes_in_use -= static_cast<int64_t>(size);
  if (!caches) return free_system_block(block, size);
  p.free_blocks[size].push_back(block);
  p.counts.bytes_cached += static_cast<int64_t>(size);
}

}  // namespace

size_t pooled_block_size(size_t bytes) {
  if (bytes <= 256) return 256;
  if (bytes > SIZE_MAX / 2) return bytes;  // rounding up could wrap to a small block; nobody has memory for this size
  const size_t step = std::bit_floor(bytes - 1) / 4;
  return (bytes + step - 1) / step * step;
}

MemoryCounts memory_counts(Device device) {
  if constexpr (kHasCuda)
    if (device == Device::cuda) return cuda::memory_counts();
  Pool& p = pool();
  const std::lock_guard lock(p.mutex);
  return p.counts;
}

void reset_peak_memory(Device device) {
  if constexpr (kHasCuda)
    if (device == Device::cuda) return cuda::reset_peak_memory();
  Pool& p = pool();
  const std::lock_guard lock(p.mutex);
  p.counts.peak_bytes = p.counts.bytes_in_use;
}

void release_cached_memory(Device device) {
  if constexpr (kHasCuda)
    if (device == Device::cuda) return cuda::release_cached_memory();
  Pool& p = pool();
  const std::lock_guard lock(p.mutex);
  release_blocks(p);
}

std::shared_ptr<std::byte> allocate(size_t bytes, Device device) {
  require_device("allocate", device);
  if (bytes == 0) return nullptr;
  if constexpr (kHasCuda)
    if (device == Device::cuda) return cuda::allocate(bytes);
  const size_t size = block_size(bytes);
  void* block = nullptr;
  {
    Pool& p = pool();
    const std::lock_guard lock(p.mutex);
    if (auto found = p.free_blocks.find(size); found != p.free_blocks.end() && !found->second.empty()) {
      block = found->second.back();
      found->second.pop_back();
      p.counts.bytes_cached -= static_cast<int64_t>(size);
      ++p.counts.reused_blocks;
    } else {
      block = system_block(size);
      if (!block) {
        release_blocks(p);  // the pool may hold what is missing, in blocks of other sizes
        block = system_block(size);
      }
      require<MemoryError>(block != nullptr, "allocate", "no memory for ", bytes,
                           " bytes; in use: ", p.counts.bytes_in_use, " bytes");
      ++p.counts.system_allocations;
    }
    p.counts.bytes_in_use += static_cast<int64_t>(size);
    p.counts.peak_bytes = std::max(p.counts.peak_bytes, p.counts.bytes_in_use);
  }
  return {static_cast<std::byte*>(block), [size](std::byte* b) { give_back(b, size); }};
}

}  // namespace phasor
