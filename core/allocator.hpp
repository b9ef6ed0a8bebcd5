// The caching allocator: blocks go back to a pool instead of the system, so that a training step that repeats asks the
// system for nothing. Counts what is in use, the peak, and how often a block was reused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/dtype.hpp"

namespace phasor {

struct MemoryCounts {
  int64_t bytes_in_use = 0;        // handed out and not yet returned, as rounded to block sizes
  int64_t peak_bytes = 0;          // largest bytes_in_use since the start or reset_peak_memory()
  int64_t bytes_cached = 0;        // returned and waiting for reuse
  int64_t reused_blocks = 0;       // requests that were served from the pool
  int64_t system_allocations = 0;  // requests that went to the system
};

// Each device has a pool and counts of its own.
MemoryCounts memory_counts(Device device = Device::cpu);
void reset_peak_memory(Device device = Device::cpu);      // peak_bytes = bytes_in_use
void release_cached_memory(Device device = Device::cpu);  // gives every waiting block back to the system

// Uninitialised memory, aligned to 64 bytes (on the GPU, 256). MemoryError naming the bytes asked for, in use and free
// when there is none; DeviceError if the device is not there. Thread-safe. Zero bytes give a null pointer.
std::shared_ptr<std::byte> allocate(size_t bytes, Device device = Device::cpu);

// Four sizes per power of two: at most 25 % is wasted, and tensors of nearly the same size share blocks.
size_t pooled_block_size(size_t bytes);

}  // namespace phasor
