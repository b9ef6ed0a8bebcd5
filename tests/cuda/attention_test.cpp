// Attention on the GPU by FMAs: every width, dtype and option against f64 on the CPU, values and gradients, over
// several tiles, and what the op cases do not see.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/allocator.hpp"
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
  WantedBiases wanted = {};
};

Tensor in(Dtype dtype, const Tensor& x) { return x.defined() ? x.to(dtype).to(Device::cuda) : x; }
Tensor rounded(Dtype dtype, const Tensor& x) { return x.defined() ? x.to(dtype).to(Dtype::f64) : x; }

struct Inputs {
  Tensors x;  // q, k, v
  AttentionBias bias;
  Tensor dout, dlog_sum_exp;
};

Inputs made(const Case& c, Dtype dtype) {
  Random random{.seed = 77};
  const Sizes& n = c.sizes;
  Inputs made{qkv(n, random), {rounded(dtype, c.bias.by_distance), rounded(dtype, c.bias.by_position)}, {}, {}};
  for (Tensor& t : made.x) t = rounded(dtype, t);
  made.dout = rounded(dtype, random_tensor({n.batch, n.heads, n.q_length, n.v_dim}, random));
  made.dlog_sum_exp = rounded(dtype, random_tensor({n.batch, n.heads, n.q_length}, random));
  if (!c.has_dout) made.dout = {};
  if (!c.has_dlog_sum_exp) made.dlog_sum_exp = {};
  return made;
}

// out, log_sum_exp, dq, dk, dv, dbias by distance, by position
Tensors results(const Case& c, const Inputs& inputs) {
  const AttentionResult forward = attention(inputs.x[0], inputs.x[1], inputs.x[2], c.options, inputs.bias);
  const AttentionGradients g = attention_backward(inputs.x[0], inputs.x[1], inputs.x[2], c.options, inputs.bias,
                                                  forward, inputs.dout, inputs.dlog_sum_exp, c.wanted);
  return {forward.out, forward.log_sum_exp, g.dq, g.dk, g.dv, g.dbias.by_distance, g.dbias.by_position};
}

Inputs on_gpu(const Inputs& inputs, Dtype dtype) {
  Inputs moved{{}, {in(dtype, inputs.bias.by_distance), in(dtype, inputs.bias.by_position)}, {}, {}};
  for (const Tensor& t : inputs.x) moved.x.push_back(heads_inside(in(dtype, t)));
  moved.dout = in(dtype, inputs.dout);
  moved.dlog_sum_exp = in(dtype == Dtype::bf16 ? Dtype::f32 : dtype, inputs.dlog_sum_exp);
  return moved;
}

double limit_of(Dtype dtype, int64_t terms) {
  if (dtype == Dtype::f64) return tolerance::cuda_f64;
  return dtype == Dtype::f32 ? tolerance::f32_gradient(terms) : tolerance::cuda_bf16_gradient;
}

void check(const Case& c, Dtype dtype, bool in_every_order = false) {
  CAPTURE(c.name);
  CAPTURE(dtype);
  const Inputs exact = made(c, dtype), moved = on_gpu(exact, dtype);
  const Tensors expected = results(c, exact), got = results(c, moved);
  const double limit = limit_of(dtype, 4 * c.sizes.k_length);
  double largest = 0;
  for (size_t i = 2; i < expected.size(); ++i)
    if (expected[i].defined()) largest = std::max(largest, largest_of(expected[i]));
  for (size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    REQUIRE(got[i].defined() == expected[i].defined());
    if (!expected[i].defined()) continue;
    CHECK(got[i].is_on(Device::cuda));
    const Dtype right = i == 1 && dtype == Dtype::bf16 ? Dtype::f32 : dtype;
    // A gradient may be a difference of terms that cancel; measured against the largest, never 4 times as coarse.
    const double own = largest_of(expected[i]);
    const double stretch = i < 2 || dtype == Dtype::f64 || own == 0 ? 1 : std::clamp(largest / own, 1.0, 4.0);
    CHECK(mismatch(got[i], right, expected[i], limit * stretch) == "");
  }
  CHECK(got[0].transpose(1, 2).is_contiguous());
  for (size_t i = 0; i < 3; ++i) CHECK(got[2 + i].strides() == moved.x[i].strides());
  if (!in_every_order || thread_orders.empty()) return;
  for (const auto& order : thread_orders) {
    order();
    const Tensors again = results(c, moved);
    for (size_t i = 0; i < got.size(); ++i)
      if (got[i].defined()) CHECK(bit_mismatch(again[i], got[i]) == "");
  }
  thread_orders[0]();
}

constexpr Dtype all_dtypes[] = {Dtype::f64, Dtype::f32, Dtype::bf16};

template <class T>
Tensor documents(int64_t batch, int64_t k_length, int64_t length, std::vector<T> ids) {
  std::vector<T> of_keys;
  for (int64_t row = 0; row < batch; ++row)
    for (int64_t j = 0; j < k_length; ++j)
      of_keys.push_back(ids[static_cast<size_t>((j + 17 * row) / length) % ids.size()]);
  return Tensor::of<T>({batch, k_length}, of_keys);
}

}  // namespace

TEST_CASE("cuda: attention, several tiles, odd widths" * doctest::test_suite("slow kernels")) {
  for (const Dtype dtype : all_dtypes) {
    check({"causal", {1, 2, 1, 150, 150, 17, 23}}, dtype, dtype == Dtype::f32);
    check({"not causal, more queries than keys", {1, 1, 1, 200, 140, 33, 9}, {.scale = 0.3, .causal = Causal::no}},
          dtype);
    check({"later queries, grouped heads", {2, 4, 2, 70, 203, 6, 2}}, dtype);
    check({"1 query", {1, 2, 1, 1, 150, 20, 70}}, dtype);
  }
}

TEST_CASE("cuda: attention, widths of every kernel and beyond the widest" * doctest::test_suite("slow kernels")) {
  for (const int64_t width : {32, 64, 100, 128}) check({"f32", {1, 1, 1, 70, 130, width, width}}, Dtype::f32);
  check({"parts", {1, 1, 1, 20, 70, 140, 290}}, Dtype::f32);
  check({"parts", {1, 1, 1, 20, 70, 290, 140}}, Dtype::f32);
  check({"parts", {1, 1, 1, 20, 70, 140, 150}}, Dtype::f64);
  // Own rows that do not stay in shared memory.
  check({"very wide", {1, 1, 1, 70, 90, 600, 3}}, Dtype::f32);
  check({"very wide", {1, 1, 1, 70, 90, 3, 600}}, Dtype::f32);
  check({"very wide", {1, 1, 1, 40, 70, 300, 310}}, Dtype::f64);
  check({"very wide", {1, 1, 1, 70, 90, 400, 390}}, Dtype::bf16);
  check({"without v", {1, 2, 1, 70, 90, 8, 0}}, Dtype::f32);
}

TEST_CASE("cuda: attention, segments on either device, ids that come back or need 64 bits" *
          doctest::test_suite("slow kernels")) {
  const int64_t large = int64_t{1} << 32;
  for (const Device device : {Device::cpu, Device::cuda})
    for (const Causal causal : {Causal::yes, Causal::no}) {
      check({"by row",
             {2, 1, 1, 100, 200, 8, 8},
             {.causal = causal, .segments = documents<int32_t>(2, 200, 47, {9, 4, 9, 2}).to(device)}},
            Dtype::f32, device == Device::cuda);
      check({"for all rows",
             {2, 1, 1, 150, 150, 5, 3},
             {.causal = causal, .segments = documents<int64_t>(1, 150, 20, {1, 1 + large, 1 - large, 2}).to(device)}},
            Dtype::f64);
    }
  const Tensor transposed = documents<int32_t>(2, 90, 20, {3, 2, 1}).transpose(0, 1).contiguous().to(Device::cuda);
  check({"strided", {2, 1, 1, 90, 90, 8, 8}, {.segments = transposed.transpose(0, 1)}}, Dtype::bf16);
}

TEST_CASE("cuda: attention, tiles of keys that share no segment with a tile of queries are not read") {
  const int64_t length = 384;
  Case c{"documents", {1, 1, 1, length, length, 8, 8}};
  for (const Causal causal : {Causal::yes, Causal::no}) {
    c.options = {.causal = causal, .segments = documents<int32_t>(1, length, 128, {5, 3, 4})};
    Inputs inputs = on_gpu(made(c, Dtype::f32), Dtype::f32);
    const Tensors expected = results(c, inputs);
    for (Tensor& t : inputs.x) fill(t.slice(2, 128, 256), std::numeric_limits<double>::quiet_NaN());
    const Tensors got = results(c, inputs);
    for (size_t i = 0; i < 5; ++i)
      for (const int64_t from : {int64_t{0}, int64_t{256}})
        CHECK(bit_mismatch(got[i].slice(2, from, from + 128), expected[i].slice(2, from, from + 128)) == "");
  }
}

TEST_CASE("cuda: attention, biases" * doctest::test_suite("slow kernels")) {
  for (const Dtype dtype : all_dtypes) {
    check({"by distance and head", {1, 2, 1, 140, 140, 5, 7}, {}, {.by_distance = normal_bias({2, 140}, 3)}}, dtype,
          dtype == Dtype::f32);
    check({"by distance, shared, longer", {2, 4, 2, 75, 140, 5, 7}, {}, {.by_distance = normal_bias({1, 163}, 3)}},
          dtype);
    check({"by position, full",
           {1, 2, 1, 80, 131, 5, 7},
           {.causal = Causal::no},
           {.by_position = normal_bias({1, 2, 80, 131}, 3)}},
          dtype, dtype == Dtype::f32);
    check({"both, segments",
           {2, 2, 2, 70, 160, 5, 7},
           {.segments = documents<int32_t>(2, 160, 50, {1, 2, 3})},
           {normal_bias({2, 160}, 3), normal_bias({2, 1, 70, 160}, 4)}},
          dtype);
    check({"parts of the columns", {1, 1, 1, 70, 70, 150, 3}, {}, {normal_bias({1, 70}, 3), normal_bias({70, 1}, 4)}},
          dtype);
  }
  // More tiles than blocks that keep sums by distance: some take several, for each part of the columns.
  check({"many tiles", {1, 264, 1, 33, 33, 65, 1}, {}, {.by_distance = normal_bias({264, 33}, 3)}}, Dtype::f64);
}

TEST_CASE("cuda: attention, biases whose strides are not dense") {
  const Case c{"", {1, 2, 1, 70, 90, 4, 4}, {}, {normal_bias({2, 90}, 3), normal_bias({70, 90}, 4)}};
  Inputs inputs = on_gpu(made(c, Dtype::f32), Dtype::f32);
  const Tensors expected = results(c, inputs);
  inputs.bias.by_distance = inputs.bias.by_distance.transpose(0, 1).contiguous().transpose(0, 1);
  inputs.bias.by_position = inputs.bias.by_position.transpose(0, 1).contiguous().transpose(0, 1);
  for (Tensor& t : inputs.x) t = t.transpose(2, 3).contiguous().transpose(2, 3);
  const Tensors got = results(c, inputs);
  for (size_t i = 0; i < got.size(); ++i) CHECK(bit_mismatch(got[i], expected[i]) == "");
}

TEST_CASE("cuda: attention, f32 biases beside bf16") {
  const Case c{"", {2, 2, 1, 70, 90, 9, 9}, {}, {normal_bias({2, 90}, 3), normal_bias({70, 90}, 4)}};
  const Inputs exact = made(c, Dtype::bf16);
  Inputs inputs = on_gpu(exact, Dtype::bf16);
  const Tensors of_bf16 = results(c, inputs);
  inputs.bias = {in(Dtype::f32, exact.bias.by_distance), in(Dtype::f32, exact.bias.by_position)};
  const Tensors got = results(c, inputs);
  for (size_t i = 0; i < 5; ++i) CHECK(bit_mismatch(got[i], of_bf16[i]) == "");
  for (size_t i = 5; i < 7; ++i) {
    CHECK(got[i].dtype() == Dtype::f32);
    CHECK(bit_mismatch(got[i].to(Dtype::bf16), of_bf16[i]) == "");
  }
  CHECK_THROWS_AS(attention(inputs.x[0], inputs.x[1], inputs.x[2], {}, {in(Dtype::f64, exact.bias.by_distance), {}}),
                  DtypeError);
  CHECK_THROWS_AS(attention(inputs.x[0], inputs.x[1], inputs.x[2], {}, {exact.bias.by_distance.to(Dtype::f32), {}}),
                  DeviceError);
}

TEST_CASE("cuda: attention, gradients of one of the results alone, of wanted biases alone") {
  const AttentionBias bias{normal_bias({2, 90}, 3), normal_bias({70, 90}, 4)};
  for (const Dtype dtype : all_dtypes) {
    check({"out", {1, 2, 1, 70, 90, 5, 5}, {}, bias, true, false}, dtype);
    check({"log_sum_exp", {1, 2, 1, 70, 90, 5, 5}, {}, bias, false, true}, dtype);
  }
  check({"by distance", {1, 2, 1, 70, 90, 5, 5}, {}, bias, true, true, {.by_position = false}}, Dtype::f32);
  check({"by position", {1, 2, 1, 70, 90, 5, 5}, {}, bias, true, true, {.by_distance = false}}, Dtype::f32);
  check({"neither", {1, 2, 1, 70, 90, 5, 5}, {}, bias, true, true, {false, false}}, Dtype::f32);
}

TEST_CASE("cuda: attention, rows that see no key, keys that nobody sees, hidden rubbish" *
          doctest::test_suite("slow kernels")) {
  const Sizes n{1, 2, 1, 130, 300, 6, 6};
  const Tensor bias = Tensor::zeros({n.q_length, n.k_length}, Dtype::f64);
  fill(bias.slice(1, 5, 6), -infinity);
  fill(bias.slice(0, 40, 41), -infinity);
  fill(bias.slice(0, 100, 130).slice(1, 0, 256), -infinity);
  for (const Dtype dtype : all_dtypes) {
    const Case c{"minus infinity", n, {}, {.by_position = bias}, true, false};
    check(c, dtype);
    const Tensors got = results(c, on_gpu(made(c, dtype), dtype));
    for (const size_t i : {0, 2})
      for (const double y : got[i].slice(2, 40, 41).to(Dtype::f64).to_vector<double>()) CHECK(y == 0);
    for (const double y : got[1].slice(2, 40, 41).to(Dtype::f64).to_vector<double>()) CHECK(y == -infinity);
    if (dtype == Dtype::bf16) continue;
    // What causality hides: whatever the bias says there.
    Case rubbish = c;
    rubbish.bias.by_position = bias.clone();
    for (int64_t i = 0; i < n.q_length; ++i)
      fill(rubbish.bias.by_position.slice(0, i, i + 1).slice(1, i + 171, n.k_length),
           i % 2 ? infinity : std::numeric_limits<double>::quiet_NaN());
    const Tensors again = results(rubbish, on_gpu(made(rubbish, dtype), dtype));
    for (size_t i = 0; i < got.size(); ++i)
      if (got[i].defined()) CHECK(bit_mismatch(again[i], got[i]) == "");
  }
  const Tensor nan_bias = Tensor::zeros({20, 20}, Dtype::f64);
  nan_bias.view<double>()(12, 3) = std::numeric_limits<double>::quiet_NaN();
  const Case c{"NaN", {1, 1, 1, 20, 20, 8, 8}, {}, {.by_position = nan_bias}};
  const std::vector<double> out =
      results(c, on_gpu(made(c, Dtype::f32), Dtype::f32))[0].to(Dtype::f64).to_vector<double>();
  for (size_t row = 0; row < 20; ++row) CHECK(std::isnan(out[8 * row]) == (row == 12));
}

TEST_CASE("cuda: attention, what comes later changes no bit of what comes before") {
  Random random{.seed = 5};
  Tensors x = qkv({1, 2, 1, 140, 140, 8, 8}, random);
  for (Tensor& t : x) t = in(Dtype::f32, t);
  const Tensor out = attention(x[0], x[1], x[2]).out;
  for (const int64_t from : {1, 15, 63, 64, 65, 128, 139}) {
    CAPTURE(from);
    const Tensors y = {x[0].clone(), x[1].clone(), x[2].clone()};
    for (const Tensor& t : y) fill(t.slice(2, from, 140), 1e3);
    CHECK(bit_mismatch(attention(y[0], y[1], y[2]).out.slice(2, 0, from), out.slice(2, 0, from)) == "");
  }
}

TEST_CASE("cuda: attention, without queries every gradient is 0") {
  for (const Sizes& n : {Sizes{0, 2, 1, 3, 4, 5, 6}, Sizes{2, 2, 1, 0, 4, 5, 6}, Sizes{2, 0, 1, 3, 4, 5, 6}}) {
    const Case c{"", n, {}, {normal_bias({1, 5}, 3), normal_bias({4}, 4)}};
    const Tensors got = results(c, on_gpu(made(c, Dtype::f32), Dtype::f32));
    for (const Tensor& t : got)
      for (const double g : t.to(Dtype::f64).to_vector<double>()) CHECK(g == 0);
  }
}

TEST_CASE("cuda: attention, memory grows with the length, not with its square") {
  const auto peak_of = [](int64_t tokens) {
    const Case c{"", {1, 1, 1, tokens, tokens, 16, 16}, {}, {.by_distance = normal_bias({1, tokens}, 3)}};
    const Inputs inputs = on_gpu(made(c, Dtype::f32), Dtype::f32);
    reset_peak_memory(Device::cuda);
    const int64_t before = memory_counts(Device::cuda).bytes_in_use;
    const Tensors got = results(c, inputs);
    return memory_counts(Device::cuda).peak_bytes - before;
  };
  const int64_t peak = peak_of(640);
  CHECK(peak < 640 * 640 * 4 / 4);
  CHECK(peak < 3 * peak_of(320));
}

TEST_CASE("cuda: attention, mixed devices are refused") {
  Random random{.seed = 5};
  const Tensors x = qkv({1, 2, 1, 4, 4, 8, 8}, random);
  CHECK_THROWS_AS(attention(in(Dtype::f64, x[0]), x[1], x[2]), DeviceError);
  CHECK_THROWS_AS(attention(x[0].to(Dtype::bf16), x[1].to(Dtype::bf16), x[2].to(Dtype::bf16)), DtypeError);
}
