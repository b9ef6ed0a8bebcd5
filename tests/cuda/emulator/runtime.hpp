// What the parts of the fake runtime share: the order of work on streams, and the last error.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/cuda/emulator/emulator.hpp"

namespace phasor::emulator {

using Work = std::vector<std::shared_ptr<const std::function<void()>>>;

struct Capture {
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  bool is_invalid = false;
  Work work;
};

// Kernels and copies of all threads of the host run one after another.
std::recursive_mutex& device_mutex();
// Runs it with device memory open, or records it.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);
// Remembers it for cudaGetLastError.
cudaError_t failed(cudaError_t code);
// Whether a call that no recording allows may go on. With `stream` it waits for that stream, without for the device.
cudaError_t check_waiting(cudaStream_t stream);
cudaError_t check_waiting_for_device();
// The same for calls that may disturb somebody else's recording, such as cudaMalloc.
cudaError_t check_unsafe();
bool is_stream(cudaStream_t stream);

}  // namespace phasor::emulator

struct CUstream_st {
  std::unique_ptr<phasor::emulator::Capture> capture;
};
struct CUgraph_st {
  phasor::emulator::Work work;
};
struct CUgraphExec_st {
  phasor::emulator::Work work;
};
