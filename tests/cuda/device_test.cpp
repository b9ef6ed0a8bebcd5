// Tensors on the GPU: copies there and back, errors, recorded work, memory.
#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "core/allocator.hpp"
#include "core/device.hpp"
#include "core/ops/binary.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

Tensor counting(const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.size()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Tensor::of<float>(shape, values);
}

}  // namespace

TEST_CASE("cuda: a tensor goes to the GPU and comes back, whatever its strides") {
  const Tensor x = counting({3, 4, 5});
  for (const Tensor& view : {x, x.transpose(0, 2), x.slice(1, 1, 3), x.select(0, 2), x.broadcast_to({2, 3, 4, 5}),
                             x.slice(0, 1, 1), Tensor::scalar(7, Dtype::f32)}) {
    CAPTURE(view.shape());
    const Tensor there = view.to(Device::cuda);
    CHECK(there.device() == Device::cuda);
    CHECK(bit_mismatch(there.to(Device::cpu), view) == "");
    CHECK(there.to_vector<float>() == view.to_vector<float>());
  }
  const Tensor there = x.to(Device::cuda);
  CHECK(bit_mismatch(there.transpose(0, 1).contiguous().to(Device::cpu), x.transpose(0, 1).contiguous()) == "");
  CHECK(there.select(0, 1).select(0, 2).select(0, 3).item<float>() == 33);
}

TEST_CASE("cuda: copies convert between dtypes and cross devices in place") {
  const Tensor x = Tensor::of<double>({4}, {0, 1.5, -2.75, 300.4});
  for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::bf16, Dtype::i32, Dtype::i64, Dtype::boolean}) {
    CAPTURE(dtype);
    CHECK(bit_mismatch(x.to(Device::cuda).to(dtype).to(Device::cpu), x.to(dtype)) == "");
    CHECK(bit_mismatch(x.to(dtype).to(Device::cuda).to(Dtype::f64).to(Device::cpu), x.to(dtype).to(Dtype::f64)) == "");
  }
  const Tensor there = Tensor::zeros({3, 4}, Dtype::f32, Device::cuda), here = Tensor::zeros({4, 3}, Dtype::f64);
  copy_into(there.transpose(0, 1), counting({4, 3}));
  copy_into(here, there.transpose(0, 1));
  CHECK(bit_mismatch(here.to(Dtype::f32), counting({4, 3})) == "");
  fill(there.select(1, 2), -1);
  CHECK(there.select(0, 0).to_vector<float>() == std::vector<float>{0, 3, -1, 9});
}

TEST_CASE("cuda: bf16 rounds to the nearest, ties to even") {
  const std::vector<float> values = {1.0f, 1.00390625f, 1.01171875f, 1.0039064f, -3.1415927f, 3.4e38f, 1e-40f, 0.0f};
  const Tensor x = Tensor::of<float>({8}, values);
  const std::vector<float> rounded = x.to(Dtype::bf16).to(Dtype::f32).to_vector<float>();
  CHECK(rounded[0] == 1);
  CHECK(rounded[1] == 1);          // halfway between 1 and 1 + 2^-7: to the even one
  CHECK(rounded[2] == 1.015625f);  // halfway too
  CHECK(rounded[3] == 1.0078125f);
  CHECK(rounded[4] == -3.140625f);
  CHECK(bit_mismatch(x.to(Device::cuda).to(Dtype::bf16).to(Device::cpu), x.to(Dtype::bf16)) == "");
}

TEST_CASE("cuda: tensors on different devices are refused, and a number goes along") {
  const Tensor here = counting({2, 3}), there = here.to(Device::cuda);
  CHECK_THROWS_WITH_AS(add(there, here), doctest::Contains("add: a [2, 3] is on cuda, b [2, 3] on cpu; move one"),
                       DeviceError);
  CHECK(mul(there, Tensor::scalar(2, Dtype::f32)).to_vector<float>() == std::vector<float>{0, 2, 4, 6, 8, 10});
  // A constant follows a variable; a variable does not move by itself.
  const Var leaf_here = Var::leaf(here), leaf_there = Var::leaf(there);
  CHECK((leaf_there + Var(here)).device() == Device::cuda);
  CHECK_THROWS_AS(leaf_there + leaf_here, DeviceError);
  leaf_here.move_to(Device::cuda);
  const Gradients gradients = backward(sum(leaf_there * leaf_here * 0.5));
  CHECK(gradients[leaf_here].to_vector<float>() == std::vector<float>{0, 0.5, 1, 1.5, 2, 2.5});
  CHECK(gradients[leaf_here].device() == Device::cuda);
}

TEST_CASE("cuda: recorded work runs at each launch, on what its tensors then hold") {
  const Tensor x = counting({5}).to(Device::cuda), y = Tensor::zeros({5}, Dtype::f32, Device::cuda);
  int calls = 0;
  const DeviceGraph graph([&] {
    ++calls;
    CHECK(is_recording());
    const Tensor constant = Tensor::of<float>({5}, {1, 1, 1, 1, 1}).to(Device::cuda);
    copy_into(y, add(mul(x, x), constant));
  });
  CHECK_FALSE(is_recording());
  CHECK(y.to_vector<float>() == std::vector<float>(5, 0));
  graph.launch();
  CHECK(y.to_vector<float>() == std::vector<float>{1, 2, 5, 10, 17});
  copy_into(x, Tensor::of<float>({5}, {3, 0, 0, 0, 1}));
  // What others do in between takes other blocks than those of the graph.
  Tensor others = counting({5}).to(Device::cuda);
  for (int i = 0; i < 10; ++i) others = add(others, others);
  graph.launch();
  CHECK(y.to_vector<float>() == std::vector<float>{10, 1, 1, 1, 2});
  CHECK(others.to_vector<float>() == std::vector<float>{0, 1024, 2048, 3072, 4096});
  CHECK(calls == 1);
}

TEST_CASE("cuda: nothing is read from the GPU while it is recorded, and the next recording works") {
  const Tensor x = counting({5}).to(Device::cuda);
  CHECK_THROWS_WITH_AS(DeviceGraph([&] { x.to_vector<float>(); }), doctest::Contains("recorded"), DeviceError);
  CHECK_THROWS_AS(DeviceGraph([&] { DeviceGraph inner([] {}); }), DeviceError);
  CHECK_THROWS_AS(DeviceGraph([&] { throw UsageError("own"); }), UsageError);
  CHECK_FALSE(is_recording());
  const Tensor y = Tensor::zeros({5}, Dtype::f32, Device::cuda);
  const DeviceGraph graph([&] { copy_into(y, x); });
  graph.launch();
  CHECK(y.to_vector<float>() == x.to_vector<float>());
}

TEST_CASE("cuda: numbers come back while the GPU goes on") {
  const Tensor x = counting({3}).to(Device::cuda);
  const Readback first(x);
  fill(x, 9);
  const Readback second(x);
  CHECK(first.values() == std::vector<double>{0, 1, 2});
  CHECK(second.values() == std::vector<double>{9, 9, 9});
  CHECK(Readback(counting({2})).values() == std::vector<double>{0, 1});
}

TEST_CASE("cuda: blocks are counted and used again") {
  release_cached_memory(Device::cuda);
  const MemoryCounts before = memory_counts(Device::cuda);
  { const Tensor x = Tensor::empty({1000}, Dtype::f32, Device::cuda); }
  CHECK(memory_counts(Device::cuda).bytes_in_use == before.bytes_in_use);
  reset_peak_memory(Device::cuda);
  {
    const Tensor x = Tensor::empty({1000}, Dtype::f32, Device::cuda);
    CHECK(memory_counts(Device::cuda).bytes_in_use >= before.bytes_in_use + 4000);
  }
  CHECK(memory_counts(Device::cuda).peak_bytes >= before.bytes_in_use + 4000);
  CHECK(Tensor::empty({0, 3}, Dtype::f32, Device::cuda).to_vector<float>().empty());
  CHECK_THROWS_AS(Tensor::empty({int64_t{1} << 50}, Dtype::f32, Device::cuda), MemoryError);
}
