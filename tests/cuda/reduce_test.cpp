// Reductions, running sums and the largest elements on the GPU: many elements in several blocks, every way of walking,
// special values.
#include "core/ops/reduce.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/device.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/cumsum.hpp"
#include "core/ops/top_k.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN(),
                infinity = std::numeric_limits<float>::infinity();

Tensor gpu(const Tensor& x) { return x.to(Device::cuda); }

Tensor with_ties(const Shape& shape, Random& random) {
  constexpr float values[] = {not_a_number, infinity, -infinity, 0.0f, -0.0f, 1, 2, -3};
  std::vector<float> x(static_cast<size_t>(shape.size()));
  for (float& v : x) v = values[random.below(8)];
  return Tensor::of<float>(shape, x);
}

}  // namespace

TEST_CASE("cuda: reductions: of many elements, in several blocks, in every dtype") {
  struct Long {
    Shape shape;
    std::vector<int> axes;
  };
  // Teams of 8, of a warp, of a block, of several blocks; packs or not; columns few, many, short, long.
  const Long cases[] = {{{500, 24}, {1}},  {{40, 1000}, {1}},     {{7, 2056}, {1}},      {{2, 70001}, {1}},
                        {{3, 40000}, {1}}, {{20001, 3}, {0}},     {{300, 700}, {0}},     {{12, 5000}, {0}},
                        {{5, 1024}, {0}},  {{90, 40, 3}, {0, 1}}, {{50, 3, 64}, {0, 2}}, {{400, 300}, {}},
                        {{1, 1}, {}},      {{64, 1, 33}, {1}}};
  for (const Long& c : cases) {
    CAPTURE(c.shape);
    Random random{.seed = 8};
    const Tensor x = random_tensor(c.shape, random);
    const int64_t terms = x.size() / sum(x, c.axes).size();
    for (const Dtype dtype : {Dtype::f64, Dtype::f32, Dtype::bf16}) {
      CAPTURE(dtype);
      const Tensor from = x.to(dtype), exact = from.to(Dtype::f64), there = gpu(from);
      const double limit = dtype == Dtype::f64   ? tolerance::f64(terms)
                           : dtype == Dtype::f32 ? tolerance::f32(terms, 0)
                                                 : 0x1p-8;
      CHECK(bit_mismatch(max(there, c.axes).to(Dtype::f64), reference::max(exact, c.axes)) == "");
      CHECK(mismatch(sum(there, c.axes), dtype, reference::sum(exact, c.axes), limit) == "");
      CHECK(mismatch(mean(there, c.axes), dtype, mean(exact, c.axes), limit) == "");
      CHECK(mismatch(logsumexp(there, c.axes), dtype, reference::logsumexp(exact, c.axes), limit) == "");
      CHECK(mismatch(variance(there, c.axes), dtype, reference::variance(exact, c.axes), limit) == "");
      if (dtype == Dtype::bf16) continue;
      const Tensor ones = gpu(Tensor::full(c.shape, 1, dtype)), y = max(ones, c.axes);
      const Tensor dy = Tensor::full(y.shape(), static_cast<double>(terms), dtype, Device::cuda);
      CHECK(bit_mismatch(max_backward(ones, c.axes, y, dy), ones) == "");
    }
  }
}

TEST_CASE("cuda: reductions: views with gaps, turned axes, broadcasts") {
  Random random{.seed = 9};
  const Tensor block = random_tensor({6, 20, 70}, random);
  const std::vector<Tensor> views = {block.slice(2, 1, 68),
                                     block.slice(2, 8, 72 - 8).slice(1, 2, 20),
                                     block.transpose(0, 2),
                                     block.transpose(1, 2).slice(0, 1, 5),
                                     block.select(2, 3).unsqueeze(2).broadcast_to({6, 20, 9}),
                                     block.select(0, 3).unsqueeze(0).broadcast_to({9, 20, 70})};
  const Tensor there = gpu(block);
  const std::vector<Tensor> views_there = {there.slice(2, 1, 68),
                                           there.slice(2, 8, 72 - 8).slice(1, 2, 20),
                                           there.transpose(0, 2),
                                           there.transpose(1, 2).slice(0, 1, 5),
                                           there.select(2, 3).unsqueeze(2).broadcast_to({6, 20, 9}),
                                           there.select(0, 3).unsqueeze(0).broadcast_to({9, 20, 70})};
  for (size_t i = 0; i < views.size(); ++i)
    for (const std::vector<int>& axes : {std::vector<int>{}, {0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}}) {
      CAPTURE(i);
      for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
        // A converted view keeps its order of axes: the gaps go, the order stays.
        const Tensor from = dtype == Dtype::f64 ? views_there[i] : views_there[i].to(dtype);
        const double limit = dtype == Dtype::f64 ? tolerance::cuda_f64 : tolerance::f32(10000, 0);
        CHECK(mismatch(sum(from, axes), dtype, reference::sum(views[i], axes), limit) == "");
        CHECK(mismatch(logsumexp(from, axes), dtype, reference::logsumexp(views[i], axes), limit) == "");
      }
    }
}

TEST_CASE("cuda: max, logsumexp and their gradients: NaN and infinities as on the CPU") {
  const std::vector<float> lines[] = {{1e30f, 1e30f, -1e30f},
                                      {-1000, -1000, -1000},
                                      {-infinity, 2, -infinity},
                                      {-infinity, -infinity, -infinity},
                                      {infinity, 0, 5},
                                      {infinity, -infinity, infinity},
                                      {not_a_number, 1, infinity},
                                      {-infinity, not_a_number, -infinity}};
  const auto unlike = [](const Tensor& got, const Tensor& expected) {
    const std::vector<float> a = got.to_vector<float>(), b = expected.to_vector<float>();
    for (size_t i = 0; i < b.size(); ++i)
      if (!(std::isnan(a[i]) && std::isnan(b[i])) && a[i] != b[i] &&
          !(std::abs(a[i] - b[i]) <= 1e-5f * std::max(1.0f, std::abs(b[i]))))
        return std::to_string(a[i]) + " instead of " + std::to_string(b[i]);
    return std::string();
  };
  for (const int64_t repeats : {1, 7, 300, 3000})
    for (int line = 0; line < 8; ++line) {
      CAPTURE(repeats);
      CAPTURE(line);
      const Tensor x = Tensor::of<float>({1, 1, 3}, lines[line])
                           .broadcast_to({2, repeats, 3})
                           .contiguous()
                           .reshape({2, repeats * 3});
      for (const int axis : {1, 0}) {
        const Tensor from = axis == 1 ? x : x.transpose(0, 1).contiguous(), there = gpu(from);
        const Tensor y = logsumexp(from, {axis}), largest = max(from, {axis}),
                     dy = Tensor::full(y.shape(), 6, Dtype::f32);
        CHECK(unlike(logsumexp(there, {axis}), y) == "");
        CHECK(unlike(max(there, {axis}), largest) == "");
        CHECK(unlike(logsumexp_backward(there, {axis}, gpu(y), gpu(dy)), logsumexp_backward(from, {axis}, y, dy)) ==
              "");
        CHECK(unlike(max_backward(there, {axis}, gpu(largest), gpu(dy)), max_backward(from, {axis}, largest, dy)) ==
              "");
      }
    }
}

TEST_CASE("cuda: variance: a small spread around a large mean does not collapse, nor does its gradient") {
  Random random{.seed = 6};
  const Tensor noise = random_tensor({20000, 2}, random);
  const Tensor x = add(mul(noise, Tensor::scalar(1e-2, Dtype::f64)), Tensor::scalar(1e4, Dtype::f64)).to(Dtype::f32);
  const Tensor exact = x.to(Dtype::f64), cotangent = Tensor::full({1, 2}, 10000, Dtype::f64);
  const Tensor expected = reference::variance(exact, {0}), gradient = variance_backward(exact, {0}, cotangent);
  for (const int axis : {0, 1}) {
    const auto placed = [&](const Tensor& t) { return axis == 0 ? t : t.transpose(0, 1).contiguous(); };
    const Tensor there = gpu(placed(x));
    CHECK(mismatch(variance(there, {axis}), Dtype::f32, placed(expected), 1e-6) == "");
    CHECK(mismatch(variance_backward(there, {axis}, gpu(placed(cotangent.to(Dtype::f32)))), Dtype::f32,
                   placed(gradient), 1e-6) == "");
  }
  for (const Shape& shape : {Shape{3, 41}, Shape{5000, 3}, Shape{3, 5000}})
    for (const std::vector<int>& axes : {std::vector<int>{0}, {1}, {}}) {
      const Tensor equal = Tensor::full(shape, 0.1, Dtype::f32, Device::cuda), y = variance(equal, axes);
      CHECK(bit_mismatch(y, Tensor::zeros(y.shape(), Dtype::f32)) == "");
    }
  CHECK(variance(Tensor::full({40000}, 1e200, Dtype::f64, Device::cuda)).to_vector<double>()[0] == 0);
}

TEST_CASE("cuda: sum: a long f32 sum keeps its digits; nothing sums to 0") {
  CHECK(sum(Tensor::full({1 << 22}, 0.1, Dtype::f32, Device::cuda)).item<float>() ==
        doctest::Approx(0.1f * (1 << 22)).epsilon(1e-6));
  CHECK(sum(Tensor::zeros({0, 3}, Dtype::f32, Device::cuda), {0}).to_vector<float>() == std::vector<float>(3, 0));
  Random random{.seed = 5};
  const Tensor x = random_tensor({3, 4, 5}, random);
  CHECK(mismatch(sum_to(gpu(x), {4, 1}), Dtype::f64, sum_to(x, {4, 1}), tolerance::cuda_f64) == "");
  CHECK(mismatch(sum_to(gpu(x), {}), Dtype::f64, sum_to(x, {}), tolerance::cuda_f64) == "");
}

TEST_CASE("cuda: cumsum: long lines, in double, NaN and infinity reach what follows") {
  Random random{.seed = 3};
  for (const int64_t length : {1, 127, 128, 513, 1024, 1025, 5000}) {
    CAPTURE(length);
    const Tensor x = random_tensor({3, length}, random).to(Dtype::f32);
    for (const int axis : {1, 0}) {
      const Tensor from = axis == 1 ? x : x.transpose(0, 1).contiguous();
      const double limit = 2 * 0x1p-24;
      CHECK(mismatch(cumsum(gpu(from), axis), Dtype::f32, cumsum(from.to(Dtype::f64), axis), limit) == "");
      CHECK(mismatch(cumsum_backward(gpu(from), axis), Dtype::f32, cumsum_backward(from.to(Dtype::f64), axis), limit) ==
            "");
    }
  }
  const int64_t count = 100000;
  const std::vector<float> tenths = cumsum(Tensor::full({count}, 0.1, Dtype::f32, Device::cuda), 0).to_vector<float>();
  for (const int64_t i : {int64_t{0}, int64_t{12345}, count - 1})
    CHECK(tenths[static_cast<size_t>(i)] == doctest::Approx(double{0.1f} * static_cast<double>(i + 1)).epsilon(1e-7));
  const Tensor x = Tensor::full({2, 3000}, 1, Dtype::f32);
  fill(x.select(0, 0).select(0, 1500), not_a_number);
  fill(x.select(0, 1).select(0, 1000), infinity);
  const std::vector<float> y = cumsum(gpu(x), 1).to_vector<float>();
  for (size_t i = 0; i < 3000; ++i) {
    CHECK(std::isnan(y[i]) == (i >= 1500));
    CHECK(std::isinf(y[3000 + i]) == (i >= 1000));
  }
}

TEST_CASE("cuda: top_k and argmax: rows full of ties, NaN and infinities, as on the CPU to the bit") {
  Random random{.seed = 9};
  for (const int64_t width : {1, 2, 31, 33, 200, 256, 257, 1000})
    for (const int64_t k : {int64_t{1}, int64_t{2}, int64_t{7}, width / 2, width}) {
      if (k < 1 || k > width || k > 100) continue;
      CAPTURE(width);
      CAPTURE(k);
      const Tensor x = with_ties({9, width}, random);
      const TopK got = top_k(gpu(x), k), expected = top_k(x, k);
      CHECK(bit_mismatch(got.indices, expected.indices) == "");
      CHECK(bit_mismatch(got.values, expected.values) == "");
    }
  for (const Shape& shape : {Shape{3, 40, 5}, Shape{5, 3, 700}, Shape{400, 2, 1}, Shape{2, 9000, 1}})
    for (const int axis : {0, 1, 2}) {
      CAPTURE(shape);
      CAPTURE(axis);
      const Tensor x = with_ties(shape, random);
      CHECK(bit_mismatch(argmax(gpu(x), axis), argmax(x, axis)) == "");
      CHECK(bit_mismatch(argmax(gpu(x).transpose(0, 2), axis), argmax(x.transpose(0, 2), axis)) == "");
    }
}
