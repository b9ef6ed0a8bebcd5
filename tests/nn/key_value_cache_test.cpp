// Decoding with a cache against reading the whole text at once, for every encoding.
#include "nn/key_value_cache.hpp"

#include <doctest/doctest.h>

#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

constexpr int64_t vocabulary = small_vocabulary, length = 23;

ModelShape shape_of(const std::string& encoding) { return small_model(encoding, length); }

// The logits of reading ids in pieces of the given sizes, one after the other.
Tensor in_pieces(const Transformer& model, const Tensor& ids, const std::vector<int64_t>& sizes,
                 const Tensor& positions = {}) {
  KeyValueCache cache;
  std::vector<Var> parts;
  int64_t read = 0;
  for (const int64_t size : sizes) {
    const Tensor own = positions.defined() ? positions.slice(1, read, read + size) : Tensor();
    parts.push_back(model.logits(ids.slice(1, read, read + size), {.positions = own, .cache = &cache}));
    read += size;
    CHECK(cache.length() == read);
  }
  REQUIRE(read == ids.extent(1));
  return concat(parts, 1).value();
}

}  // namespace

TEST_CASE("cache: reading on gives the logits of reading at once, for every encoding") {
  const NoGradient scope;
  Random random{.seed = 6};
  const Tensor ids = random_ids({2, length}, vocabulary, random);
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const Transformer model(shape_of(name), 1);
    const Tensor whole = model.logits(ids).value();
    CHECK(mismatch(in_pieces(model, ids, std::vector<int64_t>(length, 1)), Dtype::f64, whole, 1e-12) == "");
    CHECK(mismatch(in_pieces(model, ids, {10, 1, 1, 1, 7, 3}), Dtype::f64, whole, 1e-12) == "");
    if (model.encoding().position_limit <= 100) continue;
    // Positions of one's own, with gaps.
    const Tensor positions = Tensor::empty({2, length}, Dtype::f64);
    for (int64_t row = 0; row < 2; ++row)
      for (int64_t i = 0; i < length; ++i) positions.view<double>()(row, i) = static_cast<double>(i * (row + 2)) + 0.5;
    const Tensor with_gaps = model.logits(ids, {.positions = positions}).value();
    CHECK(mismatch(in_pieces(model, ids, {4, 1, 18}, positions), Dtype::f64, with_gaps, 1e-12) == "");
  }
}

TEST_CASE("cache: a pass that fails leaves it as it was") {
  const NoGradient scope;
  const Transformer model(shape_of("rope"), 1);
  Random random{.seed = 6};
  const Tensor ids = random_ids({1, 9}, vocabulary, random);
  KeyValueCache cache;
  model.logits(ids.slice(1, 0, 5), {.cache = &cache});
  CHECK_THROWS_AS(model.logits(Tensor::full({1, 2}, vocabulary, Dtype::i64), {.cache = &cache}), ValueError);
  const Observer failing{.sites = {Site::residual},
                         .read = [](Place, const Tensor&) { fail<ValueError>("test", "now"); }};
  CHECK_THROWS_AS(model.logits(ids.slice(1, 0, 3), {.observer = &failing, .cache = &cache}), ValueError);
  CHECK(cache.length() == 5);
  const Tensor rest = model.logits(ids.slice(1, 5, 9), {.cache = &cache}).value();
  CHECK(mismatch(rest, Dtype::f64, model.logits(ids).value().slice(1, 5, 9), 1e-12) == "");
}

TEST_CASE("cache: after a first pass that failed another batch may begin") {
  const NoGradient scope;
  for (const char* name : {"rope", "learned"}) {
    const Transformer model(shape_of(name), 1);
    Random random{.seed = 6};
    const Tensor ids = random_ids({3, 4}, vocabulary, random);
    const Observer failing{.sites = {Site::residual},
                           .read = [](Place, const Tensor&) { fail<ValueError>("test", "now"); }};
    KeyValueCache cache;
    CHECK_THROWS_AS(model.logits(ids.slice(0, 0, 1), {.observer = &failing, .cache = &cache}), ValueError);
    CHECK(mismatch(model.logits(ids, {.cache = &cache}).value(), Dtype::f64, model.logits(ids).value(), 1e-12) == "");
  }
}

TEST_CASE("cache: belongs to the model that has read, and is not copied") {
  static_assert(!std::is_copy_constructible_v<KeyValueCache> && !std::is_move_constructible_v<KeyValueCache>);
  const NoGradient scope;
  const Transformer model(shape_of("rope"), 1), other(shape_of("rope"), 2);
  const Tensor ids = Tensor::zeros({2, 3}, Dtype::i32);
  KeyValueCache cache;
  model.logits(ids, {.cache = &cache});
  CHECK_THROWS_WITH_AS(other.logits(ids, {.cache = &cache}), doctest::Contains("3 tokens that another model has read"),
                       UsageError);
  CHECK_NOTHROW(model.logits(ids, {.cache = &cache}));
}

TEST_CASE("cache: what does not go together is refused") {
  const Transformer model(shape_of("rope"), 1);
  KeyValueCache cache;
  const Tensor ids = Tensor::zeros({2, 3}, Dtype::i32);
  CHECK_THROWS_WITH_AS(model.logits(ids, {.cache = &cache}), doctest::Contains("NoGradient"), GradientError);
  const NoGradient scope;
  CHECK_THROWS_WITH_AS(model.logits(ids, {.segments = ids, .cache = &cache}), doctest::Contains("segments"),
                       UsageError);
  model.logits(ids, {.cache = &cache});
  CHECK_THROWS_WITH_AS(model.logits(Tensor::zeros({1, 3}, Dtype::i32), {.cache = &cache}),
                       doctest::Contains("ids are [1, 3], the cache holds a batch of 2"), ShapeError);
  CHECK(cache.length() == 3);
}

TEST_CASE("cache: appending doubles the block") {
  GrowingTensor grown;
  const Tensor one = Tensor::of<double>({2, 1}, {1, 2});
  Tensor all;
  int moves = 0;
  for (int64_t used = 0; used < 100; ++used) {
    const Tensor before = all;
    all = grown.append(used, one, 1);
    moves += before.defined() && !all.shares_storage(before);
  }
  CHECK(all.shape() == Shape{2, 100});
  CHECK(moves <= 7);
  CHECK(all.select(0, 1).to_vector<double>() == std::vector<double>(100, 2));
}
