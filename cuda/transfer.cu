// Bytes between host and GPU.
#include <array>
#include <cstring>
#include <utility>

#include "cuda/memory.cuh"

namespace phasor::cuda {

void keep_constant(std::shared_ptr<std::byte> block);  // cuda/graph.cu

namespace {

void require_no_recording(const char* op) {
  require<DeviceError>(!is_capturing(), op, "nothing can be read from the GPU while a graph is recorded");
}

// Memory that the GPU reads and writes while the host goes on. Small pieces pass through such a ring: a copy from
// ordinary memory would wait for everything on the stream.
class StagingRing {
 public:
  static constexpr size_t slot_bytes = size_t{512} << 10;

  // A slot that the GPU has done with; passed() must follow once the copy from it has been asked for.
  std::byte* next() {
    Slot& slot = slots_[at_];
    if (!slot.memory) {
      void* memory = nullptr;
      check("upload", cudaMallocHost(&memory, slot_bytes));
      slot.memory = static_cast<std::byte*>(memory);
      check("upload", cudaEventCreateWithFlags(&slot.done, cudaEventDisableTiming));
    } else {
      check("upload", cudaEventSynchronize(slot.done));
    }
    return slot.memory;
  }
  void passed() {
    check("upload", cudaEventRecord(slots_[at_].done, stream()));
    at_ = (at_ + 1) % slots_.size();
  }

 private:
  struct Slot {
    std::byte* memory = nullptr;
    cudaEvent_t done = nullptr;
  };
  std::array<Slot, 16> slots_;
  size_t at_ = 0;
};

// The stream for constants of a graph: it is not being recorded.
cudaStream_t side_stream() {
  static const cudaStream_t instance = [] {
    cudaStream_t created = nullptr;
    check("stream", cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking));
    return created;
  }();
  return instance;
}

}  // namespace

std::shared_ptr<std::byte> uploaded(const std::byte* from, size_t bytes) {
  if (bytes == 0) return nullptr;
  if (!is_capturing()) {
    auto block = allocate(bytes);
    upload(block.get(), from, bytes);
    return block;
  }
  auto block = current_pool()->allocate_unused(bytes);
  check("upload", cudaMemcpyAsync(block.get(), from, bytes, cudaMemcpyHostToDevice, side_stream()));
  check("upload", cudaStreamSynchronize(side_stream()));
  keep_constant(block);
  return block;
}

void upload(std::byte* to, const std::byte* from, size_t bytes) {
  require<DeviceError>(!is_capturing(), "upload", "what is copied into a block cannot be recorded in a graph");
  if (bytes == 0) return;
  static StagingRing* const ring = new StagingRing;  // never destroyed: the driver may be gone before statics are
  if (bytes > StagingRing::slot_bytes)
    return check("upload", cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream()));
  std::byte* const staged = ring->next();
  std::memcpy(staged, from, bytes);
  check("upload", cudaMemcpyAsync(to, staged, bytes, cudaMemcpyHostToDevice, stream()));
  ring->passed();
}

void download(std::byte* to, const std::byte* from, size_t bytes) {
  require_no_recording("download");
  if (bytes == 0) return;
  check("download", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream()));
  check("download", cudaStreamSynchronize(stream()));
}

void copy_bytes(std::byte* to, const std::byte* from, size_t bytes) {
  if (bytes > 0) check("copy", cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()));
}

void clear(std::byte* to, size_t bytes) {
  if (bytes > 0) check("zeros", cudaMemsetAsync(to, 0, bytes, stream()));
}

struct PendingDownload {
  std::byte* memory = nullptr;
  cudaEvent_t done = nullptr;

  PendingDownload() = default;
  PendingDownload(const PendingDownload&) = delete;
  PendingDownload& operator=(const PendingDownload&) = delete;
  ~PendingDownload() {
    if (done) {
      (void)cudaEventSynchronize(done);
      (void)cudaEventDestroy(done);
    }
    if (memory) (void)cudaFreeHost(memory);
  }
};

std::shared_ptr<PendingDownload> download_later(const std::byte* from, size_t bytes) {
  require_no_recording("download");
  auto pending = std::make_shared<PendingDownload>();
  void* memory = nullptr;
  check("download", cudaMallocHost(&memory, bytes > 0 ? bytes : 1));
  pending->memory = static_cast<std::byte*>(memory);
  check("download", cudaEventCreateWithFlags(&pending->done, cudaEventDisableTiming));
  if (bytes > 0) check("download", cudaMemcpyAsync(memory, from, bytes, cudaMemcpyDeviceToHost, stream()));
  check("download", cudaEventRecord(pending->done, stream()));
  return pending;
}

const std::byte* wait_for(PendingDownload& download) {
  check("download", cudaEventSynchronize(download.done));
  return download.memory;
}

}  // namespace phasor::cuda
