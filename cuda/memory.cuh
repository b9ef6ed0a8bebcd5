// The pool of blocks on the GPU. Blocks go back to it instead of to the driver: all work is on one stream in order, so
// a block may serve again as soon as the host lets go of it.
#pragma once

#include <map>
#include <mutex>
#include <vector>

#include "cuda/launch.cuh"

namespace phasor::cuda {

// A graph has a pool of its own, since its kernels write the same blocks at every launch: nobody else may hold them.
class Pool : public std::enable_shared_from_this<Pool> {
 public:
  explicit Pool(bool reuses) : reuses_(reuses) {}
  ~Pool() { release(); }
  std::shared_ptr<std::byte> allocate(size_t bytes);
  // One that no kernel has written before: of the driver, not of the pool.
  std::shared_ptr<std::byte> allocate_unused(size_t bytes);
  // A block of the driver that nobody gives back, `size` bytes for the `bytes` that are wanted; MemoryError with what
  // is free.
  void* system_block(size_t bytes, size_t size);
  void release();  // what waits goes back to the driver

 private:
  std::shared_ptr<std::byte> handle(void* block, size_t size);

  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_blocks_;
  bool reuses_;
};

// Where allocate() takes from: the program's pool, or that of the graph that is being captured.
const std::shared_ptr<Pool>& current_pool();
std::shared_ptr<Pool> exchange_pool(std::shared_ptr<Pool> pool);  // returns the one before

}  // namespace phasor::cuda
