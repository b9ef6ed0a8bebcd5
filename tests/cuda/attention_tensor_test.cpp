// Attention in bf16 on the GPU with widths that the tensor cores take: lengths around the tiles, every kind of bias,
// values and gradients against f64 on the CPU, of the same rounded numbers.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/device.hpp"
#include "core/ops/attention.hpp"
#include "tests/ops/attention_samples.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_checks.hpp"

using namespace phasor;
using namespace phasor::attention_samples;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

struct Case {
  std::string name;
  Sizes sizes;
  AttentionOptions options = {};
  AttentionBias bias = {};  // f64
  bool has_dout = true, has_dlog_sum_exp = true;
  Dtype bias_dtype = Dtype::bf16;
};

// f64, but numbers of bf16.
Tensor rounded(const Tensor& x) { return x.defined() ? x.to(Dtype::bf16).to(Dtype::f64) : x; }
Tensor on_gpu(const Tensor& x, Dtype dtype = Dtype::bf16) { return x.defined() ? x.to(dtype).to(Device::cuda) : x; }

AttentionOptions on_gpu(AttentionOptions options) {
  if (options.segments.defined()) options.segments = options.segments.to(Device::cuda);
  return options;
}

struct Results {
  AttentionResult forward;
  AttentionGradients gradients;
};

Tensors listed(const Results& r) {
  return {r.forward.out,
          r.forward.log_sum_exp,
          r.gradients.dq,
          r.gradients.dk,
          r.gradients.dv,
          r.gradients.dbias.by_distance,
          r.gradients.dbias.by_position};
}

Results on_gpu(const Case& c, const Tensors& x, const Tensor& dout, const Tensor& dlog_sum_exp) {
  const Tensor q = heads_inside(on_gpu(x[0])), k = heads_inside(on_gpu(x[1])), v = heads_inside(on_gpu(x[2]));
  const AttentionBias bias{on_gpu(c.bias.by_distance, c.bias_dtype), on_gpu(c.bias.by_position, c.bias_dtype)};
  Results r;
  r.forward = attention(q, k, v, on_gpu(c.options), bias);
  const Dtype statistics = r.forward.log_sum_exp.dtype();
  r.gradients = attention_backward(q, k, v, on_gpu(c.options), bias, r.forward, c.has_dout ? on_gpu(dout) : Tensor(),
                                   c.has_dlog_sum_exp ? dlog_sum_exp.to(statistics).to(Device::cuda) : Tensor());
  return r;
}

void check(const Case& c, bool in_every_order = false) {
  CAPTURE(c.name);
  Random random{.seed = 77};
  Tensors x = qkv(c.sizes, random);
  for (Tensor& t : x) t = rounded(t);
  Case exact = c;
  if (c.bias_dtype == Dtype::bf16) exact.bias = {rounded(c.bias.by_distance), rounded(c.bias.by_position)};
  const Tensor dout = rounded(random_tensor({c.sizes.batch, c.sizes.heads, c.sizes.q_length, c.sizes.v_dim}, random));
  const Tensor dlog_sum_exp = rounded(random_tensor({c.sizes.batch, c.sizes.heads, c.sizes.q_length}, random));

  const AttentionResult expected = attention(x[0], x[1], x[2], c.options, exact.bias);
  const AttentionGradients of_expected =
      attention_backward(x[0], x[1], x[2], c.options, exact.bias, expected, c.has_dout ? dout : Tensor(),
                         c.has_dlog_sum_exp ? dlog_sum_exp : Tensor());
  const Results got = on_gpu(c, x, dout, dlog_sum_exp);

  CHECK(mismatch(got.forward.out, Dtype::bf16, expected.out, tolerance::cuda_bf16(0x1p-9)) == "");
  CHECK(mismatch(got.forward.log_sum_exp, got.forward.log_sum_exp.dtype(), expected.log_sum_exp,
                 tolerance::cuda_bf16(0x1p-9)) == "");
  const Tensors gradients = {got.gradients.dq, got.gradients.dk, got.gradients.dv, got.gradients.dbias.by_distance,
                             got.gradients.dbias.by_position};
  const Tensors right = {of_expected.dq, of_expected.dk, of_expected.dv, of_expected.dbias.by_distance,
                         of_expected.dbias.by_position};
  double largest = 0;
  for (const Tensor& t : right)
    if (t.defined()) largest = std::max(largest, largest_of(t));
  for (size_t i = 0; i < right.size(); ++i) {
    CAPTURE(i);
    REQUIRE(gradients[i].defined() == right[i].defined());
    if (!right[i].defined()) continue;
    // As op cases measure: rounding against the largest of all gradients, but never more than 4 times as coarse.
    const double own = largest_of(right[i]);
    const double limit = tolerance::cuda_bf16_gradient * (own > 0 ? std::clamp(largest / own, 1.0, 4.0) : 1.0);
    CHECK(mismatch(gradients[i], i < 3 ? Dtype::bf16 : c.bias_dtype, right[i], limit) == "");
  }
  if (!in_every_order || thread_orders.empty()) return;
  const Tensors first = listed(got);
  for (const auto& order : thread_orders) {
    order();
    const Tensors again = listed(on_gpu(c, x, dout, dlog_sum_exp));
    for (size_t i = 0; i < first.size(); ++i)
      if (first[i].defined()) CHECK(bit_mismatch(again[i], first[i]) == "");
  }
  thread_orders[0]();
}

Tensor documents(int64_t batch, int64_t k_length, int64_t length) {
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < batch; ++row)
    for (int64_t j = 0; j < k_length; ++j) ids.push_back(static_cast<int32_t>((j + 17 * row) / length % 5));
  return Tensor::of<int32_t>({batch, k_length}, ids);
}

}  // namespace

TEST_CASE("cuda: attention_tensor: lengths around the tiles" * doctest::test_suite("slow kernels")) {
  for (const int64_t width : {32, 64, 128})
    for (const int64_t length : {31, 64, 65, 128, 129, 200})
      check({"causal, " + std::to_string(width) + " wide, length " + std::to_string(length),
             {1, 2, 1, length, length, width, width}});
  check({"causal, three blocks", {1, 1, 1, 333, 333, 64, 64}}, true);
  check({"not causal, three blocks", {1, 2, 2, 300, 270, 64, 64}, {.causal = Causal::no}}, true);
  check({"causal, wide", {1, 1, 1, 260, 260, 128, 128}}, true);
}

TEST_CASE("cuda: attention_tensor: fewer queries than keys; own scale and grouped heads") {
  check({"1 query", {1, 2, 1, 1, 150, 64, 64}});
  check({"later queries", {2, 4, 2, 70, 203, 64, 64}});
  check({"later queries, wide", {1, 3, 1, 140, 203, 128, 128}, {.scale = 0.3}});
  // Key indices of the first queries that end a tile of keys, and that stand just before one ends.
  for (const int64_t ahead : {30, 31, 62, 63})
    check({"ahead by " + std::to_string(ahead), {1, 1, 1, 70, 70 + ahead, 32, 32}});
  check({"later queries, narrow", {1, 2, 1, 140, 203, 32, 32}, {.scale = 0.01, .causal = Causal::no}});
}

TEST_CASE("cuda: attention_tensor: widths of their own and such that fill no tile") {
  check({"64, 32", {1, 2, 1, 100, 140, 64, 32}});
  check({"128, 64", {1, 2, 1, 100, 140, 128, 64}});
  check({"32, 128", {1, 2, 1, 100, 140, 32, 128}});
  check({"24, 40", {1, 2, 1, 100, 140, 24, 40}});
  check({"80, 96", {1, 2, 1, 100, 140, 80, 96}});
  check({"8, 8", {1, 2, 1, 100, 140, 8, 8}});
}

TEST_CASE("cuda: attention_tensor: segments" * doctest::test_suite("slow kernels")) {
  for (const Causal causal : {Causal::yes, Causal::no}) {
    check({"short documents", {2, 2, 1, 200, 200, 64, 64}, {.causal = causal, .segments = segments_for(1, 200)}});
    check({"documents by row", {2, 2, 1, 190, 300, 64, 64}, {.causal = causal, .segments = documents(2, 300, 77)}});
    check({"long documents", {1, 1, 1, 520, 520, 128, 128}, {.causal = causal, .segments = documents(1, 520, 130)}});
  }
}

TEST_CASE("cuda: attention_tensor: biases" * doctest::test_suite("slow kernels")) {
  for (const int64_t width : {32, 64, 128}) {
    check({"by distance and head", {1, 2, 1, 200, 200, width, width}, {}, {.by_distance = normal_bias({2, 200}, 3)}},
          width == 64);
    check({"by distance, shared", {2, 2, 2, 150, 260, width, width}, {}, {.by_distance = normal_bias({1, 300}, 3)}});
    check({"by position, full",
           {1, 2, 1, 140, 151, width, width},
           {.causal = Causal::no},
           {.by_position = normal_bias({1, 2, 140, 151}, 3)}},
          width == 64);
    check({"both, segments",
           {2, 2, 2, 150, 260, width, width},
           {.segments = documents(2, 260, 90)},
           {normal_bias({2, 260}, 3), normal_bias({150, 260}, 4)}});
  }
  check({"f32 beside bf16",
         {2, 2, 1, 150, 201, 64, 64},
         {},
         {normal_bias({2, 201}, 3), normal_bias({2, 1, 1, 201}, 4)},
         true,
         true,
         Dtype::f32});
  check({"by distance, many tiles", {1, 1, 1, 700, 700, 32, 32}, {}, {.by_distance = normal_bias({1, 700}, 3)}});
}

TEST_CASE("cuda: attention_tensor: gradients of one of the results alone") {
  check({"out", {1, 2, 1, 100, 140, 64, 64}, {}, {}, true, false});
  check({"log_sum_exp", {1, 2, 1, 100, 140, 64, 64}, {}, {}, false, true});
}

TEST_CASE("cuda: attention_tensor: rows that see no key and keys that nobody sees") {
  const Tensor bias = Tensor::zeros({130, 300}, Dtype::f64);
  fill(bias.slice(1, 5, 6), -infinity);
  fill(bias.slice(0, 40, 41), -infinity);
  fill(bias.slice(0, 100, 130).slice(1, 0, 256), -infinity);
  const Case c{"minus infinity", {2, 2, 1, 130, 300, 64, 64}, {}, {.by_position = bias}, true, false};
  check(c);
  Random random{.seed = 6};
  const Results r = on_gpu(c, qkv(c.sizes, random), random_tensor({2, 2, 130, 64}, random), {});
  for (const double y : r.forward.out.slice(2, 40, 41).to(Device::cpu).to(Dtype::f64).to_vector<double>())
    CHECK(y == 0);
  for (const double y : r.forward.log_sum_exp.slice(2, 40, 41).to(Device::cpu).to(Dtype::f64).to_vector<double>())
    CHECK(y == -infinity);
  for (const double g : r.gradients.dq.slice(2, 40, 41).to(Device::cpu).to(Dtype::f64).to_vector<double>())
    CHECK(g == 0);
}

TEST_CASE("cuda: attention_tensor: what comes later changes no bit of what comes before") {
  Random random{.seed = 5};
  Tensors x = qkv({1, 2, 1, 200, 200, 64, 64}, random);
  for (Tensor& t : x) t = on_gpu(t);
  const Tensor out = attention(x[0], x[1], x[2]).out;
  for (const int64_t from : {1, 15, 64, 127, 128, 129, 199}) {
    CAPTURE(from);
    const Tensors y = {x[0].clone(), x[1].clone(), x[2].clone()};
    for (const Tensor& t : y) fill(t.slice(2, from, 200), 1e3);
    CHECK(bit_mismatch(attention(y[0], y[1], y[2]).out.slice(2, 0, from), out.slice(2, 0, from)) == "");
  }
}
