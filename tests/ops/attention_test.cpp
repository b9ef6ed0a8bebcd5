// Attention, fused and unfused: each against the reference, and against each other where both apply.
#include "core/ops/attention.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "autograd/gradcheck.hpp"
#include "autograd/ops.hpp"
#include "core/allocator.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

// q [batch, heads, q_length, qk_dim], k [batch, kv_heads, k_length, qk_dim], v [batch, kv_heads, k_length, v_dim]
struct Sizes {
  int64_t batch, heads, kv_heads, q_length, k_length, qk_dim, v_dim;
};

Tensors qkv(const Sizes& n, Random& random) {
  return {random_tensor({n.batch, n.heads, n.q_length, n.qk_dim}, random),
          random_tensor({n.batch, n.kv_heads, n.k_length, n.qk_dim}, random),
          random_tensor({n.batch, n.kv_heads, n.k_length, n.v_dim}, random)};
}

Sample sample(std::function<Sizes(Extents)> sizes, std::vector<ArgumentAxis> free_axes = {}) {
  // The width of v is v's own affair.
  free_axes.push_back({2, 3});
  return {[=](Extents e, Random& random) { return qkv(sizes(e), random); }, std::move(free_axes)};
}

// Grouped heads with q and v widths of their own; more keys than queries, along the length.
const std::vector<Sample> samples = {
    sample([](Extents e) { return Sizes{2, 4, 2, e.rows, e.rows, e.width, e.width + 1}; }),
    sample([](Extents e) { return Sizes{1, 2, 1, e.width, e.width + e.rows, 3, 2}; }, {{0, 1}, {0, 2}}),
};
constexpr Extents several_tiles = {300, 40};

// Documents of 4, 5, 6, ... tokens; the second batch row starts with a longer one. The ids do not grow.
Tensor segments_for(int64_t batch, int64_t k_length) {
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < batch; ++row) {
    int64_t left = 4 + 3 * row, length = left;
    int32_t document = 7;
    for (int64_t j = 0; j < k_length; ++j) {
      ids.push_back(document);
      if (--left == 0) document = (document + 5) % 11, left = ++length;
    }
  }
  return Tensor::of<int32_t>({batch, k_length}, ids);
}

struct Variant {
  std::string name;
  std::function<AttentionOptions(const Tensors&)> options;
};

const std::vector<Variant> variants = {
    {"causal", [](const Tensors&) { return AttentionOptions{}; }},
    {"not causal, own scale", [](const Tensors&) { return AttentionOptions{.scale = 0.3, .causal = Causal::no}; }},
    {"segments by row",
     [](const Tensors& x) { return AttentionOptions{.segments = segments_for(x[0].extent(0), x[1].extent(2))}; }},
    {"segments for all rows, not causal",
     [](const Tensors& x) {
       return AttentionOptions{.causal = Causal::no, .segments = segments_for(1, x[1].extent(2))};
     }},
};

// The variants that see later keys allow more queries; the others do not change what may be enlarged.
std::vector<Sample> samples_of(const Variant& variant) {
  std::vector<Sample> result = samples;
  const AttentionOptions options =
      variant.options({Tensor::zeros({1, 1, 1, 1}, Dtype::f64), Tensor::zeros({1, 1, 1, 1}, Dtype::f64)});
  if (options.causal == Causal::no && !options.segments.defined()) {
    result[0].free_axes.push_back({0, 2});
  }
  return result;
}

Tensors tensors(const std::vector<Var>& x) {
  Tensors result;
  for (const Var& var : x) result.push_back(var.value());
  return result;
}

std::vector<Refusal> refusals(std::function<void(const Sizes&, const AttentionOptions&)> run) {
  const Tensor short_segments = Tensor::zeros({2, 3}, Dtype::i32), float_segments = Tensor::zeros({2, 4}, Dtype::f32);
  return {{[=] {
             run({2, 3, 2, 4, 4, 8, 8}, {});
           },
           "kv"},
          {[=] {
             run({2, 2, 2, 5, 4, 8, 8}, {});
           },
           "q_length is 5"},
          {[=] {
             run({2, 2, 2, 4, 4, 8, 8}, {.segments = short_segments});
           },
           "segments is [2, 3]"},
          {[=] {
             run({2, 2, 2, 4, 4, 8, 8}, {.segments = float_segments});
           },
           "f32"}};
}

}  // namespace

TEST_CASE("attention: op case") {
  for (const Variant& variant : variants) {
    CAPTURE(variant.name);
    const auto options = variant.options;
    check_op(
        {.op = "attention",
         .run = [=](const Tensors& x) { return attention(x[0], x[1], x[2], options(x)).out; },
         .reference = [=](const Tensors& x) { return reference::attention(x[0], x[1], x[2], options(x), {}).out; },
         .differentiable = [=](const std::vector<Var>& x) { return attention(x[0], x[1], x[2], options(tensors(x))); },
         .samples = samples_of(variant),
         .refuses = refusals([](const Sizes& n, const AttentionOptions& given) {
           Random random;
           const Tensors x = qkv(n, random);
           attention(x[0], x[1], x[2], given);
         }),
         .large = several_tiles});
  }
}

TEST_CASE("attention_unfused: op case") {
  for (const Variant& variant : variants) {
    CAPTURE(variant.name);
    const auto options = variant.options;
    check_op({.op = "attention_unfused",
              .run = [=](const Tensors& x) { return attention_unfused(x[0], x[1], x[2], options(x)).value(); },
              .reference = [=](const Tensors& x) { return reference::attention(x[0], x[1], x[2], options(x), {}).out; },
              .differentiable =
                  [=](const std::vector<Var>& x) { return attention_unfused(x[0], x[1], x[2], options(tensors(x))); },
              .samples = samples_of(variant),
              .refuses = refusals([](const Sizes& n, const AttentionOptions& given) {
                Random random;
                const Tensors x = qkv(n, random);
                attention_unfused(x[0], x[1], x[2], given);
              }),
              .empty = {},  // scores without keys: softmax has no distribution for them
              .large = several_tiles});
  }
}

TEST_CASE("attention: log_sum_exp of every row") {
  for (const Variant& variant : variants) {
    CAPTURE(variant.name);
    const auto options = variant.options;
    std::vector<Sample> without_enlargement = samples_of(variant);
    check_op({.op = "attention",
              .run = [=](const Tensors& x) { return attention(x[0], x[1], x[2], options(x)).log_sum_exp; },
              .reference =
                  [=](const Tensors& x) { return reference::attention(x[0], x[1], x[2], options(x), {}).log_sum_exp; },
              .differentiable = {},
              .samples = without_enlargement,
              .large = several_tiles});
  }
}

TEST_CASE("attention: fused and unfused agree beyond one tile, values and gradients") {
  for (const Variant& variant : variants) {
    for (const Sizes& n :
         {Sizes{1, 2, 1, 150, 150, 16, 24}, Sizes{2, 2, 2, 3, 200, 9, 8}, Sizes{1, 4, 2, 129, 257, 32, 32}}) {
      CAPTURE(variant.name);
      CAPTURE(n.k_length);
      Random random{.seed = 21};
      const Tensors x = qkv(n, random);
      const AttentionOptions options = variant.options(x);
      const std::vector<Var> a = {Var::leaf(x[0]), Var::leaf(x[1]), Var::leaf(x[2])};
      const Var fused = attention(a[0], a[1], a[2], options), unfused = attention_unfused(a[0], a[1], a[2], options);
      CHECK(mismatch(fused.value(), Dtype::f64, unfused.value(), tolerance::f64(n.k_length)) == "");
      const Tensor cotangent = random_tensor(fused.shape(), random);
      const Gradients of_fused = backward(fused, cotangent), of_unfused = backward(unfused, cotangent);
      for (const Var& leaf : a)
        CHECK(mismatch(of_fused[leaf], Dtype::f64, of_unfused[leaf], tolerance::f64(n.k_length * 4)) == "");
    }
  }
}

TEST_CASE("attention: by hand") {
  // One query channel; the second query sees two keys whose scores differ by log 3.
  const Tensor q = Tensor::full({1, 1, 2, 1}, 1, Dtype::f64);
  const Tensor k = Tensor::of<double>({1, 1, 2, 1}, {std::log(3.0), 0}), v = Tensor::of<double>({1, 1, 2, 1}, {4, 8});
  const AttentionResult result = attention(q, k, v);
  CHECK(mismatch(result.out, Dtype::f64, Tensor::of<double>({1, 1, 2, 1}, {4, 5}), tolerance::f64(2)) == "");
  CHECK(mismatch(result.log_sum_exp, Dtype::f64, Tensor::of<double>({1, 1, 2}, {std::log(3.0), std::log(4.0)}),
                 tolerance::f64(2)) == "");
}

TEST_CASE("attention: what comes later changes no bit of what comes before") {
  Random random{.seed = 5};
  const Tensors x = qkv({1, 2, 1, 140, 140, 8, 8}, random);
  const Tensor fused = attention(x[0], x[1], x[2]).out, unfused = attention_unfused(x[0], x[1], x[2]).value();
  for (const int64_t from : {1, 15, 16, 17, 63, 64, 65, 128, 139}) {
    CAPTURE(from);
    const Tensors y = {x[0].clone(), x[1].clone(), x[2].clone()};
    for (const Tensor& t : y) fill(t.slice(2, from, 140), 1e3);
    CHECK(bit_mismatch(attention(y[0], y[1], y[2]).out.slice(2, 0, from), fused.slice(2, 0, from)) == "");
    CHECK(bit_mismatch(attention_unfused(y[0], y[1], y[2]).value().slice(2, 0, from), unfused.slice(2, 0, from)) == "");
  }
}

TEST_CASE("attention: a segment is what it would be alone") {
  Random random{.seed = 5};
  const Tensors x = qkv({1, 2, 2, 90, 90, 8, 8}, random);
  std::vector<int64_t> ids(90, 1);
  std::fill(ids.begin() + 37, ids.end(), 4);
  const Tensor together = attention(x[0], x[1], x[2], {.segments = Tensor::of<int64_t>({1, 90}, ids)}).out;
  const auto part = [&](int64_t start, int64_t stop) {
    return attention(x[0].slice(2, start, stop), x[1].slice(2, start, stop), x[2].slice(2, start, stop)).out;
  };
  CHECK(mismatch(together.slice(2, 0, 37), Dtype::f64, part(0, 37), tolerance::f64(90)) == "");
  CHECK(mismatch(together.slice(2, 37, 90), Dtype::f64, part(37, 90), tolerance::f64(90)) == "");
}

TEST_CASE("attention: the last queries alone give the last rows, as in decoding") {
  Random random{.seed = 5};
  const Tensors x = qkv({2, 4, 2, 70, 70, 8, 8}, random);
  const Tensor all = attention(x[0], x[1], x[2]).out;
  for (const int64_t count : {1, 2, 40})
    CHECK(mismatch(attention(x[0].slice(2, 70 - count, 70), x[1], x[2]).out, Dtype::f64, all.slice(2, 70 - count, 70),
                   tolerance::f64(70)) == "");
}

TEST_CASE("attention: merging the heads of the result is a view") {
  Random random{.seed = 5};
  const Tensors x = qkv({2, 4, 2, 6, 6, 8, 8}, random);
  const Tensor out = attention(x[0], x[1], x[2]).out;
  CHECK(out.transpose(1, 2).is_contiguous());
}

TEST_CASE("attention: a bias by distance is the explicit bias, with its gradient") {
  const int64_t q_length = 5, k_length = 8;
  Random random{.seed = 12};
  for (const int64_t bias_heads : {1, 4}) {
    CAPTURE(bias_heads);
    Tensors x = qkv({2, 4, 2, q_length, k_length, 6, 5}, random);
    x.push_back(random_tensor({bias_heads, k_length + 2}, random));
    const auto by_distance = [](const std::vector<Var>& y) {
      return attention_unfused(y[0], y[1], y[2], {}, {.bias_by_distance = y[3]});
    };
    const Tensor explicit_bias = Tensor::zeros({1, bias_heads, q_length, k_length}, Dtype::f64);
    for (int64_t head = 0; head < bias_heads; ++head)
      for (int64_t q_pos = 0; q_pos < q_length; ++q_pos)
        for (int64_t k_pos = 0; k_pos <= q_pos + k_length - q_length; ++k_pos)
          explicit_bias.view<double>()(0, head, q_pos, k_pos) =
              x[3].view<double>()(head, q_pos + k_length - q_length - k_pos);
    const Tensor with_distance = by_distance(std::vector<Var>(x.begin(), x.end())).value();
    const Tensor with_explicit = attention_unfused(x[0], x[1], x[2], {}, {.bias = explicit_bias}).value();
    CHECK(bit_mismatch(with_distance, with_explicit) == "");
    CHECK(mismatch(with_distance, Dtype::f64, reference::attention(x[0], x[1], x[2], {}, x[3]).out,
                   tolerance::f64(8)) == "");
    CHECK(mismatch(with_distance, Dtype::f64, reference::attention(x[0], x[1], x[2], {}, explicit_bias).out,
                   tolerance::f64(8)) == "");
    const GradcheckResult result = gradcheck(by_distance, x);
    CHECK_MESSAGE(result.worst <= tolerance::gradient, result.message);
  }
}

TEST_CASE("attention_unfused: an explicit bias that broadcasts, and a transform of the scores, differentiate") {
  Random random{.seed = 13};
  Tensors x = qkv({2, 2, 1, 4, 6, 5, 5}, random);
  x.push_back(random_tensor({2, 1, 6}, random));
  const GradcheckResult result = gradcheck(
      [](const std::vector<Var>& y) {
        return attention_unfused(y[0], y[1], y[2], {},
                                 {.bias = y[3], .transform = [](const Var& s) { return tanh(s) * 3.0; }});
      },
      x);
  CHECK_MESSAGE(result.worst <= tolerance::gradient, result.message);
}

TEST_CASE("attention_unfused: refuses extras that do not fit") {
  Random random{.seed = 13};
  const Tensors x = qkv({2, 4, 2, 5, 8, 6, 6}, random);
  const auto run = [&](const AttentionExtras& extras, AttentionOptions options = {}) {
    attention_unfused(x[0], x[1], x[2], options, extras);
  };
  const auto zeros = [](const Shape& shape) { return Var(Tensor::zeros(shape, Dtype::f64)); };
  CHECK_THROWS_AS(run({.bias_by_distance = zeros({4, 7})}), ShapeError);
  CHECK_THROWS_AS(run({.bias_by_distance = zeros({3, 8})}), ShapeError);
  CHECK_THROWS_AS(run({.bias = zeros({4, 8, 8})}), ShapeError);
  CHECK_THROWS_AS(run({.bias_by_distance = zeros({4, 8})}, {.causal = Causal::no}), ValueError);
  CHECK_THROWS_AS(run({.transform = [](const Var& s) { return slice(s, 3, 0, 2); }}), ShapeError);
}

TEST_CASE("attention: memory grows with the length, not with its square") {
  const int64_t heads = 2, length = 4096, dim = 32;
  Random random{.seed = 1};
  const Tensor q = normal({1, heads, length, dim}, 0, 1, Dtype::f32, random);
  const auto peak_of = [&](int64_t tokens) {
    const Tensor part = q.slice(2, 0, tokens);
    reset_peak_memory();
    const int64_t before = memory_counts().bytes_in_use;
    const AttentionResult result = attention(part, part, part);
    return memory_counts().peak_bytes - before;
  };
  const int64_t score_bytes = heads * length * length * 4, peak = peak_of(length);
  CHECK(peak < score_bytes / 16);
  CHECK(peak < 3 * peak_of(length / 2));
}

TEST_CASE("attention: a forward of other arguments is refused by the backward") {
  Random random{.seed = 1};
  const Tensor small = random_tensor({1, 1, 4, 8}, random), large = random_tensor({1, 1, 40, 8}, random);
  const AttentionResult forward = attention(small, small, small);
  CHECK_THROWS_WITH_AS(attention_backward(large, large, large, {}, forward, large),
                       doctest::Contains("forward is of other arguments"), ShapeError);
}
