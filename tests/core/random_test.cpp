// Philox against Random123, and the streams built on it.
#include "core/random.hpp"

#include <Random123/philox.h>
#include <doctest/doctest.h>

#include <cmath>

#include "core/error.hpp"

using namespace phasor;

TEST_CASE("philox4x32_10: the same bits as Random123") {
  Random random{.seed = 99};
  for (int i = 0; i < 1000; ++i) {
    std::array<uint32_t, 4> counter;
    std::array<uint32_t, 2> key;
    // The first rounds are the edges: all bits 0, all bits 1.
    for (uint32_t& word : counter) word = i == 0 ? 0 : i == 1 ? UINT32_MAX : static_cast<uint32_t>(random.bits());
    for (uint32_t& word : key) word = i == 0 ? 0 : i == 1 ? UINT32_MAX : static_cast<uint32_t>(random.bits());
    const philox4x32_ctr_t expected =
        philox4x32_R(10, {{counter[0], counter[1], counter[2], counter[3]}}, {{key[0], key[1]}});
    const std::array<uint32_t, 4> got = philox4x32_10(counter, key);
    for (int word = 0; word < 4; ++word) REQUIRE(got[word] == expected[word]);
  }
}

TEST_CASE("random: a stream is a pure function of seed, stream and counter") {
  Random a{.seed = 5, .stream = 2}, b{.seed = 5, .stream = 2};
  std::vector<uint64_t> first;
  for (int i = 0; i < 100; ++i) {
    first.push_back(a.bits());
    CHECK(b.bits() == first.back());
  }
  Random later{.seed = 5, .stream = 2, .counter = 40};
  CHECK(later.bits() == first[40]);
  CHECK(Random{.seed = 6, .stream = 2}.bits() != first[0]);
  CHECK(Random{.seed = 5, .stream = 3}.bits() != first[0]);
  // The high halves of the 64-bit words count too.
  CHECK(Random{.seed = 5 + (uint64_t{1} << 32), .stream = 2}.bits() != first[0]);
  CHECK(Random{.seed = 5, .stream = 2 + (uint64_t{1} << 32)}.bits() != first[0]);
  CHECK(Random{.seed = 5, .stream = 2, .counter = uint64_t{1} << 32}.bits() != first[0]);
}

TEST_CASE("random: below is unbiased and stays below") {
  Random random{.seed = 8};
  // 3/4 of 2^64 is where a plain remainder would draw the lower third twice as often.
  const int64_t bound = (int64_t{3} << 61) + 1;
  int64_t in_lower_half = 0;
  const int draws = 20000;
  for (int i = 0; i < draws; ++i) {
    const int64_t draw = random.below(bound);
    REQUIRE(draw >= 0);
    REQUIRE(draw < bound);
    in_lower_half += draw < bound / 2;
  }
  // 5 standard deviations of a fair coin: 5 * sqrt(20000) / 2.
  CHECK(std::abs(in_lower_half - draws / 2) < 354);

  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[static_cast<size_t>(random.below(7))];
  for (const int count : counts) CHECK(std::abs(count - 10000) < 5 * std::sqrt(10000.0 * 6 / 7));
  CHECK(random.below(1) == 0);
  CHECK_THROWS_AS(random.below(0), ValueError);
  CHECK_THROWS_AS(random.below(-3), ValueError);
}

TEST_CASE("random: uniform and normal have the moments of their names") {
  Random random{.seed = 8};
  const int draws = 100000;
  double mean_uniform = 0, mean_normal = 0, mean_square = 0, mean_fourth = 0;
  for (int i = 0; i < draws; ++i) {
    const double u = random.uniform();
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    const double x = random.normal();
    mean_uniform += u / draws;
    mean_normal += x / draws;
    mean_square += x * x / draws;
    mean_fourth += x * x * x * x / draws;
  }
  // 5 standard deviations of each mean: of u 0.2887, of x 1, of x^2 sqrt(2), of x^4 sqrt(96), over sqrt(draws).
  const double root = std::sqrt(static_cast<double>(draws));
  CHECK(std::abs(mean_uniform - 0.5) < 5 * 0.2887 / root);
  CHECK(std::abs(mean_normal) < 5 / root);
  CHECK(std::abs(mean_square - 1) < 5 * std::sqrt(2.0) / root);
  CHECK(std::abs(mean_fourth - 3) < 5 * std::sqrt(96.0) / root);
}

TEST_CASE("random: tensors are filled in order, f32 with the rounded f64 values") {
  Random a{.seed = 3}, b{.seed = 3}, c{.seed = 3};
  const Tensor wide = normal({4, 5}, 1, 2, Dtype::f64, a), narrow = normal({4, 5}, 1, 2, Dtype::f32, b);
  CHECK(narrow.to_vector<float>() == wide.to(Dtype::f32).to_vector<float>());
  CHECK(wide.to_vector<double>()[0] == 1 + 2 * c.normal());
  CHECK(a.counter == b.counter);
  Random d{.seed = 3};
  for (const double x : uniform({50}, -2, -1, Dtype::f64, d).to_vector<double>()) CHECK((x >= -2 && x < -1));
  CHECK_THROWS_AS(normal({2}, 0, 1, Dtype::i32, d), DtypeError);
}
