// Devices: the build without CUDA and the one with it.
#include "core/device.hpp"

#include "core/cuda.hpp"
#include "core/dispatch.hpp"

namespace phasor {
namespace {

std::string problem_with_gpu() {
  if constexpr (kHasCuda)
    return cuda::problem();
  else
    return "this build has no CUDA; build with it (./phasor --device cuda ..., or cmake --preset cuda), which needs a "
           "CUDA toolkit 12 or newer";
}

}  // namespace

bool has_device(Device device) { return device == Device::cpu || problem_with_gpu().empty(); }

void require_device(At op, Device device) {
  if (device == Device::cpu) return;
  const std::string problem = problem_with_gpu();
  require<DeviceError>(problem.empty(), op, "device cuda: ", problem);
}

DeviceProperties gpu_properties() {
  require_device("gpu_properties", Device::cuda);
  if constexpr (kHasCuda) return cuda::properties();
  return {};
}

void synchronize(Device device) {
  require_device("synchronize", device);
  if constexpr (kHasCuda)
    if (device == Device::cuda) cuda::synchronize();
}

void copy_by_driver(const Tensor& y, const Tensor& x) {
  constexpr const char* op = "copy_by_driver";
  require_device(op, Device::cuda);
  require<DeviceError>(x.is_on(Device::cuda), op, "x is on the CPU; move it with .to(Device::cuda)");
  require_same_shape(op, "y", y, "x", x);
  require_same_dtype(op, "y", y, "x", x);
  require<ShapeError>(x.is_contiguous() && y.is_contiguous(), op, "x and y must be row-major without gaps");
  if constexpr (kHasCuda)
    with_any(x.dtype(), [&]<class T>() {
      cuda::copy_bytes(reinterpret_cast<std::byte*>(y.data<T>()), reinterpret_cast<const std::byte*>(x.data<T>()),
                       static_cast<size_t>(x.size()) * sizeof(T));
    });
}

bool is_recording() {
  if constexpr (kHasCuda) return cuda::is_capturing();
  return false;
}

DeviceGraph::DeviceGraph(const std::function<void()>& work) {
  require_device("graph", Device::cuda);
  if constexpr (kHasCuda) graph_ = cuda::captured(work);
}

void DeviceGraph::launch() const {
  if constexpr (kHasCuda) cuda::launch(*static_cast<cuda::Graph*>(graph_.get()));
}

Readback::Readback(const Tensor& x) : shape_(x.shape()), dtype_(x.dtype()) {
  if (x.is_on(Device::cpu)) {
    here_ = x.clone();
    return;
  }
  if constexpr (kHasCuda)
    with_any(dtype_, [&]<class T>() {
      const Tensor dense = x.contiguous();
      pending_ = cuda::download_later(reinterpret_cast<const std::byte*>(dense.data<T>()),
                                      static_cast<size_t>(x.size()) * sizeof(T));
    });
}

std::vector<double> Readback::values() const {
  if (here_.defined()) return here_.to(Dtype::f64).to_vector<double>();
  std::vector<double> values;
  if constexpr (kHasCuda)
    with_any(dtype_, [&]<class T>() {
      const auto* const from =
          reinterpret_cast<const T*>(cuda::wait_for(*static_cast<cuda::PendingDownload*>(pending_.get())));
      for (int64_t i = 0; i < shape_.size(); ++i) values.push_back(static_cast<double>(from[i]));
    });
  return values;
}

}  // namespace phasor
