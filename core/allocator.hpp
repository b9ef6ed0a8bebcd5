// The caching allocator: blocks go back to a pool instead of the system, so that a training step that repeats asks the
// system for nothing. Counts what is in use, the peak, and how often a block was reused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace phasor {

struct MemoryCounts {
  int64_t bytes_in_use = 0;        // handed out and not yet returned, as rounded to block sizes
  int64_t peak_bytes = 0;          // largest bytes_in_use since the start or reset_peak_memory()
  int64_t bytes_cached = 0;        // returned and waiting for reuse
  int64_t reused_blocks = 0;       // requests that were served from the pool
  int64_t system_allocations = 0;  // requests that went to the system
};

MemoryCounts memory_counts();
void reset_peak_memory();      // peak_bytes = bytes_in_use
void release_cached_memory();  // gives every waiting block back to the system

// Uninitialised memory, 64-byte aligned. Throws ResourceError naming the bytes asked for and in use when there is none.
// Thread-safe. Zero bytes give a null pointer.
std::shared_ptr<std::byte> allocate(size_t bytes);

}  // namespace phasor
