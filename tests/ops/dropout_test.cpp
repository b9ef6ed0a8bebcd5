// Dropout: which elements, what becomes of them.
#include "core/ops/dropout.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr Random random_of_case{.seed = 0x123456789abcdef0, .stream = 0xfedcba9876543210, .counter = 77};

// The kept ones of `count` elements.
std::vector<bool> kept(int64_t count, double probability, const Random& random, Dtype dtype = Dtype::f32) {
  const Tensor y = dropout(Tensor::full({count}, 1, dtype), probability, random).to(Dtype::f64);
  std::vector<bool> result;
  for (const double v : y.to_vector<double>()) result.push_back(v != 0);
  return result;
}

int64_t count_of(const std::vector<bool>& kept) { return std::count(kept.begin(), kept.end(), true); }

}  // namespace

TEST_CASE("dropout: op case") {
  check_op({.op = "dropout",
            .run = [](const Tensors& x) { return dropout(x[0], 0.3, random_of_case); },
            .reference = [](const Tensors& x) { return reference::dropout(x[0], 0.3, random_of_case); },
            .differentiable = [](const std::vector<Var>& x) { return dropout(x[0], 0.3, random_of_case); },
            .samples = {{[](Extents e, Random& random) {
                           return Tensors{random_tensor({e.rows, e.width}, random)};
                         },
                         {{0, any_axis}}},
                        {[](Extents e, Random& random) {
                           return Tensors{random_tensor({3, 2, e.rows, e.width}, random)};
                         },
                         {{0, any_axis}}}},
            .refuses = {{[] { dropout(Tensor::zeros({2}, Dtype::f32), 1, {}); }, "probability is 1"},
                        {[] { dropout(Tensor::zeros({2}, Dtype::f32), -1e-9, {}); }, "probability is -1e-09"},
                        {[] { dropout(Tensor::zeros({2}, Dtype::f32), std::nan(""), {}); }, "probability is nan"}},
            .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("dropout: the words are those of Random, four to a block, over many tiles") {
  constexpr int64_t count = 20001;
  constexpr uint32_t threshold = 0x40000000;  // probability 1/4
  // Around a counter whose low word overflows into the high one, and one that wraps.
  for (const uint64_t counter : {uint64_t{0}, (uint64_t{1} << 32) - 100, UINT64_MAX - 100}) {
    const Random random{.seed = 0xaaaaaaaa55555555, .stream = 3, .counter = counter};
    for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
      const std::vector<bool> choice = kept(count, 0.25, random, dtype);
      int64_t wrong = 0;
      for (int64_t i = 0; i < count; ++i) {
        const uint64_t block = counter + static_cast<uint64_t>(i / 4);
        const auto words = philox4x32_10({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), 3, 0},
                                         {0x55555555, 0xaaaaaaaa});
        wrong += choice[i] != (words[i % 4] >= threshold);
      }
      CHECK(wrong == 0);
    }
    Random drawn = random;  // bits() of Random is the first half of a block
    const std::vector<bool> choice = kept(8, 0.25, random);
    for (int block = 0; block < 2; ++block) {
      const uint64_t bits = drawn.bits();
      CHECK(choice[4 * block] == (static_cast<uint32_t>(bits) >= threshold));
      CHECK(choice[4 * block + 1] == (static_cast<uint32_t>(bits >> 32) >= threshold));
    }
  }
}

TEST_CASE("dropout: a word that equals the threshold keeps its element, the next larger threshold drops it") {
  const auto words = philox4x32_10({9, 0, 0, 0}, {1, 0});
  for (const Dtype dtype : {Dtype::f32, Dtype::f64})
    for (int i = 0; i < 4; ++i) {
      const Random random{.seed = 1, .counter = 9};
      CHECK(kept(4, words[i] * 0x1p-32, random, dtype)[i]);
      CHECK_FALSE(kept(4, (words[i] + 1.0) * 0x1p-32, random, dtype)[i]);
    }
}

TEST_CASE("dropout: the kept fraction is 1 - probability") {
  constexpr int64_t count = 1000000;
  for (const double probability : {0.001, 0.1, 0.5, 0.9, 0.999}) {
    // Five standard deviations of the binomial distribution: one seed in 1.7 million would fail.
    const double bound = 5 * std::sqrt(count * probability * (1 - probability));
    for (const uint64_t seed : {1, 2, 3}) {
      const int64_t n = count_of(kept(count, probability, {.seed = seed}));
      CHECK(std::abs(static_cast<double>(n) - count * (1 - probability)) < bound);
    }
  }
}

TEST_CASE("dropout: neighbours are independent, and so are streams, counters and seeds") {
  constexpr int64_t count = 1000000;
  const Random base{.seed = 4, .stream = 5, .counter = 6};
  const std::vector<bool> first = kept(count, 0.5, base);
  CHECK(first == kept(count, 0.5, base));
  const auto agreements = [&](const std::vector<bool>& other, int64_t shift) {
    int64_t n = 0;
    for (int64_t i = 0; i + shift < count; ++i) n += first[i + shift] == other[i];
    return static_cast<double>(n) - static_cast<double>(count - shift) / 2;
  };
  const double bound = 5 * std::sqrt(count * 0.25);
  for (const int64_t shift : {1, 2, 3, 4, 32, 1024, 8192}) CHECK(std::abs(agreements(first, shift)) < bound);
  CHECK(std::abs(agreements(kept(count, 0.5, {.seed = 5, .stream = 5, .counter = 6}), 0)) < bound);
  CHECK(std::abs(agreements(kept(count, 0.5, {.seed = 4, .stream = 6, .counter = 6}), 0)) < bound);
  // A later counter is the same stream further on: disjoint if it stands behind all blocks of the first.
  CHECK(std::abs(agreements(kept(count, 0.5, {.seed = 4, .stream = 5, .counter = 6 + count / 4}), 0)) < bound);
  const std::vector<bool> next = kept(count - 4, 0.5, {.seed = 4, .stream = 5, .counter = 7});
  CHECK(std::equal(next.begin(), next.end(), first.begin() + 4));
}

TEST_CASE("dropout: probability 0 is the identity bit for bit") {
  const float nan = std::nanf("17"), infinity = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::of<float>({2, 3}, {-0.0f, nan, infinity, 1e-42f, 3, -infinity}).transpose(0, 1);
  CHECK(bit_mismatch(dropout(x, 0, {}), x) == "");
  const Var leaf = Var::leaf(Tensor::of<float>({2}, {1, 2}));
  const Tensor dy = Tensor::of<float>({2}, {-0.0f, 5});
  CHECK(bit_mismatch(backward(dropout(leaf, 0, {}), dy)[leaf], dy) == "");
}

TEST_CASE("dropout: probabilities at the ends") {
  // Below 2^-33 no word is below the threshold; the division is there all the same.
  CHECK(count_of(kept(100000, 1e-11, {})) == 100000);
  CHECK(dropout(Tensor::full({1}, 3, Dtype::f64), 1e-11, {}).item<double>() == 3 * (1 / (1 - 1e-11)));
  // Above 1 - 2^-33 every word is.
  CHECK(count_of(kept(100000, 1 - 1e-11, {})) == 0);
  const double nearly_one = 1 - 0x1p-20;
  const Tensor y = dropout(Tensor::full({8000000}, 1, Dtype::f32), nearly_one, {.seed = 8});
  std::vector<float> survivors;
  for (const float v : y.to_vector<float>())
    if (v != 0) survivors.push_back(v);
  CHECK(!survivors.empty());
  CHECK(survivors.size() < 25);  // 7.6 expected
  for (const float v : survivors) CHECK(v == 0x1p20f);
}

TEST_CASE("dropout: what is dropped is +0 whatever it was; what is kept stays NaN or infinite") {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  for (const Dtype dtype : {Dtype::f32, Dtype::f64})
    for (const double value : {nan, infinity, -infinity, -1.0}) {
      const Tensor x = Tensor::full({1000}, value, dtype);
      const std::vector<bool> choice = kept(1000, 0.5, {.seed = 1}, dtype);
      const std::vector<double> y = dropout(x, 0.5, {.seed = 1}).to(Dtype::f64).to_vector<double>();
      for (int64_t i = 0; i < 1000; ++i) {
        if (!choice[i])
          REQUIRE((y[i] == 0 && !std::signbit(y[i])));
        else if (std::isnan(value))
          REQUIRE(std::isnan(y[i]));
        else
          REQUIRE(y[i] == 2 * value);
      }
    }
}

TEST_CASE("dropout: the gradient uses the same choice") {
  const Random random{.seed = 21, .stream = 2};
  const Var x = Var::leaf(Tensor::full({50, 7}, 1, Dtype::f32));
  const Var y = dropout(x, 0.4, random);
  const Tensor dx = backward(y, Tensor::full({50, 7}, 1, Dtype::f32))[x];
  CHECK(bit_mismatch(dx, y.value()) == "");
  const int64_t zeros = 350 - count_of(kept(350, 0.4, random));
  CHECK((zeros > 100 && zeros < 180));
}
