// Attention that turns queries and keys itself, in bf16 on the tensor cores: the bits of rotary before it.
#include <doctest/doctest.h>

#include <unordered_set>

#include "core/device.hpp"
#include "core/ops/attention.hpp"
#include "nn/model.hpp"
#include "nn/parameters.hpp"
#include "tests/ops/attention_samples.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_checks.hpp"

using namespace phasor;
using namespace phasor::attention_samples;

namespace {

constexpr RotaryLayout layouts[] = {RotaryLayout::interleaved, RotaryLayout::half_split};

Tensor gpu(const Tensor& x, Dtype dtype = Dtype::bf16) { return x.defined() ? x.to(dtype).to(Device::cuda) : x; }

struct Case {
  std::string name = {};
  Sizes sizes = {};
  TableAxes axes = TableAxes::length;
  int64_t components = 0;  // 0: as many as there are
  AttentionOptions options = {};
  AttentionBias bias = {};
  bool turns = true;  // what attention_turns says
};

// out, log_sum_exp, dq, dk, dv, dbias by distance
Tensors results(const Tensors& x, const AttentionOptions& options, const AttentionBias& bias, const Tensor& dout,
                const Tensor& dlog_sum_exp = {}) {
  const AttentionResult forward = attention(x[0], x[1], x[2], options, bias);
  const AttentionGradients g = attention_backward(x[0], x[1], x[2], options, bias, forward, dout, dlog_sum_exp);
  return {forward.out, forward.log_sum_exp, g.dq, g.dk, g.dv, g.dbias.by_distance};
}

void check_with(const Tensors& x, const AttentionRotation& by, const Case& c, const Tensor& dout,
                const Tensor& dlog_sum_exp, bool in_every_order = false) {
  const AttentionBias bias{gpu(c.bias.by_distance), gpu(c.bias.by_position)};
  AttentionOptions with_rotation = c.options;
  with_rotation.rotation = by;
  REQUIRE(attention_turns(x[0], x[1], x[2], with_rotation, bias) == c.turns);

  const Tensors turned = {rotary(x[0], by.q_cos, by.q_sin, by.layout), rotary(x[1], by.k_cos, by.k_sin, by.layout),
                          x[2]};
  // Without a rotation a dout at odd addresses takes other kernels.
  const Tensor aligned = dout.defined() ? dout.contiguous() : dout;
  Tensors expected = results(turned, c.options, bias, aligned, dlog_sum_exp);
  expected[2] = rotary_transposed(expected[2], by.q_cos, by.q_sin, by.layout);
  expected[3] = rotary_transposed(expected[3], by.k_cos, by.k_sin, by.layout);
  const auto agree = [&] {
    const Tensors got = results(x, with_rotation, bias, dout, dlog_sum_exp);
    for (size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      REQUIRE(got[i].defined() == expected[i].defined());
      if (got[i].defined()) CHECK(bit_mismatch(got[i], expected[i]) == "");
    }
  };
  agree();
  if (!in_every_order || thread_orders.empty()) return;
  for (const auto& order : thread_orders) {
    order();
    agree();
  }
  thread_orders[0]();
}

struct Inputs {
  Tensors x;  // q, k, v
  AttentionRotation by;
  Tensor dout, dlog_sum_exp;
};

Inputs inputs_of(const Sizes& n, TableAxes axes, RotaryLayout layout, int64_t components) {
  Random random{.seed = 78};
  Inputs made{qkv(n, random), {}, {}, {}};
  for (Tensor& t : made.x) t = heads_inside(gpu(t));
  made.dout = gpu(random_tensor({n.batch, n.heads, n.q_length, n.v_dim}, random));
  made.dlog_sum_exp = gpu(random_tensor({n.batch, n.heads, n.q_length}, random), Dtype::f32);
  made.by =
      converted(rotation_for(made.x[0].shape(), made.x[1].shape(), axes, layout, components), Dtype::f32, Device::cuda);
  return made;
}

void check(const Case& c, RotaryLayout layout, bool in_every_order = false) {
  CAPTURE(c.name);
  CAPTURE(static_cast<int>(layout));
  const Inputs in = inputs_of(c.sizes, c.axes, layout, c.components > 0 ? c.components : c.sizes.qk_dim / 2);
  check_with(in.x, in.by, c, in.dout, {}, in_every_order);
}

}  // namespace

TEST_CASE("cuda: attention with a rotation: every width of the tiles, lengths around them" *
          doctest::test_suite("slow kernels")) {
  for (const RotaryLayout layout : layouts) {
    check({"32", {1, 2, 1, 70, 70, 32, 32}}, layout);
    check({"64", {1, 1, 1, 150, 150, 64, 64}}, layout, true);
    check({"128", {1, 1, 1, 130, 130, 128, 128}}, layout);
    check({"48 in 64", {1, 1, 1, 40, 40, 48, 40}}, layout);
  }
}

TEST_CASE("cuda: attention with a rotation: some components, tables of heads and of batch rows, few queries") {
  for (const RotaryLayout layout : layouts) {
    check({"8 components of 32", {1, 2, 1, 70, 70, 64, 64}, TableAxes::length, 8}, layout);
    check({"24 components of 32", {1, 1, 1, 30, 30, 64, 64}, TableAxes::length, 24}, layout);
    check({"heads", {2, 4, 2, 40, 70, 32, 32}, TableAxes::heads_and_length}, layout, true);
    check({"batch rows", {2, 2, 1, 20, 40, 32, 32}, TableAxes::batch}, layout);
    check({"one query", {1, 2, 2, 1, 70, 64, 64}}, layout);
    check({"not causal", {1, 1, 1, 70, 30, 32, 32}, TableAxes::length, 0, {.scale = 0.3, .causal = Causal::no}},
          layout);
  }
}

TEST_CASE("cuda: attention with a rotation: segments") {
  for (const RotaryLayout layout : layouts) {
    check({"segments", {2, 2, 1, 90, 140, 32, 32}, TableAxes::length, 0, {.segments = segments_for(2, 140)}}, layout);
  }
}

TEST_CASE("cuda: attention with a rotation: where tiles are not turned rotary comes before, with the same bits") {
  for (const RotaryLayout layout : layouts) {
    check({"12 components", {1, 1, 1, 20, 20, 32, 32}, TableAxes::length, 12, {}, {}, false}, layout);
    check({"64, 32", {1, 1, 1, 64, 64, 64, 32}, TableAxes::length, 0, {}, {}, false}, layout);
    check({"32, 128", {1, 1, 1, 40, 40, 32, 128}, TableAxes::length, 0, {}, {}, false}, layout);
    check({"a width of its own", {1, 1, 1, 20, 20, 36, 32}, TableAxes::length, 16, {}, {}, false}, layout);
    check({"by distance",
           {1, 2, 1, 70, 70, 32, 32},
           TableAxes::length,
           0,
           {},
           {.by_distance = normal_bias({2, 70}, 3)},
           false},
          layout);
    check({"by position",
           {1, 2, 1, 30, 31, 32, 32},
           TableAxes::length,
           0,
           {},
           {.by_position = normal_bias({30, 31}, 3)},
           false},
          layout);
    check({"long", {1, 1, 1, 1, 1025, 32, 32}, TableAxes::length, 0, {}, {}, false}, layout);
  }
  check({"as long as may be", {1, 1, 1, 1, 1024, 32, 32}}, RotaryLayout::half_split);
}

TEST_CASE("cuda: attention with a rotation: dout and tables at odd addresses") {
  const Inputs in = inputs_of({1, 2, 1, 20, 20, 32, 32}, TableAxes::length, RotaryLayout::half_split, 16);
  const auto odd = [](const Tensor& t) {
    const Tensor wide = Tensor::zeros(t.shape().with(-1, t.extent(-1) + 1), t.dtype(), Device::cuda);
    const Tensor view = wide.slice(-1, 1, t.extent(-1) + 1);
    copy_into(view, t);
    return view;
  };
  check_with(in.x, in.by, {}, odd(in.dout), {});
  AttentionRotation moved = in.by;
  moved.k_cos = odd(in.by.k_cos);
  moved.k_sin = odd(in.by.k_sin);
  check_with(in.x, moved, {.turns = false}, in.dout, {});
}

TEST_CASE("cuda: attention with a rotation: gradients of log_sum_exp, alone and beside those of out") {
  const Inputs in = inputs_of({1, 2, 1, 40, 50, 32, 32}, TableAxes::length, RotaryLayout::interleaved, 16);
  check_with(in.x, in.by, {}, in.dout, in.dlog_sum_exp);
  check_with(in.x, in.by, {}, {}, in.dlog_sum_exp);
}

TEST_CASE("cuda: attention with a rotation: views whose axes of one have steps of their own") {
  for (const RotaryLayout layout : layouts) {
    // One head, then one batch row, that unsqueeze has added.
    const Inputs one_head = inputs_of({2, 1, 1, 40, 50, 32, 32}, TableAxes::length, layout, 16);
    Tensors x;
    for (const Tensor& t : one_head.x) x.push_back(t.squeeze(1).contiguous().unsqueeze(1));
    check_with(x, one_head.by, {}, one_head.dout.squeeze(1).contiguous().unsqueeze(1), {});
    const Inputs one_row = inputs_of({1, 2, 2, 40, 50, 32, 32}, TableAxes::length, layout, 16);
    x.clear();
    for (const Tensor& t : one_row.x) x.push_back(t.squeeze(0).contiguous().unsqueeze(0));
    check_with(x, one_row.by, {}, one_row.dout, {});
  }
}

TEST_CASE("cuda: attention with a rotation: of no component") {
  Inputs in = inputs_of({1, 2, 1, 40, 50, 32, 32}, TableAxes::length, RotaryLayout::half_split, 16);
  for (Tensor* const table : {&in.by.q_cos, &in.by.q_sin, &in.by.k_cos, &in.by.k_sin}) *table = table->slice(-1, 0, 0);
  check_with(in.x, in.by, {}, in.dout, {});
}

namespace {

int64_t nodes_of(const char* op, const Var& result) {
  std::vector<const Node*> open = {result.node().get()};
  std::unordered_set<const Node*> seen;
  int64_t count = 0;
  while (!open.empty()) {
    const Node* const node = open.back();
    open.pop_back();
    if (!node || !seen.insert(node).second) continue;
    count += std::string(node->op) == op;
    for (const Node::Input& input : node->inputs) open.push_back(input.node.get());
  }
  return count;
}

}  // namespace

TEST_CASE("cuda: attention with a rotation: a model turns inside, unless somebody looks; the same bits") {
  const ModelShape shape{.vocabulary = 40,
                         .width = 64,
                         .layers = 2,
                         .heads = 4,
                         .kv_heads = 2,
                         .hidden = 40,
                         .train_length = 24,
                         .encoding = "hope",
                         .activations = Dtype::bf16};
  const Transformer model(shape, 1);
  model.move_to(Device::cuda);
  Random random{.seed = 5};
  const Observer observer{.sites = {Site::q_rotated}, .read = [](Place, const Tensor&) {}};
  const Observer elsewhere{.sites = {Site::residual}, .read = [](Place, const Tensor&) {}};
  for (const int64_t batch : {1, 2}) {
    CAPTURE(batch);
    const Tensor ids = random_ids({batch, 24}, 40, random);
    const Var inside = model.logits(ids), apart = model.logits(ids, {.observer = &observer});
    CHECK(nodes_of("rotary", inside) == 0);
    CHECK(nodes_of("rotary", apart) == 4);
    CHECK(nodes_of("rotary", model.logits(ids, {.observer = &elsewhere})) == 0);
    CHECK(nodes_of("attention", inside) == 2);
    CHECK(bit_mismatch(inside.value(), apart.value()) == "");
    const Tensor cotangent = normal(inside.shape(), 0, 1, Dtype::f32, random).to(Device::cuda);
    const Gradients of_inside = backward(inside, cotangent), of_apart = backward(apart, cotangent);
    for (const Parameter& p : model.parameters().all()) {
      CAPTURE(p.name);
      CHECK(bit_mismatch(of_inside[p.var], of_apart[p.var]) == "");
    }
  }
}
