// The twin of the convolution along keys: what op cases do not see.
#include "core/ops/conv_keys.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

Tensor gpu(const Tensor& x) { return x.to(Device::cuda); }
Tensor rounded(const Tensor& x, Dtype dtype) { return x.to(dtype).to(Dtype::f64); }

}  // namespace

TEST_CASE("cuda: conv_keys: more channels, taps and keys than a tile has") {
  Random random{.seed = 12};
  for (const auto& [channels, outs, width, keys] : std::vector<std::array<int64_t, 4>>{
           {9, 17, 3, 130}, {20, 3, 35, 70}, {3, 40, 5, 300}, {1, 1, 9, 4}, {16, 16, 3, 129}}) {
    CAPTURE(channels);
    CAPTURE(width);
    const Tensor x = random_tensor({2, channels, 3, keys}, random),
                 weight = random_tensor({outs, channels, width}, random);
    const Tensor dy = random_tensor({2, outs, 3, keys}, random);
    CHECK(mismatch(conv_keys(gpu(x), gpu(weight)), Dtype::f64, conv_keys(x, weight), tolerance::cuda_f64) == "");
    CHECK(mismatch(conv_keys_dx(gpu(weight), gpu(dy)), Dtype::f64, conv_keys_dx(weight, dy), tolerance::cuda_f64) ==
          "");
    CHECK(mismatch(conv_keys_dweight(gpu(x), width, gpu(dy)), Dtype::f64, conv_keys_dweight(x, width, dy),
                   tolerance::cuda_f64) == "");
  }
}

TEST_CASE("cuda: conv_keys: an f32 weight beside bf16, whose gradient is f32") {
  Random random{.seed = 13};
  const Tensor x = rounded(random_tensor({2, 4, 5, 40}, random), Dtype::bf16);
  const Tensor weight = rounded(random_tensor({6, 4, 3}, random), Dtype::f32);
  const Tensor dy = rounded(random_tensor({2, 6, 5, 40}, random), Dtype::bf16);
  const std::vector<Var> got = {Var::leaf(gpu(x.to(Dtype::bf16))), Var::leaf(gpu(weight.to(Dtype::f32)))};
  const std::vector<Var> expected = {Var::leaf(x), Var::leaf(weight)};
  const Var y = conv_keys(got[0], got[1]), on_cpu = conv_keys(expected[0], expected[1]);
  CHECK(mismatch(y.value(), Dtype::bf16, on_cpu.value(), tolerance::cuda_bf16(0x1p-9)) == "");
  const Gradients of_got = backward(y, gpu(dy.to(Dtype::bf16))), of_expected = backward(on_cpu, dy);
  CHECK(mismatch(of_got[got[0]], Dtype::bf16, of_expected[expected[0]], tolerance::cuda_bf16(0x1p-9)) == "");
  CHECK(mismatch(of_got[got[1]], Dtype::f32, of_expected[expected[1]], tolerance::f32(400, 0)) == "");
}

TEST_CASE("cuda: conv_keys: NaN reaches as far as the kernel, in its query alone; nothing gives zeros") {
  const Tensor x = Tensor::zeros({1, 1, 2, 140}, Dtype::f64);
  x.view<double>()(0, 0, 1, 120) = std::nan("");
  const Tensor y = conv_keys(gpu(x), Tensor::full({1, 1, 3}, 1, Dtype::f64, Device::cuda)).to(Device::cpu);
  for (int64_t query = 0; query < 2; ++query)
    for (int64_t key = 0; key < 140; ++key)
      CHECK(std::isnan(y.view<double>()(0, 0, query, key)) == (query == 1 && key >= 119 && key <= 121));
  const auto zeros = [](const Shape& shape) { return Tensor::zeros(shape, Dtype::f32, Device::cuda); };
  CHECK(conv_keys(zeros({1, 0, 2, 3}), zeros({2, 0, 3})).to_vector<float>() == std::vector<float>(12, 0));
  CHECK(conv_keys(zeros({1, 2, 2, 3}), zeros({0, 2, 3})).shape() == Shape{1, 0, 2, 3});
  CHECK(conv_keys_dweight(zeros({1, 2, 0, 3}), 3, zeros({1, 1, 0, 3})).to_vector<float>() == std::vector<float>(6, 0));
}
