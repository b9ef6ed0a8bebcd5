// The emulator's runtime: memory, streams, graphs, limits and the knobs of tests.
#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/cuda/emulator_support.hpp"

using namespace phasor;
using namespace phasor::planted;
using emulator::Fault;
using emulator::FaultKind;

namespace {

struct Stream {
  cudaStream_t stream = nullptr;
  Stream() { REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess); }
  ~Stream() { (void)cudaStreamDestroy(stream); }
  operator cudaStream_t() const { return stream; }
};

// y[i] = x[i] + 1, by a body that is no kernel of a .cu file.
void add_one_on(cudaStream_t stream, int* y, const int* x, int count) {
  emulator::launch("add_one", dim3(1), dim3(1), 0, stream, [=] {
    for (int i = 0; i < count; ++i) y[i] = x[i] + 1;
  });
}

cudaGraphExec_t captured(cudaStream_t stream, const std::function<void()>& work) {
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  work();
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  cudaGraphExec_t executable = nullptr;
  REQUIRE(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
  REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
  return executable;
}

// Begins to record, makes one call, and says what became of the call and of the recording.
struct Recorded {
  cudaError_t call, end;
};
template <class F>
Recorded recorded(cudaStreamCaptureMode mode, F call) {
  const Stream stream;
  REQUIRE(cudaStreamBeginCapture(stream, mode) == cudaSuccess);
  Recorded result{};
  result.call = call(stream);
  cudaGraph_t graph = nullptr;
  result.end = cudaStreamEndCapture(stream, &graph);
  if (graph) (void)cudaGraphDestroy(graph);
  (void)cudaGetLastError();
  return result;
}

}  // namespace

TEST_CASE("emulator: new device memory is NaN, and copies bring what was written") {
  const Block block(1000);
  for (const int value : block.values()) REQUIRE(value == -1);
  const Block from(some_numbers(1000));
  CHECK(from.values() == some_numbers(1000));
  REQUIRE(cudaMemcpy(block.data, from.data, 4000, cudaMemcpyDeviceToDevice) == cudaSuccess);
  CHECK(block.values() == some_numbers(1000));
  REQUIRE(cudaMemset(block.data, 0, 4000) == cudaSuccess);
  CHECK(block.values() == std::vector<int>(1000, 0));
}

TEST_CASE("emulator: the host cannot read or write device memory") {
  const Block block(some_numbers());
  CHECK_FALSE(dies([] {}));
  CHECK(dies([&] { (void)*const_cast<volatile int*>(block.data); }));
  CHECK(dies([&] { *const_cast<volatile int*>(block.data + 5) = 1; }));
  const Block to(numbers);
  add_one(to.data, block.data, numbers);
  CHECK(dies([&] { (void)*const_cast<volatile int*>(to.data); }));
  // A thread that did not launch cannot either.
  CHECK(dies([&] { std::thread([&] { (void)*const_cast<volatile int*>(block.data); }).join(); }));
}

TEST_CASE("emulator: copies must lie inside one block, on the side that was said") {
  const Block block(numbers);
  std::vector<int> host(2 * numbers);
  const size_t bytes = numbers * sizeof(int);
  const auto copy = [](void* to, const void* from, size_t size, cudaMemcpyKind kind) {
    const cudaError_t result = cudaMemcpy(to, from, size, kind);
    CHECK(cudaGetLastError() == result);
    return result;
  };
  CHECK(copy(block.data, host.data(), bytes, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(copy(block.data, host.data(), bytes, cudaMemcpyDefault) == cudaSuccess);
  CHECK(copy(block.data, host.data(), bytes + 4, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(copy(block.data + 1, host.data(), bytes, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(copy(host.data(), block.data, bytes, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(copy(host.data(), block.data, bytes, cudaMemcpyHostToHost) == cudaErrorInvalidValue);
  CHECK(copy(nullptr, block.data, bytes, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemsetAsync(block.data, 0, bytes + 1) == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("emulator: blocks are freed once, and counted") {
  const int64_t before = emulator::live_allocations();
  int* block = nullptr;
  REQUIRE(cudaMalloc(&block, 64) == cudaSuccess);
  CHECK(emulator::live_allocations() == before + 1);
  int value = 0;
  CHECK(cudaFree(&value) == cudaErrorInvalidValue);
  CHECK(cudaFree(block + 1) == cudaErrorInvalidValue);
  CHECK(cudaFree(block) == cudaSuccess);
  CHECK(cudaFree(block) == cudaErrorInvalidValue);
  CHECK(cudaFree(nullptr) == cudaSuccess);
  CHECK(emulator::live_allocations() == before);
  (void)cudaGetLastError();
  void* pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, 64) == cudaSuccess);
  std::memset(pinned, 0, 64);
  CHECK(cudaFreeHost(pinned) == cudaSuccess);
  CHECK(cudaFreeHost(&value) == cudaErrorInvalidValue);
  (void)cudaGetLastError();
}

TEST_CASE("emulator: memory ends where the test says") {
  const Defaults defaults;
  size_t free = 0, total = 0;
  REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
  const size_t used = total - free;
  emulator::set_total_memory(used + 1000);
  int *first = nullptr, *second = nullptr;
  CHECK(cudaMalloc(&first, 600) == cudaSuccess);
  CHECK(cudaMalloc(&second, 600) == cudaErrorMemoryAllocation);
  CHECK(second == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  REQUIRE(cudaMemGetInfo(&free, &total) == cudaSuccess);
  CHECK(free == 400);
  CHECK(total == used + 1000);
  CHECK(cudaFree(first) == cudaSuccess);
  CHECK(cudaMalloc(&second, 600) == cudaSuccess);
  CHECK(cudaFree(second) == cudaSuccess);
}

TEST_CASE("emulator: the device and the driver are what the test says") {
  const Defaults defaults;
  int count = -1, driver = 0;
  CHECK(cudaGetDeviceCount(&count) == cudaSuccess);
  CHECK(count == 1);
  emulator::set_device_count(0);
  CHECK(cudaGetDeviceCount(&count) == cudaErrorNoDevice);
  CHECK(count == 0);
  CHECK(cudaSetDevice(0) == cudaErrorInvalidDevice);
  emulator::set_driver_version(11080);
  CHECK(cudaGetDeviceCount(&count) == cudaErrorInsufficientDriver);
  CHECK(cudaDriverGetVersion(&driver) == cudaSuccess);
  CHECK(driver == 11080);
  (void)cudaGetLastError();
  CHECK(std::string(cudaGetErrorName(cudaErrorNoDevice)) == "cudaErrorNoDevice");
  CHECK(std::string(cudaGetErrorString(cudaErrorMemoryAllocation)) == "out of memory");
}

TEST_CASE("emulator: a launch fails when told to, and its kernel does not run") {
  const Block to(4), from(std::vector<int>{1, 2, 3, 4});
  const int64_t before = emulator::launches();
  emulator::fail_next_launch(cudaErrorLaunchFailure);
  add_one_on(nullptr, to.data, from.data, 4);
  CHECK(cudaPeekAtLastError() == cudaErrorLaunchFailure);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  CHECK(emulator::launches() == before);
  CHECK(to.values() == std::vector<int>(4, -1));
  add_one_on(nullptr, to.data, from.data, 4);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(emulator::launches() == before + 1);
  CHECK(to.values() == std::vector<int>{2, 3, 4, 5});
}

TEST_CASE("emulator: launches keep to the limits of a GPU") {
  const auto refuses = [](dim3 grid, dim3 block, size_t shared_bytes) {
    try {
      emulator::launch("big", grid, block, shared_bytes, nullptr, [] {});
      return false;
    } catch (const Fault& fault) {
      return fault.kind == FaultKind::launch && std::string(fault.what()).starts_with("big: ");
    }
  };
  CHECK_FALSE(refuses(dim3(1), dim3(1024), 227 << 10));
  CHECK(refuses(dim3(1), dim3(1025), 0));
  CHECK(refuses(dim3(1), dim3(1, 1, 65), 0));
  CHECK(refuses(dim3(1), dim3(32, 33), 0));
  CHECK(refuses(dim3(1), dim3(0), 0));
  CHECK(refuses(dim3(0), dim3(32), 0));
  CHECK(refuses(dim3(1, 65536), dim3(32), 0));
  CHECK(refuses(dim3(1, 1, 65536), dim3(32), 0));
  CHECK(refuses(dim3(1), dim3(32), (227 << 10) + 1));
}

TEST_CASE("emulator: what a kernel throws comes out of the launch, and the next one runs") {
  for (int i = 0; i < 3; ++i) {
    CHECK_THROWS_WITH_AS(
        emulator::launch("throws", dim3(4), dim3(256), 0, nullptr, [] { throw std::runtime_error("seven"); }), "seven",
        std::runtime_error);
    const Block to(4), from(std::vector<int>{1, 2, 3, 4});
    add_one_on(nullptr, to.data, from.data, 4);
    CHECK(to.values() == std::vector<int>{2, 3, 4, 5});
  }
  CHECK_THROWS_AS(emulator::launch("outer", dim3(1), dim3(1), 0, nullptr,
                                   [] { emulator::launch("inner", dim3(1), dim3(1), 0, nullptr, [] {}); }),
                  Fault);
}

TEST_CASE("emulator: launches of several threads of the host run one after another") {
  std::vector<std::thread> workers;
  std::vector<int> right(4);
  for (size_t worker = 0; worker < right.size(); ++worker)
    workers.emplace_back([worker, &right] {
      int* memory = nullptr;
      if (cudaMalloc(&memory, 1000 * sizeof(int)) != cudaSuccess) return;
      std::vector<int> values(1000);
      for (int turn = 0; turn < 20; ++turn) {
        emulator::launch("fill", dim3(4), dim3(250), 0, nullptr,
                         [memory, worker] { fill_place(memory, static_cast<int>(worker)); });
        (void)cudaMemcpy(values.data(), memory, 4000, cudaMemcpyDeviceToHost);
        bool is_right = true;
        for (int i = 0; i < 1000; ++i)
          is_right = is_right && values[static_cast<size_t>(i)] == i + static_cast<int>(worker);
        right[worker] += is_right;
      }
      (void)cudaFree(memory);
    });
  for (std::thread& worker : workers) worker.join();
  CHECK(right == std::vector<int>(4, 20));
}

TEST_CASE("emulator: a capture records, a launch of the graph runs what was recorded") {
  const Stream stream;
  const Block first(std::vector<int>{1, 2, 3, 4}), second(4), third(4);
  std::vector<int> host = {10, 20, 30, 40}, back(4, 0);
  const int64_t before = emulator::launches();
  const cudaGraphExec_t graph = captured(stream, [&] {
    add_one_on(stream, second.data, first.data, 4);
    CHECK(cudaMemcpyAsync(third.data, second.data, 16, cudaMemcpyDeviceToDevice, stream) == cudaSuccess);
    add_one_on(stream, third.data, third.data, 4);
    CHECK(cudaMemcpyAsync(first.data, host.data(), 16, cudaMemcpyHostToDevice, stream) == cudaSuccess);
    CHECK(cudaMemcpyAsync(back.data(), third.data, 16, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  });
  CHECK(emulator::launches() == before);
  CHECK(second.values() == std::vector<int>(4, -1));
  CHECK(back == std::vector<int>(4, 0));

  CHECK(cudaGraphLaunch(graph, stream) == cudaSuccess);
  CHECK(emulator::launches() == before + 2);
  CHECK(back == std::vector<int>{3, 4, 5, 6});
  // Device memory as it is then, and the host's too: pointers were recorded, not what they point to.
  host = {5, 5, 5, 5};
  CHECK(cudaGraphLaunch(graph, stream) == cudaSuccess);
  CHECK(back == std::vector<int>{12, 22, 32, 42});
  CHECK(cudaGraphLaunch(graph, stream) == cudaSuccess);
  CHECK(back == std::vector<int>{7, 7, 7, 7});
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
  CHECK(cudaGraphLaunch(graph, stream) == cudaErrorInvalidValue);
  (void)cudaGetLastError();
}

TEST_CASE("emulator: what waits cannot be recorded, and spoils the recording") {
  const Block block(4);
  std::vector<int> host(4);
  cudaEvent_t event = nullptr;
  REQUIRE(cudaEventCreate(&event) == cudaSuccess);
  const auto global = cudaStreamCaptureModeGlobal, relaxed = cudaStreamCaptureModeRelaxed;
  const auto is_refused = [](Recorded r) {
    return r.call == cudaErrorStreamCaptureUnsupported && r.end == cudaErrorStreamCaptureInvalidated;
  };
  const auto is_allowed = [](Recorded r) { return r.call == cudaSuccess && r.end == cudaSuccess; };
  const auto malloc_and_free = [](cudaStream_t) {
    int* memory = nullptr;
    const cudaError_t result = cudaMalloc(&memory, 16);
    (void)cudaFree(memory);
    return result;
  };
  for (const auto mode : {global, relaxed}) {
    CHECK(is_refused(recorded(mode, [](cudaStream_t s) { return cudaStreamSynchronize(s); })));
    CHECK(is_refused(recorded(mode, [](cudaStream_t) { return cudaDeviceSynchronize(); })));
    CHECK(is_allowed(recorded(mode, [&](cudaStream_t s) { return cudaEventRecord(event, s); })));
    CHECK(cudaEventSynchronize(event) == cudaErrorCapturedEvent);
  }
  CHECK(is_refused(recorded(global, malloc_and_free)));
  CHECK(is_allowed(recorded(relaxed, malloc_and_free)));
  CHECK(is_allowed(recorded(cudaStreamCaptureModeThreadLocal, [&](cudaStream_t s) {
    cudaError_t result{};
    std::thread([&] { result = malloc_and_free(s); }).join();
    return result;
  })));
  CHECK(is_refused(
      recorded(global, [&](cudaStream_t) { return cudaMemcpy(host.data(), block.data, 16, cudaMemcpyDeviceToHost); })));
  // After a refusal nothing more is recorded.
  const Recorded late = recorded(global, [&](cudaStream_t s) {
    (void)cudaStreamSynchronize(s);
    cudaStreamCaptureStatus status{};
    CHECK(cudaStreamIsCapturing(s, &status) == cudaSuccess);
    CHECK(status == cudaStreamCaptureStatusInvalidated);
    return cudaMemsetAsync(block.data, 0, 16, s);
  });
  CHECK(late.call == cudaErrorStreamCaptureInvalidated);
  CHECK(cudaStreamBeginCapture(nullptr, global) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  (void)cudaGetLastError();
  CHECK(block.values() == std::vector<int>(4, -1));
}

TEST_CASE("emulator: a fault in a graph comes out of its launch") {
  const Stream stream;
  const Block to(numbers), from(some_numbers());
  const cudaGraphExec_t graph =
      captured(stream, [&] { emulator::launch("recorded", dim3(1), dim3(64), 0, stream, [] { meet_apart(); }); });
  try {
    (void)cudaGraphLaunch(graph, stream);
    FAIL("no fault");
  } catch (const Fault& fault) {
    CHECK(fault.op == "recorded");
    CHECK(fault.kind == FaultKind::barrier);
    CHECK(fault.line > 0);
    CHECK(fault.file.ends_with("faults.cu"));
  }
  CHECK(cudaGraphExecDestroy(graph) == cudaSuccess);
  CHECK(dies([&] { (void)*const_cast<volatile int*>(from.data); }));
}

TEST_CASE("emulator: events know when") {
  const Stream stream;
  cudaEvent_t begin = nullptr, end = nullptr;
  REQUIRE(cudaEventCreate(&begin) == cudaSuccess);
  REQUIRE(cudaEventCreateWithFlags(&end, cudaEventDisableTiming) == cudaSuccess);
  float milliseconds = -1;
  CHECK(cudaEventRecord(begin, stream) == cudaSuccess);
  CHECK(cudaEventRecord(end, stream) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaErrorInvalidResourceHandle);
  CHECK(cudaEventElapsedTime(&milliseconds, begin, begin) == cudaSuccess);
  CHECK(milliseconds == 0);
  CHECK(cudaEventQuery(end) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(stream, end) == cudaSuccess);
  CHECK(cudaEventDestroy(begin) == cudaSuccess);
  CHECK(cudaEventDestroy(end) == cudaSuccess);
  CHECK(cudaEventDestroy(end) == cudaErrorInvalidResourceHandle);
  (void)cudaGetLastError();
}
