// The devices of this machine: whether they are there, what they are, and work on a GPU that is recorded once and run
// many times. Every build has these functions; without CUDA they say that there is none.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/error.hpp"
#include "core/tensor.hpp"

namespace phasor {

bool has_device(Device device);
// DeviceError naming `op` and what is missing: a build with CUDA, a GPU, a driver that is new enough.
void require_device(At op, Device device);

struct DeviceProperties {
  std::string name;                      // NVIDIA H200
  int compute_capability = 0;            // 90 for 9.0
  int processors = 0;                    // streaming multiprocessors
  int driver = 0, runtime = 0;           // CUDA versions, 13000 for 13.0
  int64_t memory_bytes = 0, free_bytes = 0;
};
// Of the GPU. DeviceError if there is none.
DeviceProperties gpu_properties();

// Waits until everything that was asked of the device is done. Throws what went wrong there since the last time.
void synchronize(Device device);

// y = x on the GPU by the driver's own copy of bytes, which is what kernels are measured against. Both are row-major, of
// one shape and dtype: ShapeError, DtypeError, DeviceError.
void copy_by_driver(const Tensor& y, const Tensor& x);

// True while a DeviceGraph is being recorded: nothing may be read back from the GPU then.
bool is_recording();

// Work on the GPU, recorded once and run again by one call. The host code of `work` runs once, at the recording; what
// it asks of the GPU is kept and runs at each launch, in the same blocks of memory. What differs from launch to launch
// lies in tensors that were there before, and is written there with copy_into between launches. Tensors that come from
// the host during the recording are constants. What `work` makes belongs to the graph while it lives.
class DeviceGraph {
 public:
  // DeviceError without a GPU. Throws what `work` throws, and DeviceError where it reads from the GPU.
  explicit DeviceGraph(const std::function<void()>& work);
  void launch() const;

 private:
  std::shared_ptr<void> graph_;
};

// The numbers of a tensor on their way to the host, while the GPU goes on.
class Readback {
 public:
  explicit Readback(const Tensor& x);
  // Row-major elements; waits until they have come, not for what was asked of the GPU later.
  std::vector<double> values() const;

 private:
  Tensor here_;                   // a tensor of the CPU needs no copy
  Shape shape_;
  Dtype dtype_;
  std::shared_ptr<void> pending_;
};

}  // namespace phasor
