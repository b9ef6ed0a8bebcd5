// The GPU itself: whether it can be used, the stream, and what its error codes mean.
#include <array>
#include <mutex>
#include <sstream>

#include "cuda/launch.cuh"

namespace phasor::cuda {
namespace {

constexpr int oldest_driver = 12000, oldest_capability = 80;

// The latest launches, newest last: an error inside a kernel shows only at the next wait.
struct Launches {
  std::mutex mutex;
  std::array<const char*, 6> names{};
  size_t count = 0;
};
Launches& launches() {
  static Launches instance;
  return instance;
}

std::string latest_launches() {
  Launches& l = launches();
  const std::lock_guard lock(l.mutex);
  std::ostringstream out;
  const size_t shown = l.count < l.names.size() ? l.count : l.names.size();
  for (size_t i = l.count - shown; i < l.count; ++i)
    out << (i == l.count - shown ? "" : ", ") << l.names[i % l.names.size()];
  return out.str();
}

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

std::string find_problem() {
  int count = 0, driver = 0;
  const cudaError_t found = cudaGetDeviceCount(&count);
  cudaDriverGetVersion(&driver);
  (void)cudaGetLastError();  // an answer, not a failure of later calls
  if (driver == 0 || found == cudaErrorNoDevice)
    return driver == 0 ? "no NVIDIA driver; install one for CUDA 12 or newer"
                       : "no GPU is there (nvidia-smi lists them)";
  if (found == cudaErrorInsufficientDriver || driver < oldest_driver)
    return "the driver knows CUDA " + version(driver) + "; needs a driver for CUDA 12.0 or newer";
  if (found != cudaSuccess) return std::string("the driver says: ") + cudaGetErrorString(found);
  if (count == 0) return "no GPU is there (nvidia-smi lists them)";
  cudaDeviceProp p;
  if (cudaGetDeviceProperties(&p, 0) != cudaSuccess) return "the driver does not describe GPU 0";
  if (p.major * 10 + p.minor < oldest_capability)
    return std::string(p.name) + " has compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) +
           "; needs 8.0 (A100) or newer";
  return "";
}

}  // namespace

#ifdef PHASOR_EMULATED
std::string problem() { return find_problem(); }  // tests take the GPU away
#else
std::string problem() {
  static const std::string found = find_problem();
  return found;
}
#endif

DeviceProperties properties() {
  cudaDeviceProp p;
  check("gpu_properties", cudaGetDeviceProperties(&p, 0));
  DeviceProperties result;
  result.name = p.name;
  result.compute_capability = p.major * 10 + p.minor;
  result.processors = p.multiProcessorCount;
  cudaDriverGetVersion(&result.driver);
  cudaRuntimeGetVersion(&result.runtime);
  size_t free = 0, all = 0;
  check("gpu_properties", cudaMemGetInfo(&free, &all));
  result.memory_bytes = static_cast<int64_t>(all);
  result.free_bytes = static_cast<int64_t>(free);
  return result;
}

int processors() {
  static const int count = properties().processors;
  return count;
}

cudaStream_t stream() {
  static const cudaStream_t instance = [] {
    cudaStream_t created = nullptr;
    check("stream", cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking));
    return created;
  }();
  return instance;
}

void before_launch(const char* op, const Grid& grid) {
  require<ResourceError>(grid.x <= 0x7fffffff && grid.y <= 65535 && grid.z <= 65535, op, "a grid of ", grid.x, " x ",
                         grid.y, " x ", grid.z, " blocks; a GPU takes 2147483647 x 65535 x 65535");
  Launches& l = launches();
  const std::lock_guard lock(l.mutex);
  l.names[l.count++ % l.names.size()] = op;
}

void allow_shared_bytes(const char* op, const void* kernel, size_t bytes) {
  check(op, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

void check(const char* op, cudaError_t code) {
  if (code == cudaSuccess) return;
  const std::string meaning = std::string(cudaGetErrorName(code)) + ", " + cudaGetErrorString(code);
  if (code == cudaErrorMemoryAllocation) fail<MemoryError>(op, "the GPU is out of memory");
  if (code == cudaErrorStreamCaptureUnsupported || code == cudaErrorStreamCaptureInvalidated)
    fail<DeviceError>(op, "this cannot be recorded in a graph: ", meaning);
  fail<DeviceError>(op, "failed on the GPU: ", meaning, "; launched last: ", latest_launches(),
                    "; CUDA_LAUNCH_BLOCKING=1 in the environment tells which one it was");
}

void synchronize() { check("synchronize", cudaStreamSynchronize(stream())); }

}  // namespace phasor::cuda
