// The twin of the matrix product: what op cases do not see.
#include "core/ops/matmul.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/ops.hpp"
#include "core/allocator.hpp"
#include "core/device.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/linear.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

Tensor gpu(const Tensor& x) { return x.to(Device::cuda); }
Tensor turned(const Tensor& x) { return gpu(x.transpose(-1, -2).clone()).transpose(-1, -2); }

double limit(Dtype dtype, int64_t terms) {
  return dtype == Dtype::f64   ? tolerance::cuda_f64
         : dtype == Dtype::f32 ? tolerance::f32(terms, 0)
                               : tolerance::cuda_bf16(0x1p-9);
}

// The numbers of a dtype, in double.
Tensor rounded(const Tensor& x, Dtype dtype) { return x.to(dtype).to(Dtype::f64); }

}  // namespace

TEST_CASE("cuda: matmul: every shape and order of the operands") {
  Random random{.seed = 3};
  for (const auto& [m, n, k] : std::vector<std::array<int64_t, 3>>{
           {1, 1, 1}, {1, 70, 90}, {90, 1, 70}, {13, 17, 9}, {64, 48, 32}, {40, 30, 500}})
    for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::bf16}) {
      CAPTURE(m);
      CAPTURE(n);
      const Tensor a = rounded(random_tensor({m, k}, random), dtype), b = rounded(random_tensor({k, n}, random), dtype);
      const Tensor expected = reference::matmul(a, b), x = a.to(dtype), y = b.to(dtype);
      for (const Tensor& left : {gpu(x), turned(x)})
        for (const Tensor& right : {gpu(y), turned(y)})
          CHECK(mismatch(matmul(left, right), dtype, expected, limit(dtype, k)) == "");
    }
}

TEST_CASE("cuda: matmul: leading axes that broadcast from both sides, fold into rows, or lie apart") {
  Random random{.seed = 4};
  for (const auto& [of_a, of_b] : std::vector<std::pair<Shape, Shape>>{{{5, 3, 4}, {4, 6}},
                                                                       {{2, 5, 3, 4}, {4, 6}},
                                                                       {{3, 4}, {5, 4, 6}},
                                                                       {{2, 1, 3, 4}, {5, 4, 6}},
                                                                       {{2, 3, 2, 3, 4}, {2, 3, 1, 4, 6}},
                                                                       {{2, 1, 3, 3, 4}, {5, 1, 4, 6}},
                                                                       {{3, 1, 2, 1, 3, 4}, {2, 1, 3, 4, 5}},
                                                                       {{4, 5, 1, 4}, {4, 6}}}) {
    CAPTURE(of_a);
    CAPTURE(of_b);
    const Tensor a = random_tensor(of_a, random), b = random_tensor(of_b, random);
    const Tensor expected = reference::matmul(a, b);
    CHECK(mismatch(matmul(gpu(a), gpu(b)), Dtype::f64, expected, tolerance::cuda_f64) == "");
    CHECK(mismatch(matmul(turned(a), turned(b)), Dtype::f64, expected, tolerance::cuda_f64) == "");
    if (of_a.rank() < 3) continue;
    const Tensor outside_in = gpu(a.transpose(0, -2).clone()).transpose(0, -2);
    CHECK(mismatch(matmul(outside_in, gpu(b)), Dtype::f64, expected, tolerance::cuda_f64) == "");
    // Addends of the shape of the result.
    const Tensor addend = random_tensor(expected.shape(), random);
    CHECK(mismatch(matmul_plus(gpu(a), gpu(b), gpu(addend)), Dtype::f64, add(expected, addend), tolerance::cuda_f64) ==
          "");
    const Tensor row = random_tensor({expected.extent(-1)}, random);
    for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::bf16}) {
      const Tensor plain = add(reference::matmul(rounded(a, dtype), rounded(b, dtype)), rounded(row, dtype));
      CHECK(mismatch(matmul_plus(gpu(a.to(dtype)), gpu(b.to(dtype)), gpu(row.to(dtype))), dtype, plain,
                     limit(dtype, 4)) == "");
    }
  }
}

TEST_CASE("cuda: linear: a bias or a residual stream in f32 beside bf16") {
  Random random{.seed = 5};
  for (const Shape& of_bias : {Shape{24}, Shape{2, 9, 24}}) {
    const Tensor x = rounded(random_tensor({2, 9, 40}, random), Dtype::bf16);
    const Tensor weight = rounded(random_tensor({40, 24}, random), Dtype::bf16);
    const Tensor bias = rounded(random_tensor(of_bias, random), Dtype::f32);
    const std::vector<Var> leaves = {Var::leaf(gpu(x.to(Dtype::bf16))), Var::leaf(gpu(weight.to(Dtype::bf16))),
                                     Var::leaf(gpu(bias.to(Dtype::f32)))};
    const Var y = linear(leaves[0], leaves[1], leaves[2]);
    CHECK(mismatch(y.value(), Dtype::bf16, reference::linear(x, weight, bias), tolerance::cuda_bf16(0x1p-9)) == "");
    const Tensor dy = rounded(random_tensor(y.shape(), random), Dtype::bf16);
    const Gradients got = backward(y, gpu(dy.to(Dtype::bf16)));
    const std::vector<Var> on_cpu = {Var::leaf(x), Var::leaf(weight), Var::leaf(bias)};
    const Gradients expected = backward(linear(on_cpu[0], on_cpu[1], on_cpu[2]), dy);
    CHECK(mismatch(got[leaves[0]], Dtype::bf16, expected[on_cpu[0]], tolerance::cuda_bf16(0x1p-9)) == "");
    CHECK(mismatch(got[leaves[1]], Dtype::bf16, expected[on_cpu[1]], tolerance::cuda_bf16(0x1p-9)) == "");
    CHECK(mismatch(got[leaves[2]], Dtype::f32, expected[on_cpu[2]], tolerance::f32(18, 0)) == "");
  }
  const Tensor x = Tensor::zeros({2, 3}, Dtype::f32, Device::cuda), w = Tensor::zeros({3, 4}, Dtype::f32, Device::cuda);
  CHECK_THROWS_AS(linear(x, w, Tensor::zeros({4}, Dtype::bf16, Device::cuda)), DtypeError);
  CHECK_THROWS_AS(linear(x, w, Tensor::zeros({4}, Dtype::f32)), DeviceError);
}

TEST_CASE("cuda: linear: a bias from the middle of a tensor") {
  Random random{.seed = 6};
  const Tensor x = random_tensor({5, 8}, random).to(Dtype::f32), weight = random_tensor({8, 6}, random).to(Dtype::f32);
  const Tensor all = random_tensor({20}, random).to(Dtype::f32);
  for (const int64_t start : {0, 1, 2, 3, 14})
    CHECK(mismatch(
              linear(gpu(x), gpu(weight), gpu(all).slice(0, start, start + 6)), Dtype::f32,
              reference::linear(x.to(Dtype::f64), weight.to(Dtype::f64), all.slice(0, start, start + 6).to(Dtype::f64)),
              tolerance::f32(8, 0)) == "");
}

TEST_CASE("cuda: matmul: sums of nothing are zeros and the addend") {
  const auto zeros = [](const Shape& shape, Dtype dtype) { return Tensor::zeros(shape, dtype, Device::cuda); };
  CHECK(matmul(zeros({2, 0}, Dtype::f32), zeros({0, 3}, Dtype::f32)).to_vector<float>() == std::vector<float>(6, 0));
  CHECK(matmul(zeros({0, 2}, Dtype::f32), zeros({2, 3}, Dtype::f32)).shape() == Shape{0, 3});
  CHECK(matmul(zeros({4, 0, 2}, Dtype::f32), zeros({2, 3}, Dtype::f32)).shape() == Shape{4, 0, 3});
  const Tensor one = Tensor::full({3}, 1, Dtype::f32, Device::cuda);
  CHECK(matmul_plus(zeros({2, 0}, Dtype::f32), zeros({0, 3}, Dtype::f32), one).to_vector<float>() ==
        std::vector<float>(6, 1));
  CHECK(linear(zeros({2, 0}, Dtype::bf16), zeros({0, 3}, Dtype::bf16), one).dtype() == Dtype::bf16);
}

TEST_CASE("cuda: matmul: a transposed operand is read where it lies") {
  const Tensor a = Tensor::zeros({256, 128}, Dtype::f32, Device::cuda);
  const auto peak_of = [](const Tensor& x, const Tensor& y) {
    matmul(x, y);  // the work space
    reset_peak_memory(Device::cuda);
    const int64_t before = memory_counts(Device::cuda).bytes_in_use;
    matmul(x, y);
    return memory_counts(Device::cuda).peak_bytes - before;
  };
  CHECK(peak_of(a, a.transpose(0, 1)) == 256 * 256 * 4);
  CHECK(peak_of(a.transpose(0, 1), a) == 128 * 128 * 4);
  CHECK(peak_of(a.slice(1, 0, 64), a.slice(1, 64, 128).transpose(0, 1)) == 256 * 256 * 4);
  CHECK(peak_of(a.reshape({2, 128, 128}).transpose(1, 2), a.slice(0, 0, 128)) == 2 * 128 * 128 * 4);
}

TEST_CASE("cuda: matmul: NaN and infinity in one row stay in that row") {
  const Tensor a = Tensor::full({3, 4}, 1, Dtype::f32), b = Tensor::full({4, 5}, 1, Dtype::f32);
  a.view<float>()(1, 2) = std::nanf("");
  const std::vector<float> y = matmul(gpu(a), gpu(b)).to_vector<float>();
  for (int i = 0; i < 15; ++i) CHECK((i / 5 == 1 ? std::isnan(y[i]) : y[i] == 4));
}

TEST_CASE("cuda: matmul: in a graph") {
  Random random{.seed = 8};
  const Tensor a = random_tensor({2, 6, 8}, random), b = random_tensor({8, 5}, random),
               row = random_tensor({5}, random);
  const Tensor on_gpu[] = {Tensor::zeros(a.shape(), Dtype::f64, Device::cuda), gpu(b), gpu(row)};
  Tensor y;
  const DeviceGraph graph([&] { y = linear(on_gpu[0], on_gpu[1], on_gpu[2]); });
  copy_into(on_gpu[0], a);
  graph.launch();
  CHECK(mismatch(y, Dtype::f64, linear(a, b, row), tolerance::cuda_f64) == "");
}
