// What is said where the GPU is missing, old, full or fails: the emulator plays them all.
#include <doctest/doctest.h>

#include "core/allocator.hpp"
#include "core/device.hpp"
#include "core/ops/binary.hpp"
#include "tests/cuda/emulator/emulator.hpp"

using namespace phasor;

namespace {

// Puts the GPU back as it was.
struct Restore {
  ~Restore() {
    emulator::set_device_count(1);
    emulator::set_driver_version(13000);
    emulator::set_total_memory(size_t{64} << 30);
  }
};

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

void expect(const std::string& message, const std::vector<std::string>& says) {
  CAPTURE(message);
  for (const std::string& words : says) CHECK(message.find(words) != std::string::npos);
}

}  // namespace

TEST_CASE("cuda: without a GPU or a driver the error says what is missing") {
  const Restore restore;
  const auto ask = [] { Tensor::empty({2}, Dtype::f32, Device::cuda); };
  emulator::set_device_count(0);
  CHECK_FALSE(has_device(Device::cuda));
  CHECK_THROWS_AS(ask(), DeviceError);
  expect(message_of(ask), {"device cuda", "no GPU is there"});
  CHECK_THROWS_AS(DeviceGraph([] {}), DeviceError);
  CHECK_THROWS_AS(gpu_properties(), DeviceError);
  emulator::set_device_count(1);
  emulator::set_driver_version(11080);
  expect(message_of(ask), {"the driver knows CUDA 11.8", "needs a driver for CUDA 12.0 or newer"});
  emulator::set_driver_version(0);
  expect(message_of(ask), {"no NVIDIA driver"});
  emulator::set_driver_version(13000);
  CHECK(has_device(Device::cuda));
  CHECK(gpu_properties().processors > 0);
}

TEST_CASE("cuda: out of memory says what was needed and what is free, and the pool gives back what it holds") {
  const Restore restore;
  release_cached_memory(Device::cuda);
  // Not only tensors are there: the work space of products, for one.
  const DeviceProperties now = gpu_properties();
  emulator::set_total_memory(static_cast<size_t>(now.memory_bytes - now.free_bytes) + (size_t{1} << 20));
  expect(message_of([] { Tensor::empty({1 << 20}, Dtype::f32, Device::cuda); }),
         {"no memory on the GPU for 4194304 bytes", "free: ", "in use here: "});
  CHECK_THROWS_AS(Tensor::empty({1 << 20}, Dtype::f32, Device::cuda), MemoryError);
  // Blocks of another size that wait in the pool are given back first.
  { const Tensor held = Tensor::empty({200000}, Dtype::f32, Device::cuda); }
  CHECK(Tensor::empty({150000}, Dtype::f32, Device::cuda).defined());
}

TEST_CASE("cuda: a kernel that fails is named") {
  const Tensor x = Tensor::full({8}, 1, Dtype::f32, Device::cuda);
  emulator::fail_next_launch(cudaErrorIllegalAddress);
  const std::string message = message_of([&] { mul(x, x); });
  expect(message, {"mul", "failed on the GPU", "launched last"});
  CHECK(mul(x, x).to_vector<float>() == std::vector<float>(8, 1));
}
