// What cuda/ defines for core, beside the twins that core/ops/<op>.hpp declare. Only a build with CUDA has it: whoever
// calls it stands behind `if constexpr (kHasCuda)`. Above core, core/device.hpp says the same for every build.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/allocator.hpp"
#include "core/device.hpp"
#include "core/tensor.hpp"

namespace phasor::cuda {

// Why the GPU cannot be used, one sentence with what is needed; empty if it can.
std::string problem();
DeviceProperties properties();
void synchronize();

std::shared_ptr<std::byte> allocate(size_t bytes);
MemoryCounts memory_counts();
void reset_peak_memory();
void release_cached_memory();

// A block on the GPU that holds these bytes. While a graph is captured the copy is made at once, and the graph keeps
// the block: for what stays the same in every launch.
std::shared_ptr<std::byte> uploaded(const std::byte* from, size_t bytes);
// Into a block that is there. Not while a graph is captured.
void upload(std::byte* to, const std::byte* from, size_t bytes);
void download(std::byte* to, const std::byte* from, size_t bytes);  // waits
void clear(std::byte* to, size_t bytes);                            // to 0
void copy_bytes(std::byte* to, const std::byte* from, size_t bytes);  // within the GPU

// Of tensors on the GPU, as core/tensor.hpp says.
void copy_into(const Tensor& y, const Tensor& x);
void fill(const Tensor& y, double value);

bool is_capturing();
struct Graph;
std::shared_ptr<Graph> captured(const std::function<void()>& work);
void launch(Graph& graph);

struct PendingDownload;
std::shared_ptr<PendingDownload> download_later(const std::byte* from, size_t bytes);
const std::byte* wait_for(PendingDownload& download);

}  // namespace phasor::cuda
