#include "experiments/bench/gpu.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "core/device.hpp"
#include "core/error.hpp"

namespace phasor {
namespace {

double seconds_on_gpu(const std::function<void()>& run, double least_seconds) {
  run();  // what is set up once is set up, and the pool has its blocks
  std::optional<DeviceGraph> graph;
  try {
    graph.emplace(run);
  } catch (const DeviceError&) {
    // It reads from the GPU.
  }
  const auto seconds_of = [&](int launches) {
    synchronize(Device::cuda);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < launches; ++i) graph ? graph->launch() : run();
    synchronize(Device::cuda);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / launches;
  };
  seconds_of(1);  // the clock of the GPU rises with work
  const double once = seconds_of(1);
  return seconds_of(static_cast<int>(std::clamp(std::ceil(least_seconds / once), 1.0, 1000.0)));
}

}  // namespace

Subject on_gpu(const std::string& name, const std::function<void()>& run, double work, double seconds) {
  return {.name = name, .work = work, .seconds = [=] { return seconds_on_gpu(run, seconds); }};
}

Tensor random_on_gpu(const Shape& shape, Dtype dtype, Random& random) {
  constexpr int64_t most = 1 << 20;
  const int64_t count = std::min(shape.size(), most), times = (shape.size() + count - 1) / std::max<int64_t>(count, 1);
  const Tensor some = normal({1, count}, 0, 1, Dtype::f32, random).to(Device::cuda).to(dtype);
  return some.broadcast_to({times, count}).clone().reshape({times * count}).slice(0, 0, shape.size()).reshape(shape);
}

bool holds(const std::function<void()>& check, const std::string& name, std::vector<std::string>& remarks) {
  try {
    check();
    return true;
  } catch (const Error& error) {
    remarks.push_back("FAILED, not timed: " + name + ": " + error.what());
    return false;
  }
}

}  // namespace phasor
