// Streams, events and graphs: work runs at once, or is recorded and runs when its graph is launched.
#include <chrono>
#include <set>
#include <utility>

#include "tests/cuda/emulator/memory.hpp"
#include "tests/cuda/emulator/runtime.hpp"

using namespace phasor::emulator;

struct CUevent_st {
  bool has_time = true, is_captured = false, is_recorded = false;
  std::chrono::steady_clock::time_point time;
};

namespace phasor::emulator {
namespace {

template <class T>
std::set<T*>& known() {
  static auto* const instance = new std::set<T*>;
  return *instance;
}
template <class T>
bool is_known(T* x) {
  return known<T>().count(x) != 0;
}
template <class T>
cudaError_t create(T** to, T* made) {
  known<T>().insert(made);
  *to = made;
  return cudaSuccess;
}
template <class T>
cudaError_t destroy(T* x) {
  const std::lock_guard lock(device_mutex());
  if (known<T>().erase(x) == 0) return failed(cudaErrorInvalidResourceHandle);
  delete x;
  return cudaSuccess;
}

CUstream_st default_stream;
CUstream_st& state_of(cudaStream_t stream) { return stream ? *stream : default_stream; }

cudaError_t invalidate(Capture& capture) {
  capture.is_invalid = true;
  return failed(cudaErrorStreamCaptureUnsupported);
}

void run(const Work& work) {
  const memory::Access access;
  for (const auto& each : work) (*each)();
}

}  // namespace

std::recursive_mutex& device_mutex() {
  static auto* const instance = new std::recursive_mutex;
  return *instance;
}

bool is_stream(cudaStream_t stream) { return !stream || is_known(stream); }

cudaError_t enqueue(cudaStream_t stream, std::function<void()> work) {
  const std::lock_guard lock(device_mutex());
  if (!is_stream(stream)) return failed(cudaErrorInvalidResourceHandle);
  if (Capture* const capture = state_of(stream).capture.get()) {
    if (capture->is_invalid) return failed(cudaErrorStreamCaptureInvalidated);
    capture->work.push_back(std::make_shared<const std::function<void()>>(std::move(work)));
    return cudaSuccess;
  }
  const memory::Access access;
  work();
  return cudaSuccess;
}

cudaError_t check_waiting(cudaStream_t stream) {
  if (!is_stream(stream)) return failed(cudaErrorInvalidResourceHandle);
  Capture* const capture = state_of(stream).capture.get();
  return capture ? invalidate(*capture) : cudaSuccess;
}

cudaError_t check_waiting_for_device() {
  cudaError_t result = cudaSuccess;
  for (CUstream_st* const stream : known<CUstream_st>())
    if (stream->capture) result = invalidate(*stream->capture);
  return result;
}

cudaError_t check_unsafe() {
  cudaError_t result = cudaSuccess;
  for (CUstream_st* const stream : known<CUstream_st>()) {
    Capture* const capture = stream->capture.get();
    if (!capture || capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (capture->mode == cudaStreamCaptureModeThreadLocal && capture->thread != std::this_thread::get_id()) continue;
    result = invalidate(*capture);
  }
  return result;
}

}  // namespace phasor::emulator

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const std::lock_guard lock(device_mutex());
  return create(stream, new CUstream_st);
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return destroy(stream); }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  return check_waiting(stream);
}
cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }
cudaError_t cudaDeviceSynchronize() {
  const std::lock_guard lock(device_mutex());
  return check_waiting_for_device();
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const std::lock_guard lock(device_mutex());
  auto* const made = new CUevent_st;
  made->has_time = (flags & cudaEventDisableTiming) == 0;
  return create(event, made);
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventDestroy(cudaEvent_t event) { return destroy(event); }

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  if (!is_known(event) || !is_stream(stream)) return failed(cudaErrorInvalidResourceHandle);
  const Capture* const capture = state_of(stream).capture.get();
  if (capture && capture->is_invalid) return failed(cudaErrorStreamCaptureInvalidated);
  event->is_captured = capture != nullptr;
  event->is_recorded = true;
  event->time = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(device_mutex());
  if (!is_known(event)) return failed(cudaErrorInvalidResourceHandle);
  return event->is_captured ? failed(cudaErrorCapturedEvent) : cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  const std::lock_guard lock(device_mutex());
  for (const cudaEvent_t event : {begin, end}) {
    if (!is_known(event) || !event->has_time || !event->is_recorded) return failed(cudaErrorInvalidResourceHandle);
    if (event->is_captured) return failed(cudaErrorCapturedEvent);
  }
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
  return cudaSuccess;
}
// Everything ran at once, so there is nothing to wait for. Recording several streams into one graph is not modelled.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(device_mutex());
  if (!is_known(event) || !is_stream(stream)) return failed(cudaErrorInvalidResourceHandle);
  Capture* const capture = state_of(stream).capture.get();
  if (capture && !event->is_captured) return invalidate(*capture);
  if (!capture && event->is_captured) return failed(cudaErrorStreamCaptureUnsupported);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const std::lock_guard lock(device_mutex());
  if (!is_stream(stream)) return failed(cudaErrorInvalidResourceHandle);
  if (!stream) return failed(cudaErrorStreamCaptureUnsupported);  // the default stream cannot
  if (stream->capture) return failed(cudaErrorInvalidValue);
  stream->capture = std::make_unique<Capture>();
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(device_mutex());
  *graph = nullptr;
  if (!stream || !is_known(stream)) return failed(cudaErrorInvalidResourceHandle);
  if (!stream->capture) return failed(cudaErrorInvalidValue);
  const std::unique_ptr<Capture> capture = std::move(stream->capture);
  if (capture->is_invalid) return failed(cudaErrorStreamCaptureInvalidated);
  return create(graph, new CUgraph_st{std::move(capture->work)});
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const std::lock_guard lock(device_mutex());
  if (!is_stream(stream)) return failed(cudaErrorInvalidResourceHandle);
  const Capture* const capture = state_of(stream).capture.get();
  *status = !capture              ? cudaStreamCaptureStatusNone
            : capture->is_invalid ? cudaStreamCaptureStatusInvalidated
                                  : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  const std::lock_guard lock(device_mutex());
  if (!is_known(graph)) return failed(cudaErrorInvalidValue);
  return create(executable, new CUgraphExec_st{graph->work});
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const std::lock_guard lock(device_mutex());
  if (!is_known(executable)) return failed(cudaErrorInvalidValue);
  return enqueue(stream, [work = executable->work] { run(work); });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return destroy(graph); }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return destroy(executable); }
