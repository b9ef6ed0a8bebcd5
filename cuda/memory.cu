// The pool behind allocate(..., Device::cuda).
#include "cuda/memory.cuh"

#include <algorithm>
#include <utility>

namespace phasor::cuda {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool caches = false;  // a pooled block would hide a use after free from the sanitizer
#else
constexpr bool caches = true;
#endif

std::mutex counts_mutex;
MemoryCounts counts;  // of all pools

template <class F>
void change_counts(F f) {
  const std::lock_guard lock(counts_mutex);
  f(counts);
}

// Never destroyed: tensors with static lifetime return their blocks after other statics are gone.
std::shared_ptr<Pool>& current() {
  static auto* const instance = new std::shared_ptr<Pool>(std::make_shared<Pool>(caches));
  return *instance;
}

}  // namespace

const std::shared_ptr<Pool>& current_pool() { return current(); }
std::shared_ptr<Pool> exchange_pool(std::shared_ptr<Pool> pool) { return std::exchange(current(), std::move(pool)); }

MemoryCounts memory_counts() {
  const std::lock_guard lock(counts_mutex);
  return counts;
}

void reset_peak_memory() {
  change_counts([](MemoryCounts& c) { c.peak_bytes = c.bytes_in_use; });
}

void release_cached_memory() { current_pool()->release(); }

std::shared_ptr<std::byte> allocate(size_t bytes) { return current_pool()->allocate(bytes); }

std::byte* permanent_block(size_t bytes) { return static_cast<std::byte*>(current_pool()->system_block(bytes, bytes)); }

std::shared_ptr<std::byte> Pool::handle(void* block, size_t size) {
  change_counts([&](MemoryCounts& c) {
    c.bytes_in_use += static_cast<int64_t>(size);
    c.peak_bytes = std::max(c.peak_bytes, c.bytes_in_use);
  });
  return {static_cast<std::byte*>(block), [pool = shared_from_this(), size](std::byte* b) {
            change_counts([&](MemoryCounts& c) { c.bytes_in_use -= static_cast<int64_t>(size); });
            const std::lock_guard lock(pool->mutex_);
            if (!pool->reuses_) {
              (void)cudaFree(b);
              return;
            }
            pool->free_blocks_[size].push_back(b);
            change_counts([&](MemoryCounts& c) { c.bytes_cached += static_cast<int64_t>(size); });
          }};
}

std::shared_ptr<std::byte> Pool::allocate(size_t bytes) {
  const size_t size = caches ? pooled_block_size(bytes) : bytes;
  {
    const std::lock_guard lock(mutex_);
    if (auto found = free_blocks_.find(size); found != free_blocks_.end() && !found->second.empty()) {
      void* const block = found->second.back();
      found->second.pop_back();
      change_counts([&](MemoryCounts& c) {
        c.bytes_cached -= static_cast<int64_t>(size);
        ++c.reused_blocks;
      });
      return handle(block, size);
    }
  }
  return handle(system_block(bytes, size), size);
}

std::shared_ptr<std::byte> Pool::allocate_unused(size_t bytes) { return handle(system_block(bytes, bytes), bytes); }

void* Pool::system_block(size_t bytes, size_t size) {
  void* block = nullptr;
  cudaError_t code = cudaMalloc(&block, size);
  if (code == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    release();  // the pool may hold what is missing, in blocks of other sizes
    code = cudaMalloc(&block, size);
  }
  if (code == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    size_t free = 0, all = 0;
    (void)cudaMemGetInfo(&free, &all);
    fail<MemoryError>("allocate", "no memory on the GPU for ", bytes, " bytes; free: ", free, " of ", all,
                      " bytes, in use here: ", memory_counts().bytes_in_use);
  }
  check("allocate", code);
  change_counts([](MemoryCounts& c) { ++c.system_allocations; });
  return block;
}

void Pool::release() {
  const std::lock_guard lock(mutex_);
  for (auto& [size, blocks] : free_blocks_) {
    for (void* const block : blocks) (void)cudaFree(block);
    change_counts([&, size = size, count = blocks.size()](MemoryCounts& c) {
      c.bytes_cached -= static_cast<int64_t>(size * count);
    });
  }
  free_blocks_.clear();
}

}  // namespace phasor::cuda
