// Attention, fused and unfused: each against the reference, and against each other where both apply.
#include "core/ops/attention.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/gradcheck.hpp"
#include "autograd/ops.hpp"
#include "core/allocator.hpp"
#include "tests/ops/attention_samples.hpp"
#include "tests/support/comparison.hpp"

using namespace phasor;
using namespace phasor::attention_samples;

namespace {

Sample sample(std::function<Sizes(Extents)> sizes, std::vector<ArgumentAxis> free_axes = {},
              std::optional<std::vector<Extents>> empty = {}) {
  // The width of v is v's own affair.
  free_axes.push_back({2, 3});
  return {[=](Extents e, Random& random) { return qkv(sizes(e), random); }, std::move(free_axes), std::move(empty)};
}

// Grouped heads with q and v widths of their own; more keys than queries, along the length.
const std::vector<Sample> samples = {
    sample([](Extents e) { return Sizes{2, 4, 2, e.rows, e.rows, e.width, e.width + 1}; }),
    sample([](Extents e) { return Sizes{1, 2, 1, e.width, e.width + e.rows, 3, 2}; }, {{0, 1}, {0, 2}},
           {{{0, 5}, {3, 0}}}),
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

TEST_CASE("attention: op case" * doctest::test_suite("slow kernels")) {
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

TEST_CASE("attention_unfused: op case" * doctest::test_suite("slow kernels")) {
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
              .large = several_tiles,
              // Composed of ops that each round to bf16: tests/cuda/attention_unfused_test.cpp has room for that.
              .takes_bf16 = false});
  }
}

TEST_CASE("attention: log_sum_exp of every row" * doctest::test_suite("slow kernels")) {
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
              .large = several_tiles,
              .takes_bf16 = false});  // its log_sum_exp is in f32: tests/cuda/attention_test.cpp
  }
}

TEST_CASE("attention with a rotation: op cases" * doctest::test_suite("slow kernels")) {
  // One component fewer than there is room for.
  const std::vector<Sample> even = {
      sample([](Extents e) { return Sizes{2, 4, 2, e.rows, e.rows, 2 * e.width + 2, e.width + 1}; })};
  // Layouts and axes are rotary's affair, whose op cases have them all.
  for (const bool is_fused : {true, false})
    for (const auto& [layout, axes] : {std::pair(RotaryLayout::interleaved, TableAxes::heads_and_length),
                                       std::pair(RotaryLayout::half_split, TableAxes::batch)}) {
      const auto with_rotation = [layout = layout, axes = axes](const Tensor& q, const Tensor& k) {
        const AttentionRotation made = rotation_for(q.shape(), k.shape(), axes, layout, q.extent(3) / 2 - 1);
        return AttentionOptions{.rotation = converted(made, q.dtype(), q.device())};
      };
      check_op({.op = is_fused ? "attention" : "attention_unfused",
                .run =
                    [=](const Tensors& x) {
                      const AttentionOptions options = with_rotation(x[0], x[1]);
                      return is_fused ? attention(x[0], x[1], x[2], options).out
                                      : attention_unfused(x[0], x[1], x[2], options).value();
                    },
                .reference =
                    [=](const Tensors& x) {
                      return reference::attention(x[0], x[1], x[2], with_rotation(x[0], x[1]), {}).out;
                    },
                .differentiable =
                    [=](const std::vector<Var>& x) {
                      const AttentionOptions options = with_rotation(x[0].value(), x[1].value());
                      return is_fused ? attention(x[0], x[1], x[2], options)
                                      : attention_unfused(x[0], x[1], x[2], options);
                    },
                .samples = even,
                .empty = {{0, 5}, {3, 0}},
                .large = several_tiles,
                // Turned queries and keys are rounded to bf16: tests/cuda/attention_rotation_test.cpp.
                .takes_bf16 = false});
    }
}

TEST_CASE("attention with a rotation: gradients of the op are those of rotary before it, bit by bit") {
  Random random{.seed = 22};
  const Sizes n{2, 4, 2, 70, 131, 12, 9};
  const Tensors x = qkv(n, random);
  const AttentionRotation by =
      rotation_for(x[0].shape(), x[1].shape(), TableAxes::heads_and_length, RotaryLayout::interleaved, 5);
  const AttentionOptions options{.scale = 0.4, .rotation = by};
  CHECK(!attention_turns(x[0], x[1], x[2], options));
  const AttentionResult result = attention(x[0], x[1], x[2], options);
  const Tensor q = rotary(x[0], by.q_cos, by.q_sin, by.layout), k = rotary(x[1], by.k_cos, by.k_sin, by.layout);
  const AttentionResult expected = attention(q, k, x[2], {.scale = 0.4});
  CHECK(bit_mismatch(result.out, expected.out) == "");
  CHECK(bit_mismatch(result.log_sum_exp, expected.log_sum_exp) == "");
  const Tensor dout = random_tensor(result.out.shape(), random);
  const AttentionGradients got = attention_backward(x[0], x[1], x[2], options, {}, result, dout, {});
  const AttentionGradients before = attention_backward(q, k, x[2], {.scale = 0.4}, {}, expected, dout, {});
  CHECK(bit_mismatch(got.dq, rotary_transposed(before.dq, by.q_cos, by.q_sin, by.layout)) == "");
  CHECK(bit_mismatch(got.dk, rotary_transposed(before.dk, by.k_cos, by.k_sin, by.layout)) == "");
  CHECK(bit_mismatch(got.dv, before.dv) == "");
}

TEST_CASE("attention with a rotation: tables that do not fit are refused") {
  Random random{.seed = 22};
  const Tensors x = qkv({1, 2, 1, 3, 4, 6, 5}, random);
  const AttentionRotation good =
      rotation_for(x[0].shape(), x[1].shape(), TableAxes::length, RotaryLayout::half_split, 3);
  const auto message = [&](const std::function<void(AttentionRotation&)>& spoil) {
    AttentionRotation by = good;
    spoil(by);
    std::string said;
    try {
      attention(x[0], x[1], x[2], {.rotation = by});
    } catch (const Error& error) {
      said = error.what();
    }
    return said;
  };
  CHECK(message([](AttentionRotation&) {}) == "");
  const auto refused = [&](const std::function<void(AttentionRotation&)>& spoil, const std::string& says) {
    const std::string said = message(spoil);
    CHECK_MESSAGE(said.starts_with(says), said);
  };
  refused([](AttentionRotation& by) { by.q_sin = {}; }, "attention: q_sin is not defined");
  refused([](AttentionRotation& by) { by.k_sin = by.q_sin; },
          "attention: k_sin is [1, 1, 3, 3]; expected [1, 1, 4, 3] like k_cos");
  refused([](AttentionRotation& by) { by.q_cos = by.k_cos, by.q_sin = by.k_sin; },
          "attention: q_cos is [1, 1, 4, 3], q is [1, 2, 3, 6]: axis -2 (length) is 4; needs 1 or 3");
  refused([](AttentionRotation& by) { by.k_cos = by.k_cos.to(Dtype::f32), by.k_sin = by.k_sin.to(Dtype::f32); },
          "attention: k_cos is f32, k is f64");
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

TEST_CASE("attention: documents longer than a block, whose ids come back, fused and unfused alike") {
  const Sizes n{2, 2, 1, 650, 700, 8, 8};
  Random random{.seed = 6};
  const Tensors x = qkv(n, random);
  std::vector<int64_t> ids;
  for (int64_t batch = 0; batch < 2; ++batch)
    for (int64_t j = 0; j < 700; ++j) ids.push_back(batch == 0 ? 9 - j / 300 : j / 60 % 3);
  for (const Causal causal : {Causal::yes, Causal::no}) {
    const AttentionOptions options{.causal = causal, .segments = Tensor::of<int64_t>({2, 700}, ids)};
    const std::vector<Var> a = {Var::leaf(x[0]), Var::leaf(x[1]), Var::leaf(x[2])};
    const Var fused = attention(a[0], a[1], a[2], options), unfused = attention_unfused(a[0], a[1], a[2], options);
    CHECK(mismatch(fused.value(), Dtype::f64, unfused.value(), tolerance::f64(700)) == "");
    const Tensor cotangent = random_tensor(fused.shape(), random);
    const Gradients of_fused = backward(fused, cotangent), of_unfused = backward(unfused, cotangent);
    for (const Var& leaf : a) CHECK(mismatch(of_fused[leaf], Dtype::f64, of_unfused[leaf], tolerance::f64(2800)) == "");
  }
}

TEST_CASE("attention: blocks of keys that share no segment with a tile are not read") {
  // A tile has 64 rows, a block 256 keys: with documents of 256 every block is of one document.
  const int64_t length = 768;
  Random random{.seed = 6};
  Tensors x = qkv({1, 1, 1, length, length, 8, 8}, random);
  std::vector<int32_t> ids;
  for (int64_t j = 0; j < length; ++j) ids.push_back(static_cast<int32_t>(j / 256));
  const Tensor segments = Tensor::of<int32_t>({1, length}, ids), cotangent = random_tensor(x[0].shape(), random);
  const auto results = [&](Causal causal) {
    const std::vector<Var> a = {Var::leaf(x[0]), Var::leaf(x[1]), Var::leaf(x[2])};
    const Var out = attention(a[0], a[1], a[2], {.causal = causal, .segments = segments});
    const Gradients of = backward(out, cotangent);
    return Tensors{out.value(), of[a[0]], of[a[1]], of[a[2]]};
  };
  for (const Causal causal : {Causal::yes, Causal::no}) {
    const Tensors expected = results(causal);
    std::vector<Tensor> kept;
    for (Tensor& t : x) {
      kept.push_back(t.slice(2, 256, 512).clone());
      fill(t.slice(2, 256, 512), std::numeric_limits<double>::quiet_NaN());
    }
    const Tensors got = results(causal);
    for (size_t i = 0; i < got.size(); ++i) {
      CHECK(bit_mismatch(got[i].slice(2, 0, 256), expected[i].slice(2, 0, 256)) == "");
      CHECK(bit_mismatch(got[i].slice(2, 512, 768), expected[i].slice(2, 512, 768)) == "");
    }
    for (size_t i = 0; i < x.size(); ++i) copy_into(x[i].slice(2, 256, 512), kept[i]);
  }
}

TEST_CASE("attention: without queries the result is empty and every gradient 0; queries without keys are refused") {
  const Sizes empty_ones[] = {
      {0, 2, 1, 3, 4, 5, 6}, {2, 2, 1, 0, 4, 5, 6}, {2, 2, 1, 0, 0, 5, 6}, {2, 0, 1, 3, 4, 5, 6}};
  Random random{.seed = 6};
  for (const Sizes& n : empty_ones)
    for (const bool is_fused : {true, false})
      for (const Causal causal : {Causal::yes, Causal::no}) {
        CAPTURE(n.batch);
        CAPTURE(n.heads);
        CAPTURE(n.q_length);
        CAPTURE(n.k_length);
        CAPTURE(is_fused);
        const Tensors x = qkv(n, random);
        const std::vector<Var> a = {Var::leaf(x[0]), Var::leaf(x[1]), Var::leaf(x[2]),
                                    Var::leaf(random_tensor({1, n.k_length + 1}, random)),
                                    Var::leaf(random_tensor({n.k_length}, random))};
        const AttentionOptions options{.causal = causal};
        const bool is_causal = causal == Causal::yes;
        const ScoreBias bias{.by_distance = is_causal ? a[3] : Var(), .by_position = a[4]};
        const Var out =
            is_fused ? attention(a[0], a[1], a[2], options, bias) : attention_unfused(a[0], a[1], a[2], options, bias);
        CHECK(out.shape() == Shape{n.batch, n.heads, n.q_length, n.v_dim});
        const Gradients gradients = backward(out, Tensor::zeros(out.shape(), Dtype::f64));
        for (size_t i = 0; i < a.size(); ++i) {
          if (i == 3 && !is_causal) continue;
          CHECK(gradients[a[i]].shape() == a[i].shape());
          for (const double g : gradients[a[i]].to_vector<double>()) CHECK(g == 0);
        }
      }
  const Tensors x = qkv({1, 1, 1, 2, 0, 5, 6}, random);
  const AttentionOptions all_keys{.causal = Causal::no};
  CHECK_THROWS_WITH_AS(attention(x[0], x[1], x[2], all_keys), doctest::Contains("k_length is 0"), ValueError);
  CHECK_THROWS_WITH_AS(attention_unfused(x[0], x[1], x[2], all_keys), doctest::Contains("k_length is 0"), ValueError);
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
  CHECK_THROWS_WITH_AS(attention_backward(large, large, large, {}, {}, forward, large, {}),
                       doctest::Contains("forward is of other arguments"), ShapeError);
}
