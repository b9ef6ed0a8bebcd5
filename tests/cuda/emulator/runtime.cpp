// Launches, the device, memory and copies of the fake runtime.
#include "tests/cuda/emulator/runtime.hpp"

#include <cstdlib>
#include <cstring>
#include <set>
#include <utility>

#include "tests/cuda/emulator/block.hpp"
#include "tests/cuda/emulator/memory.hpp"

using namespace phasor::emulator;

namespace phasor::emulator {
namespace {

thread_local cudaError_t last_error = cudaSuccess;

struct Knobs {
  int devices = static_cast<int>(from_environment("PHASOR_EMULATED_DEVICES", 1));
  int driver = static_cast<int>(from_environment("PHASOR_EMULATED_DRIVER", 12040));
  cudaError_t next_launch = cudaSuccess;
  int64_t launches = 0;
  Order order = Order::ascending;
  uint64_t seed = 0;
} knobs;

std::set<void*>& pinned() {
  static auto* const instance = new std::set<void*>;
  return *instance;
}

std::string text_of(dim3 v) { return std::to_string(v.x) + " x " + std::to_string(v.y) + " x " + std::to_string(v.z); }

void check_limits(const char* op, dim3 grid, dim3 block, size_t shared_bytes) {
  const auto refuse = [&](const std::string& what) {
    throw Fault(FaultKind::launch, std::string(op) + ": " + what, op, "", 0, {}, {});
  };
  if (uint64_t{grid.x} * grid.y * grid.z == 0 || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
    refuse("a grid of " + text_of(grid) + " blocks; a GPU takes 1 to 2147483647 x 65535 x 65535");
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64)
    refuse("a block of " + text_of(block) + " threads; a GPU takes 1 to 1024, and 64 along z");
  if (shared_bytes > memory::most_shared_bytes)
    refuse(std::to_string(shared_bytes) + " bytes of shared memory; a GPU has " +
           std::to_string(memory::most_shared_bytes));
}

// Where the bytes of one side of a copy must be.
bool is_right_side(const void* at, size_t bytes, bool is_device) {
  return is_device ? memory::is_live(at, bytes) : at != nullptr && !memory::is_device(at);
}

cudaError_t check_copy(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0) return cudaSuccess;
  const bool to_device = kind == cudaMemcpyDefault ? memory::is_device(to)
                                                   : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDefault
                               ? memory::is_device(from)
                               : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (!is_right_side(to, bytes, to_device) || !is_right_side(from, bytes, from_device))
    return failed(cudaErrorInvalidValue);
  return cudaSuccess;
}

}  // namespace

cudaError_t failed(cudaError_t code) { return last_error = code; }

void launch(const char* op, dim3 grid, dim3 size, size_t shared_bytes, cudaStream_t stream,
            std::function<void()> body) {
  const std::lock_guard lock(device_mutex());
  if (const cudaError_t error = std::exchange(knobs.next_launch, cudaSuccess); error != cudaSuccess) {
    failed(error);
    return;
  }
  check_limits(op, grid, size, shared_bytes);
  if (block().is_running())
    throw Fault(FaultKind::launch, std::string(op) + ": launched by a kernel", op, "", 0, {}, {});
  enqueue(stream, [=, name = std::string(op), body = std::move(body)] {
    ++knobs.launches;
    block().run(name.c_str(), grid, size, shared_bytes, body, knobs.order, knobs.seed);
  });
}

void launch_body(const char* op, dim3 grid, dim3 size, size_t shared_bytes, cudaStream_t stream, Body body) {
  launch(op, grid, size, shared_bytes, stream, std::function<void()>(std::move(body)));
}
std::shared_ptr<void> closure_memory(size_t bytes) {
  return {::operator new(bytes), [](void* memory) { ::operator delete(memory); }};
}

void set_order(Order order, uint64_t seed) {
  knobs.order = order;
  knobs.seed = seed;
}
int64_t launches() { return knobs.launches; }
void set_device_count(int count) { knobs.devices = count; }
void set_driver_version(int version) { knobs.driver = version; }
void fail_next_launch(cudaError_t error) { knobs.next_launch = error; }

}  // namespace phasor::emulator

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

namespace {
struct ErrorText {
  cudaError_t code;
  const char *name, *text;
};
constexpr ErrorText error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
};
const ErrorText* text_of(cudaError_t code) {
  for (const ErrorText& each : error_texts)
    if (each.code == code) return &each;
  return nullptr;
}

cudaError_t check_device() {
  if (knobs.driver == 0 || knobs.driver < 12000) return failed(cudaErrorInsufficientDriver);
  return knobs.devices == 0 ? failed(cudaErrorNoDevice) : cudaSuccess;
}
}  // namespace

const char* cudaGetErrorName(cudaError_t code) {
  return text_of(code) ? text_of(code)->name : "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t code) {
  return text_of(code) ? text_of(code)->text : "unrecognized error code";
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (const cudaError_t error = check_device(); error != cudaSuccess) return error;
  *count = knobs.devices;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device >= 0 && device < knobs.devices ? cudaSuccess : failed(cudaErrorInvalidDevice);
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return check_device();
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device < 0 || device >= knobs.devices) return failed(cudaErrorInvalidDevice);
  *p = {};
  std::strcpy(p->name, "Phasor's emulator");
  p->multiProcessorCount = 4;  // few, so that grids of a fixed size are small
  p->major = 9;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsPerMultiProcessor = 2048;
  p->totalGlobalMem = memory::total_bytes();
  p->sharedMemPerBlock = 48 << 10;
  p->sharedMemPerBlockOptin = memory::most_shared_bytes;
  p->sharedMemPerMultiprocessor = 228 << 10;
  p->l2CacheSize = 50 << 20;
  p->regsPerBlock = 65536;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp p;
  if (const cudaError_t error = cudaGetDeviceProperties(&p, device); error != cudaSuccess) return error;
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      break;
    case cudaDevAttrL2CacheSize:
      *value = p.l2CacheSize;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(p.sharedMemPerBlockOptin);
      break;
    default:
      *value = 1;
  }
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = knobs.driver;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 12040;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute attribute, int value) {
  const bool is_wrong = attribute == cudaFuncAttributeMaxDynamicSharedMemorySize &&
                        (value < 0 || static_cast<size_t>(value) > memory::most_shared_bytes);
  return is_wrong ? failed(cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const std::lock_guard lock(device_mutex());
  *total = memory::total_bytes();
  *free = *total - std::min(*total, memory::bytes_in_use());
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** block, size_t bytes) {
  const std::lock_guard lock(device_mutex());
  *block = nullptr;
  if (const cudaError_t error = check_unsafe(); error != cudaSuccess) return error;
  if (bytes == 0) return cudaSuccess;
  *block = memory::allocate(bytes);
  return *block ? cudaSuccess : failed(cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* block) {
  const std::lock_guard lock(device_mutex());
  if (const cudaError_t error = check_unsafe(); error != cudaSuccess) return error;
  if (block == nullptr) return cudaSuccess;
  return memory::release(block) ? cudaSuccess : failed(cudaErrorInvalidValue);
}
cudaError_t cudaMallocHost(void** block, size_t bytes) {
  const std::lock_guard lock(device_mutex());
  if (const cudaError_t error = check_unsafe(); error != cudaSuccess) return error;
  *block = std::malloc(bytes);
  if (!*block) return failed(cudaErrorMemoryAllocation);
  pinned().insert(*block);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* block) {
  const std::lock_guard lock(device_mutex());
  if (const cudaError_t error = check_unsafe(); error != cudaSuccess) return error;
  if (block == nullptr) return cudaSuccess;
  if (pinned().erase(block) == 0) return failed(cudaErrorInvalidValue);
  std::free(block);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  if (const cudaError_t error = check_copy(to, from, bytes, kind); error != cudaSuccess) return error;
  return enqueue(stream, [=] { std::memmove(to, from, bytes); });
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const std::lock_guard lock(device_mutex());
  if (const cudaError_t error = check_unsafe(); error != cudaSuccess) return error;
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  if (bytes > 0 && !memory::is_live(to, bytes)) return failed(cudaErrorInvalidValue);
  return enqueue(stream, [=] { std::memset(to, value, bytes); });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  const std::lock_guard lock(device_mutex());
  if (const cudaError_t error = check_unsafe(); error != cudaSuccess) return error;
  return cudaMemsetAsync(to, value, bytes, nullptr);
}
