// Attention with biases: the fused path against the reference and the unfused one, values and gradients.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/gradcheck.hpp"
#include "autograd/ops.hpp"
#include "core/allocator.hpp"
#include "core/ops/attention.hpp"
#include "core/ops/binary.hpp"
#include "tests/ops/attention_samples.hpp"
#include "tests/support/comparison.hpp"

using namespace phasor;
using namespace phasor::attention_samples;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// Which biases, of what shape. Arguments are q, k, v and those that are there, by distance first.
struct BiasVariant {
  std::string name;
  std::function<Shape(const Sizes&)> by_distance, by_position;
  std::function<AttentionOptions(const Tensors&)> options = [](const Tensors&) { return AttentionOptions{}; };
};

AttentionOptions with_segments(const Tensors& x) {
  return {.scale = 0.4, .segments = segments_for(x[0].extent(0), x[1].extent(2))};
}

const std::vector<BiasVariant> bias_variants = {
    {"by distance and head",
     [](const Sizes& n) {
       return Shape{n.heads, n.k_length};
     },
     {}},
    {"by distance, shared, longer than needed",
     [](const Sizes& n) {
       return Shape{1, n.k_length + 3};
     },
     {}},
    {"by position, full",
     {},
     [](const Sizes& n) {
       return Shape{n.batch, n.heads, n.q_length, n.k_length};
     }},
    {"by position, of keys",
     {},
     [](const Sizes& n) { return Shape{n.k_length}; },
     [](const Tensors&) { return AttentionOptions{.causal = Causal::no}; }},
    {"by position, of heads and keys",
     {},
     [](const Sizes& n) {
       return Shape{n.heads, 1, n.k_length};
     }},
    {"by position, of batch and pairs; segments, not causal",
     {},
     [](const Sizes& n) {
       return Shape{n.batch, 1, n.q_length, n.k_length};
     },
     [](const Tensors& x) {
       return AttentionOptions{.causal = Causal::no, .segments = segments_for(1, x[1].extent(2))};
     }},
    {"both; segments, own scale",
     [](const Sizes& n) {
       return Shape{n.heads, n.k_length + 1};
     },
     [](const Sizes& n) {
       return Shape{n.q_length, n.k_length};
     },
     with_segments},
};

Tensors arguments(const BiasVariant& variant, const Sizes& n, Random& random) {
  Tensors x = qkv(n, random);
  if (variant.by_distance) x.push_back(random_tensor(variant.by_distance(n), random));
  if (variant.by_position) x.push_back(random_tensor(variant.by_position(n), random));
  return x;
}

// The biases among the arguments: AttentionBias of Tensors, ScoreBias of Vars.
template <class Biases, class X>
Biases biases(const BiasVariant& variant, const std::vector<X>& x) {
  Biases result;
  if (variant.by_distance) result.by_distance = x[3];
  if (variant.by_position) result.by_position = x.back();
  return result;
}

Tensors values(const std::vector<Var>& x) {
  Tensors result;
  for (const Var& var : x) result.push_back(var.value());
  return result;
}

std::vector<Var> leaves(const Tensors& x) {
  std::vector<Var> result;
  for (const Tensor& tensor : x) result.push_back(Var::leaf(tensor));
  return result;
}

Tensors in_dtype(const Tensors& x, Dtype dtype) {
  Tensors result;
  for (const Tensor& tensor : x) result.push_back(tensor.to(dtype));
  return result;
}

using Run = std::function<Var(const BiasVariant&, const std::vector<Var>&)>;

Var fused(const BiasVariant& variant, const std::vector<Var>& x) {
  return attention(x[0], x[1], x[2], variant.options(values(x)), biases<ScoreBias>(variant, x));
}

Var unfused(const BiasVariant& variant, const std::vector<Var>& x) {
  return attention_unfused(x[0], x[1], x[2], variant.options(values(x)), biases<ScoreBias>(variant, x));
}

// Grouped heads with widths of their own, and decoding. There is always a key more than queries, so that another query
// fits, unless a bias knows the number of queries.
std::vector<Sample> samples_of(const BiasVariant& variant) {
  const auto sample = [&variant](std::function<Sizes(Extents)> sizes, bool any_heads) {
    const Sizes different{7, 5, 5, 11, 13, 2, 2};
    const auto is_known = [&](int64_t extent) {
      for (const auto& shape : {variant.by_distance, variant.by_position})
        for (int axis = 0; shape && axis < shape(different).rank(); ++axis)
          if (shape(different)[axis] == extent) return true;
      return false;
    };
    std::vector<ArgumentAxis> free = {{2, 3}};
    if (variant.by_distance) free.push_back({3, 1});
    if (any_heads && !is_known(different.heads)) free.push_back({0, 1});
    if (!is_known(different.q_length)) free.push_back({0, 2});
    return Sample{[=](Extents e, Random& random) { return arguments(variant, sizes(e), random); }, std::move(free)};
  };
  std::vector<Sample> result = {
      sample([](Extents e) { return Sizes{2, 4, 2, e.rows, e.rows + 1, e.width, e.width + 1}; }, false),
      sample([](Extents e) { return Sizes{1, 3, 1, e.width, e.width + e.rows, 3, 2}; }, true)};
  result[1].empty = {{{0, 5}, {3, 0}}};  // without queries
  return result;
}

void refuse(std::function<void(const AttentionBias&, const AttentionOptions&)> run, std::vector<Refusal>& refusals) {
  const auto zeros = [](const Shape& shape, Dtype dtype = Dtype::f64) { return Tensor::zeros(shape, dtype); };
  const auto add = [&](const AttentionBias& bias, const AttentionOptions& options, const std::string& says) {
    refusals.push_back({[=] { run(bias, options); }, says});
  };
  add({.by_distance = zeros({4, 7})}, {}, "axis 1 (max_distance) is 7; needs at least k_length 8");
  add({.by_distance = zeros({3, 8})}, {}, "by_distance is [3, 8], q is [2, 4, 5, 6]");
  add({.by_distance = zeros({8})}, {}, "by_distance is [8]");
  add({.by_distance = zeros({4, 8}, Dtype::f32)}, {}, "f32");
  add({.by_distance = zeros({4, 8})}, {.causal = Causal::no}, "by_distance needs causal attention");
  add({.by_position = zeros({4, 8, 8})}, {}, "must broadcast to the scores [2, 4, 5, 8]: axis 1 is 8");
  add({.by_position = zeros({1, 2, 4, 5, 8})}, {}, "by_position is [1, 2, 4, 5, 8]");
  add({.by_position = zeros({5, 8}, Dtype::f32)}, {}, "f32");
}

const Sizes beyond_one_tile[] = {
    {1, 2, 1, 150, 150, 16, 24}, {2, 2, 2, 3, 200, 9, 8}, {1, 4, 2, 129, 257, 32, 32}, {1, 2, 1, 70, 600, 8, 8}};

}  // namespace

TEST_CASE("attention: op case, with biases" * doctest::test_suite("slow kernels")) {
  for (const BiasVariant& variant : bias_variants) {
    CAPTURE(variant.name);
    std::vector<Refusal> refusals;
    refuse(
        [](const AttentionBias& bias, const AttentionOptions& options) {
          Random random;
          const Tensors x = qkv({2, 4, 2, 5, 8, 6, 6}, random);
          attention(x[0], x[1], x[2], options, bias);
        },
        refusals);
    check_op(
        {.op = "attention",
         .run =
             [=](const Tensors& x) {
               return attention(x[0], x[1], x[2], variant.options(x), biases<AttentionBias>(variant, x)).out;
             },
         .reference =
             [=](const Tensors& x) {
               return reference::attention(x[0], x[1], x[2], variant.options(x), biases<AttentionBias>(variant, x)).out;
             },
         .differentiable = [=](const std::vector<Var>& x) { return fused(variant, x); },
         .samples = samples_of(variant),
         .refuses = refusals,
         .large = several_tiles});
  }
}

TEST_CASE("attention_unfused: op case, with biases" * doctest::test_suite("slow kernels")) {
  for (const BiasVariant& variant : bias_variants) {
    CAPTURE(variant.name);
    std::vector<Refusal> refusals;
    refuse(
        [](const AttentionBias& bias, const AttentionOptions& options) {
          Random random;
          const Tensors x = qkv({2, 4, 2, 5, 8, 6, 6}, random);
          attention_unfused(x[0], x[1], x[2], options, {bias.by_distance, bias.by_position});
        },
        refusals);
    check_op(
        {.op = "attention_unfused",
         .run =
             [=](const Tensors& x) {
               return unfused(variant, {x.begin(), x.end()}).value();
             },
         .reference =
             [=](const Tensors& x) {
               return reference::attention(x[0], x[1], x[2], variant.options(x), biases<AttentionBias>(variant, x)).out;
             },
         .differentiable = [=](const std::vector<Var>& x) { return unfused(variant, x); },
         .samples = samples_of(variant),
         .refuses = refusals,
         .large = several_tiles,
         .takes_bf16 = false});  // as without biases: each of its ops rounds
  }
}

TEST_CASE("attention: with biases, fused and unfused agree beyond one tile, values and all gradients") {
  for (const BiasVariant& variant : bias_variants)
    for (const Sizes& n : beyond_one_tile) {
      CAPTURE(variant.name);
      CAPTURE(n.k_length);
      Random random{.seed = 31};
      const Tensors x = arguments(variant, n, random);
      const std::vector<Var> exact = leaves(x);
      const Var expected = unfused(variant, exact);
      const Tensor cotangent = random_tensor(expected.shape(), random);
      const Gradients of_expected = backward(expected, cotangent);
      for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
        CAPTURE(dtype);
        const std::vector<Var> a = leaves(in_dtype(x, dtype));
        const Var got = fused(variant, a);
        const int64_t terms = n.k_length * 4;
        CHECK(mismatch(got.value(), dtype, expected.value(),
                       dtype == Dtype::f64 ? tolerance::f64(terms) : tolerance::f32_gradient(terms)) == "");
        const Gradients of_got = backward(got, cotangent.to(dtype));
        for (size_t i = 0; i < a.size(); ++i) {
          CAPTURE(i);
          CHECK(mismatch(of_got[a[i]], dtype, of_expected[exact[i]],
                         dtype == Dtype::f64 ? tolerance::f64(terms) : tolerance::f32_gradient(terms)) == "");
        }
      }
    }
}

TEST_CASE("attention: a bias of logarithms weighs the values, by hand") {
  // q is 0: the pattern is the bias alone. Weights 1, 2, 4 at distances 0, 1, 2, and key 0 counts thrice.
  const Tensor q = Tensor::zeros({1, 1, 3, 1}, Dtype::f64), v = Tensor::of<double>({1, 1, 3, 1}, {6, 12, 30});
  const Tensor by_distance = Tensor::of<double>({1, 3}, {0, std::log(2.0), std::log(4.0)});
  const Tensor by_position = Tensor::of<double>({3}, {std::log(3.0), 0, 0});
  const AttentionBias bias{by_distance, by_position};
  const std::vector<double> weights = {3, 3 * 2 + 1, 3 * 4 + 2 + 1};
  const Tensor expected =
      Tensor::of<double>({1, 1, 3, 1}, {6, (6 * 6 + 12) / weights[1], (12 * 6 + 2 * 12 + 30) / weights[2]});
  const Tensor log_sum_exp =
      Tensor::of<double>({1, 1, 3}, {std::log(weights[0]), std::log(weights[1]), std::log(weights[2])});
  for (const AttentionResult& result : {attention(q, q, v, {}, bias), reference::attention(q, q, v, {}, bias)}) {
    CHECK(mismatch(result.out, Dtype::f64, expected, tolerance::f64(3)) == "");
    CHECK(mismatch(result.log_sum_exp, Dtype::f64, log_sum_exp, tolerance::f64(3)) == "");
  }
  CHECK(mismatch(attention_unfused(q, q, v, {}, {by_distance, by_position}).value(), Dtype::f64, expected,
                 tolerance::f64(3)) == "");
}

TEST_CASE("attention: what is hidden stays hidden, whatever the bias says there") {
  const Sizes n{1, 2, 1, 90, 150, 8, 8};
  Random random{.seed = 5};
  Tensors x = qkv(n, random);
  const AttentionOptions options{.segments = segments_for(1, n.k_length)};
  const Tensor visible = visible_pairs(n.q_length, n.k_length, options);
  const Tensor finite = random_tensor({1, 1, n.q_length, n.k_length}, random);
  const Tensor cotangent = random_tensor({n.batch, n.heads, n.q_length, n.v_dim}, random);
  const auto results = [&](const Tensor& bias, bool is_fused) {
    std::vector<Var> a = leaves({x[0], x[1], x[2], bias});
    const Var out = is_fused ? attention(a[0], a[1], a[2], options, {.by_position = a[3]})
                             : attention_unfused(a[0], a[1], a[2], options, {.by_position = a[3]});
    const Gradients gradients = backward(out, cotangent);
    return Tensors{out.value(), gradients[a[0]], gradients[a[1]], gradients[a[2]], gradients[a[3]]};
  };
  for (const double rubbish : {infinity, -infinity, std::numeric_limits<double>::quiet_NaN(), 1e308}) {
    const Tensor bias = finite.clone();
    for (int64_t i = 0; i < bias.size(); ++i)
      if (!visible.data<bool>()[i]) bias.data<double>()[i] = rubbish;
    for (const bool is_fused : {true, false}) {
      CAPTURE(rubbish);
      CAPTURE(is_fused);
      const Tensors got = results(bias, is_fused), expected = results(finite, is_fused);
      for (size_t i = 0; i < got.size(); ++i) CHECK(bit_mismatch(got[i], expected[i]) == "");
      for (int64_t i = 0; i < bias.size(); ++i)
        if (!visible.data<bool>()[i]) REQUIRE(got[4].data<double>()[i] == 0);
    }
  }
}

TEST_CASE("attention: a bias of -inf hides keys, and a row that sees none is the sum of nothing") {
  // Key 5 is hidden from all; query 40 sees no key; queries 100 and later see none of the first block of keys.
  const Sizes n{2, 2, 1, 130, 300, 8, 8};
  Random random{.seed = 6};
  const Tensors x = qkv(n, random);
  const Tensor bias = Tensor::zeros({n.q_length, n.k_length}, Dtype::f64);
  fill(bias.slice(1, 5, 6), -infinity);
  fill(bias.slice(0, 40, 41), -infinity);
  fill(bias.slice(0, 100, 130).slice(1, 0, 256), -infinity);
  const Tensor cotangent = random_tensor({n.batch, n.heads, n.q_length, n.v_dim}, random);
  std::vector<Tensors> results;
  for (const bool is_fused : {true, false}) {
    const std::vector<Var> a = leaves({x[0], x[1], x[2], bias});
    const Var out = is_fused ? attention(a[0], a[1], a[2], {}, {.by_position = a[3]})
                             : attention_unfused(a[0], a[1], a[2], {}, {.by_position = a[3]});
    const Gradients of = backward(out, cotangent);
    results.push_back({out.value(), of[a[0]], of[a[1]], of[a[2]], of[a[3]]});
    for (const double y : out.value().slice(2, 40, 41).to_vector<double>()) CHECK(y == 0);
    for (const double g : of[a[0]].slice(2, 40, 41).to_vector<double>()) CHECK(g == 0);
    for (const double g : of[a[3]].slice(0, 40, 41).to_vector<double>()) CHECK(g == 0);
    for (const double g : of[a[1]].slice(2, 5, 6).to_vector<double>()) CHECK(g == 0);
    for (const double g : of[a[2]].slice(2, 5, 6).to_vector<double>()) CHECK(g == 0);
  }
  for (size_t i = 0; i < results[0].size(); ++i)
    CHECK(mismatch(results[0][i], Dtype::f64, results[1][i], tolerance::f64(n.k_length * 4)) == "");
  const AttentionResult forward = attention(x[0], x[1], x[2], {}, {.by_position = bias});
  const AttentionResult expected = reference::attention(x[0], x[1], x[2], {}, {.by_position = bias});
  CHECK(mismatch(forward.out, Dtype::f64, expected.out, tolerance::f64(n.k_length)) == "");
  CHECK(mismatch(forward.log_sum_exp, Dtype::f64, expected.log_sum_exp, tolerance::f64(n.k_length)) == "");
  CHECK(forward.log_sum_exp.view<double>()(1, 1, 40) == -infinity);
}

TEST_CASE("attention: a large constant in the biases moves log_sum_exp and nothing else") {
  // Beyond the range of e^s, also for the rows that fill up the last vector of a tile and have no log_sum_exp.
  const Sizes n{1, 2, 1, 90, 100, 8, 8};
  Random random{.seed = 7};
  Tensors x = qkv(n, random);
  x.push_back(random_tensor({1, n.k_length}, random));
  x.push_back(random_tensor({n.q_length, n.k_length}, random));
  const Tensor cotangent = random_tensor({n.batch, n.heads, n.q_length, n.v_dim}, random);
  std::vector<Tensors> results;
  for (const double constant : {0.0, 1024.0}) {
    Tensors moved = x;
    for (const int bias : {3, 4}) moved[bias] = add(x[bias], Tensor::scalar(constant, Dtype::f64));
    const std::vector<Var> a = leaves(moved);
    const AttentionOutputs y =
        attention_with_log_sum_exp(a[0], a[1], a[2], {}, {.by_distance = a[3], .by_position = a[4]});
    const Gradients of = backward(y.out, cotangent);
    results.push_back({y.out.value(), of[a[0]], of[a[1]], of[a[2]], of[a[3]], of[a[4]],
                       add(y.log_sum_exp.value(), Tensor::scalar(-2 * constant, Dtype::f64))});
  }
  // Scores of 2048 are rounded 2^11 times as coarsely.
  for (size_t i = 0; i < results[0].size(); ++i)
    CHECK(mismatch(results[1][i], Dtype::f64, results[0][i], 0x1p11 * tolerance::f64(n.k_length)) == "");
}

TEST_CASE("attention: a NaN in a bias reaches every row that it touches") {
  Random random{.seed = 6};
  const Tensors x = qkv({1, 1, 1, 20, 20, 8, 8}, random);
  const Tensor bias = Tensor::zeros({20, 20}, Dtype::f64);
  bias.view<double>()(12, 3) = std::numeric_limits<double>::quiet_NaN();
  const Tensor out = attention(x[0], x[1], x[2], {}, {.by_position = bias}).out;
  for (int64_t row = 0; row < 20; ++row) CHECK(std::isnan(out.view<double>()(0, 0, row, 0)) == (row == 12));
}

TEST_CASE("attention: with biases, what comes later changes no bit of what comes before") {
  const Sizes n{1, 2, 1, 140, 140, 8, 8};
  Random random{.seed = 5};
  const Tensors x = qkv(n, random);
  const Tensor by_distance = random_tensor({2, 140}, random), by_position = random_tensor({140, 140}, random);
  const Tensor all = attention(x[0], x[1], x[2], {}, {by_distance, by_position}).out;
  for (const int64_t from : {1, 15, 16, 17, 63, 64, 65, 128, 139}) {
    CAPTURE(from);
    const Tensors y = {x[0].clone(), x[1].clone(), x[2].clone()};
    for (const Tensor& t : y) fill(t.slice(2, from, 140), 1e3);
    const Tensor far_bias = by_distance.clone(), later_bias = by_position.clone();
    fill(far_bias.slice(1, from, 140), 77);
    fill(later_bias.slice(0, from, 140), -77);
    fill(later_bias.slice(1, from, 140), 77);
    const Tensor changed = attention(y[0], y[1], y[2], {}, {far_bias, later_bias}).out;
    CHECK(bit_mismatch(changed.slice(2, 0, from), all.slice(2, 0, from)) == "");
  }
}

TEST_CASE("attention: memory with a bias grows with the length, not with its square") {
  const int64_t heads = 2, length = 4096;
  Random random{.seed = 1};
  const Tensor q = normal({1, heads, length, 32}, 0, 1, Dtype::f32, random);
  const Tensor by_distance = normal({heads, length}, 0, 1, Dtype::f32, random);
  const Tensor by_key = normal({length}, 0, 1, Dtype::f32, random);
  const auto peak_of = [&](int64_t tokens) {
    const Var part = Var::leaf(q.slice(2, 0, tokens)), bias = Var::leaf(by_distance);
    reset_peak_memory();
    const int64_t before = memory_counts().bytes_in_use;
    // The bias by position is a constant: nobody asks for its gradient, whose memory would grow with the square.
    const Var out = attention(part, part, part, {}, {.by_distance = bias, .by_position = by_key.slice(0, 0, tokens)});
    backward(out, out.value());
    return memory_counts().peak_bytes - before;
  };
  const int64_t score_bytes = heads * length * length * 4, peak = peak_of(length);
  CHECK(peak < score_bytes / 4);
  CHECK(peak < 3 * peak_of(length / 2));
}
