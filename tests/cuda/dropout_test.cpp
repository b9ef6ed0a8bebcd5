// Dropout on the GPU: the CPU's choice, element for element.
#include "core/ops/dropout.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/device.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

std::vector<bool> kept(const Tensor& y) {
  std::vector<bool> result;
  for (const double v : y.to(Device::cpu).to(Dtype::f64).to_vector<double>()) result.push_back(v != 0);
  return result;
}

}  // namespace

TEST_CASE("cuda: dropout: the bits of the CPU, whatever the layout, also where the counter wraps") {
  for (const uint64_t counter : {uint64_t{0}, (uint64_t{1} << 32) - 100, UINT64_MAX - 100}) {
    const Random random{.seed = 0xaaaaaaaa55555555, .stream = 0x123456789abcdef0, .counter = counter};
    for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
      CAPTURE(dtype);
      for (const int64_t count : {1, 3, 4, 5, 1023, 1024, 5001}) {
        const Tensor x = Tensor::full({count}, 3, dtype);
        CHECK(bit_mismatch(dropout(x.to(Device::cuda), 0.3, random), dropout(x, 0.3, random)) == "");
      }
      Random numbers{.seed = 2};
      const Tensor x = random_tensor({5, 7, 33}, numbers).to(dtype), there = x.to(Device::cuda);
      CHECK(bit_mismatch(dropout(there.transpose(0, 2), 0.3, random), dropout(x.transpose(0, 2), 0.3, random)) == "");
      CHECK(bit_mismatch(dropout(there.slice(2, 1, 30), 0.3, random), dropout(x.slice(2, 1, 30), 0.3, random)) == "");
      const auto tail = [](const Tensor& t) { return t.reshape({5 * 7 * 33}).slice(0, 1, 1100); };
      CHECK(bit_mismatch(dropout(tail(there), 0.3, random), dropout(tail(x), 0.3, random)) == "");
      CHECK(bit_mismatch(dropout(there.select(0, 1).unsqueeze(0).broadcast_to({2, 7, 33}), 0.3, random),
                         dropout(x.select(0, 1).unsqueeze(0).broadcast_to({2, 7, 33}), 0.3, random)) == "");
    }
    const Tensor ones = Tensor::full({2003}, 1, Dtype::f32);
    CHECK(kept(dropout(ones.to(Dtype::bf16).to(Device::cuda), 0.3, random)) == kept(dropout(ones, 0.3, random)));
  }
}

TEST_CASE("cuda: dropout: probabilities at the ends, and what is dropped leaves no trace") {
  const double infinity = std::numeric_limits<double>::infinity();
  const Tensor x = Tensor::of<double>({4}, {infinity, std::nan(""), -infinity, -1}).to(Dtype::f32);
  const Tensor none = dropout(x.to(Device::cuda), 1 - 0x1p-40, {});
  CHECK(bit_mismatch(none, Tensor::zeros({4}, Dtype::f32)) == "");
  CHECK(bit_mismatch(dropout(x.to(Device::cuda), 0.99, {.seed = 3}), dropout(x, 0.99, {.seed = 3})) == "");
  CHECK(bit_mismatch(dropout(x.to(Device::cuda), 0, {}), x) == "");
  CHECK_THROWS_AS(dropout(x.to(Device::cuda), 1, {}), ValueError);
}

TEST_CASE("cuda: dropout: a word that equals the threshold keeps its element, the next larger threshold drops it") {
  const auto words = philox4x32_10({9, 0, 0, 0}, {1, 0});
  const Random random{.seed = 1, .counter = 9};
  for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::bf16})
    for (size_t i = 0; i < 4; ++i) {
      const Tensor x = Tensor::full({4}, 1, dtype, Device::cuda);
      CHECK(kept(dropout(x, words[i] * 0x1p-32, random))[i]);
      CHECK_FALSE(kept(dropout(x, (words[i] + 1.0) * 0x1p-32, random))[i]);
    }
}

TEST_CASE("cuda: dropout: blocks counted on the GPU, for work that is recorded") {
  const Random random{.seed = 4, .stream = 5, .counter = 6};
  const Tensor x = Tensor::full({900}, 1, Dtype::f32).to(Device::cuda);
  const Tensor blocks = Tensor::of<int64_t>({1}, {1000}).to(Device::cuda);
  const uint32_t half = 0x80000000u;
  const auto dropped = [&] {
    return cuda::dropout(x, half, 2, random, reinterpret_cast<uint64_t*>(blocks.data<int64_t>()));
  };
  const auto expected = [&](uint64_t counter) {
    return dropout(x.to(Device::cpu), 0.5, {.seed = 4, .stream = 5, .counter = counter});
  };
  CHECK(bit_mismatch(dropped(), expected(1006)) == "");
  Tensor y;
  const DeviceGraph graph([&] { y = dropped(); });
  for (const int64_t count : {7, 225}) {
    copy_into(blocks, Tensor::of<int64_t>({1}, {count}));
    graph.launch();
    CHECK(bit_mismatch(y, expected(6 + static_cast<uint64_t>(count))) == "");
  }
}
