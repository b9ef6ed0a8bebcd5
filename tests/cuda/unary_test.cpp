// Element-wise functions of one tensor on the GPU: special values, sizes and addresses that decide how a kernel reads.
#include "core/ops/unary.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/ops/swiglu.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

using Function = Tensor (*)(const Tensor&);
using BackwardFunction = Tensor (*)(const Tensor&, const Tensor&, const Tensor&);

const std::vector<std::pair<const char*, Function>> functions = {{"neg", neg},         {"abs", abs},
                                                                 {"exp", exp},         {"log", log},
                                                                 {"log1p", log1p},     {"sqrt", sqrt},
                                                                 {"rsqrt", rsqrt},     {"sin", sin},
                                                                 {"cos", cos},         {"tanh", tanh},
                                                                 {"sigmoid", sigmoid}, {"silu", silu},
                                                                 {"gelu", gelu},       {"gelu_tanh", gelu_tanh},
                                                                 {"relu", relu},       {"softplus", softplus}};
// Those that read x.
const std::vector<std::pair<const char*, BackwardFunction>> backwards = {
    {"abs", abs_backward},     {"log", log_backward},
    {"log1p", log1p_backward}, {"sin", sin_backward},
    {"cos", cos_backward},     {"silu", silu_backward},
    {"gelu", gelu_backward},   {"gelu_tanh", gelu_tanh_backward},
    {"relu", relu_backward},   {"softplus", softplus_backward}};

// What is wrong with `got`, number by number: NaN for NaN, the same infinities, else a relative error within limit.
std::string unlike(const Tensor& got, const Tensor& expected, const Tensor& x, double limit) {
  const std::vector<double> a = got.to(Device::cpu).to(Dtype::f64).to_vector<double>(),
                            b = expected.to(Dtype::f64).to_vector<double>(), at = x.to(Dtype::f64).to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::isnan(a[i]) && std::isnan(b[i])) && a[i] != b[i] && !(std::abs(a[i] - b[i]) <= limit * std::abs(b[i])))
      return "at " + std::to_string(at[i]) + ": " + std::to_string(a[i]) + " instead of " + std::to_string(b[i]);
  return "";
}

const std::vector<double> special = {0.0,       -0.0,         1,    -1,  2,    -2,      0.5,      infinity,
                                     -infinity, not_a_number, 40.0, -40, 1000, 0x1p100, -0x1p100, -3.5,
                                     1e-20,     -1e-20,       12,   -12};

// Halves of one block, each as long as asked for and `offset` elements from a good address.
std::pair<Tensor, Tensor> two(int64_t count, int64_t offset, Dtype dtype, Device device) {
  Random random{.seed = 7};
  const Tensor block = Tensor::empty({2, count + offset}, dtype, device);
  copy_into(block, random_tensor({2, count + offset}, random).to(dtype));
  return {block.select(0, 0).slice(0, offset, offset + count), block.select(0, 1).slice(0, offset, offset + count)};
}

}  // namespace

TEST_CASE("cuda: unary: infinities, NaN and large numbers as on the CPU") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    const double limit = dtype == Dtype::f32 ? 16 * 0x1p-24 : 16 * 0x1p-53;
    const Tensor x = Tensor::of<double>({static_cast<int64_t>(special.size())}, special).to(dtype);
    const Tensor there = x.to(Device::cuda);
    for (const auto& [name, f] : functions) {
      const std::string wrong = unlike(f(there), f(x), x, limit);
      CHECK_MESSAGE(wrong == "", name, " ", wrong);
    }
    for (const double slope : {1.0, infinity, not_a_number}) {
      const Tensor dy = Tensor::full(x.shape(), slope, dtype);
      for (const auto& [name, f] : backwards) {
        const std::string wrong = unlike(f(there, Tensor(), dy.to(Device::cuda)), f(x, Tensor(), dy), x, limit);
        CHECK_MESSAGE(wrong == "", name, "_backward ", wrong, ", dy ", slope);
      }
      CHECK(unlike(clamp_backward(there, -1, 2, dy.to(Device::cuda)), clamp_backward(x, -1, 2, dy), x, 0) == "");
    }
    CHECK(unlike(clamp(there, -1, 2), clamp(x, -1, 2), x, 0) == "");
  }
}

TEST_CASE("cuda: unary: bf16 keeps infinities and NaN") {
  const Tensor x =
      Tensor::of<double>({4}, {infinity, -infinity, not_a_number, 3.3e38}).to(Dtype::bf16).to(Device::cuda);
  const std::vector<double> y = neg(x).to(Device::cpu).to(Dtype::f64).to_vector<double>();
  CHECK(y[0] == -infinity);
  CHECK(y[1] == infinity);
  CHECK(std::isnan(y[2]));
  CHECK(std::abs(y[3] + 3.3e38) < 0.01 * 3.3e38);
}

TEST_CASE("cuda: unary: every length and address, in packs and one by one") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::bf16})
    for (const int64_t count : {1, 2, 8, 31, 2048, 4096, 4099, 9003})
      for (const int64_t offset : {0, 1, 4}) {
        CAPTURE(dtype);
        CAPTURE(count);
        CAPTURE(offset);
        const auto [x, dy] = two(count, offset, dtype, Device::cuda);
        const Tensor expected = neg(x.to(Device::cpu).to(Dtype::f64));
        CHECK(mismatch(neg(x), dtype, expected, 0) == "");
        const Tensor sum = silu_backward(x.to(Device::cpu).to(Dtype::f64), Tensor(), dy.to(Device::cpu).to(Dtype::f64));
        CHECK(mismatch(silu_backward(x, Tensor(), dy), dtype, sum, dtype == Dtype::bf16 ? 0x1p-8 : 1e-6) == "");
      }
}

TEST_CASE("cuda: swiglu: the halves of one product in f32 and bf16") {
  Random random{.seed = 8};
  const Tensor both = random_tensor({37, 2 * 136}, random), dy = random_tensor({37, 136}, random);
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16}) {
    const Tensor there = both.to(dtype).to(Device::cuda), rounded = both.to(dtype).to(Dtype::f64);
    const double limit = dtype == Dtype::bf16 ? 0x1p-8 : 1e-6;
    const auto half = [](const Tensor& x, int which) { return x.slice(1, which * 136, (which + 1) * 136); };
    CHECK(mismatch(swiglu(half(there, 0), half(there, 1)), dtype, swiglu(half(rounded, 0), half(rounded, 1)), limit) ==
          "");
    const SwigluGradients got = swiglu_backward(half(there, 0), half(there, 1), dy.to(dtype).to(Device::cuda)),
                          expected = swiglu_backward(half(rounded, 0), half(rounded, 1), dy.to(dtype).to(Dtype::f64));
    CHECK(mismatch(got.dgate, dtype, expected.dgate, limit) == "");
    CHECK(mismatch(got.dup, dtype, expected.dup, limit) == "");
  }
}
