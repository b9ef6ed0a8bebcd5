// The unfused attention on the GPU: biases, segments, two sets of scores, rows that see nothing, and that it can be
// recorded. Its op cases are in tests/ops.
#include <doctest/doctest.h>

#include <limits>

#include "autograd/ops.hpp"
#include "core/device.hpp"
#include "tests/ops/attention_samples.hpp"
#include "tests/support/comparison.hpp"

using namespace phasor;
using namespace phasor::attention_samples;

namespace {

Tensor gpu(const Tensor& x) { return x.defined() ? x.to(Device::cuda) : x; }

using Attention = std::function<Var(const std::vector<Var>&)>;

// Value and gradients of f on the CPU and on the GPU.
void check_on_both(const Tensors& x, const Attention& f, const Attention& on_gpu) {
  std::vector<Var> here, there;
  for (const Tensor& t : x) {
    here.push_back(Var::leaf(t));
    there.push_back(Var::leaf(gpu(t)));
  }
  const Var expected = f(here), got = on_gpu(there);
  CHECK(mismatch(got.value(), Dtype::f64, expected.value(), tolerance::cuda_f64) == "");
  Random random{.seed = 9};
  const Tensor dy = random_tensor(expected.shape(), random);
  const Gradients of_expected = backward(expected, dy), of_got = backward(got, gpu(dy));
  for (size_t i = 0; i < x.size(); ++i) {
    CAPTURE(i);
    CHECK(mismatch(of_got[there[i]], Dtype::f64, of_expected[here[i]], tolerance::cuda_f64) == "");
  }
}

}  // namespace

TEST_CASE("cuda: attention_unfused: biases by distance and by position") {
  Random random{.seed = 13};
  for (const Sizes& n : {Sizes{2, 4, 2, 6, 9, 4, 3}, Sizes{1, 2, 2, 7, 7, 3, 3}, Sizes{1, 2, 1, 1, 5, 3, 2},
                         Sizes{1, 1, 1, 1, 1, 2, 2}}) {
    Tensors x = qkv(n, random);
    x.push_back(random_tensor({n.heads, n.k_length + 3}, random));
    x.push_back(random_tensor({n.q_length, n.k_length}, random));
    const Attention f = [](const std::vector<Var>& y) {
      return attention_unfused(y[0], y[1], y[2], {}, {.by_distance = y[3], .by_position = y[4]});
    };
    check_on_both(x, f, f);
    x[3] = random_tensor({1, n.k_length}, random);
    check_on_both(x, f, f);
  }
}

TEST_CASE("cuda: attention_unfused: segments on the CPU and on the GPU, and far pairs") {
  Random random{.seed = 14};
  const Sizes n{2, 4, 2, 6, 11, 4, 3};
  Tensors x = qkv(n, random);
  x.push_back(random_tensor(x[0].shape(), random));
  x.push_back(random_tensor(x[1].shape(), random));
  for (const Causal causal : {Causal::yes, Causal::no})
    for (const int64_t batch : {1, 2}) {
      const auto with = [&](const Tensor& segments) {
        return [=](const std::vector<Var>& y) {
          return attention_unfused(y[0], y[1], y[2], {.causal = causal, .segments = segments}, {},
                                   {.far_q = y[3], .far_k = y[4], .far_from = 3});
        };
      };
      const Tensor segments = segments_for(batch, 11);
      check_on_both(x, with(segments), with(segments));
      check_on_both(x, with(segments), with(gpu(segments)));
      const AttentionOptions here{.causal = causal, .segments = segments};
      const AttentionOptions there{.causal = causal, .segments = gpu(segments.to(Dtype::i64))};
      CHECK(bit_mismatch(visible_pairs(6, 11, there), visible_pairs(6, 11, here)) == "");
    }
}

TEST_CASE("cuda: attention_unfused: a row that sees nothing is zero and sends no gradient") {
  Random random{.seed = 15};
  Tensors x = qkv({1, 2, 2, 4, 4, 3, 3}, random);
  const Tensor bias = Tensor::zeros({4, 4}, Dtype::f64);
  fill(bias.slice(0, 2, 3), -std::numeric_limits<double>::infinity());
  const auto with = [](const Tensor& hidden) {
    return [=](const std::vector<Var>& y) { return attention_unfused(y[0], y[1], y[2], {}, {.by_position = hidden}); };
  };
  check_on_both(x, with(bias), with(bias));  // a constant of the CPU follows q
  check_on_both(x, with(bias), with(gpu(bias)));
}

TEST_CASE("cuda: attention_unfused: in bf16, where every op on the way rounds") {
  Random random{.seed = 19};
  for (const Variant& variant : variants)
    for (const Sizes& n : {Sizes{2, 4, 2, 7, 7, 33, 8}, Sizes{1, 2, 1, 32, 35, 3, 2}, Sizes{1, 2, 1, 70, 73, 16, 16}}) {
      CAPTURE(variant.name);
      Tensors x = qkv(n, random);
      std::vector<Var> here, there;
      for (Tensor& t : x) {
        here.push_back(Var::leaf(t.to(Dtype::bf16).to(Dtype::f64)));
        there.push_back(Var::leaf(gpu(t.to(Dtype::bf16))));
      }
      const AttentionOptions options = variant.options(x);
      const Var expected = attention_unfused(here[0], here[1], here[2], options);
      const Var got = attention_unfused(there[0], there[1], there[2], options);
      CHECK(mismatch(got.value(), Dtype::bf16, expected.value(), tolerance::cuda_bf16_gradient) == "");
      const Tensor dy = random_tensor(expected.shape(), random).to(Dtype::bf16);
      const Gradients of_expected = backward(expected, dy.to(Dtype::f64)), of_got = backward(got, gpu(dy));
      for (int i = 0; i < 3; ++i) {
        CAPTURE(i);
        CHECK(mismatch(of_got[there[i]], Dtype::bf16, of_expected[here[i]], tolerance::cuda_bf16_gradient) == "");
      }
    }
}

TEST_CASE("cuda: attention_unfused: f32 biases beside bf16 get f32 gradients") {
  Random random{.seed = 16};
  const Tensors x = qkv({1, 2, 2, 5, 5, 4, 4}, random);
  std::vector<Var> leaves;
  for (const Tensor& t : x) leaves.push_back(Var::leaf(gpu(t.to(Dtype::bf16))));
  const Var bias = Var::leaf(gpu(random_tensor({2, 5}, random).to(Dtype::f32)));
  const Var out = attention_unfused(leaves[0], leaves[1], leaves[2], {}, {.by_distance = bias});
  CHECK(out.dtype() == Dtype::bf16);
  const Gradients gradients = backward(out, Tensor::full(out.shape(), 1, Dtype::bf16, Device::cuda));
  CHECK(gradients[bias].dtype() == Dtype::f32);
  CHECK(gradients[bias].shape() == bias.shape());
}

TEST_CASE("cuda: attention_unfused: values and gradients in a graph") {
  Random random{.seed = 17};
  Tensors x = qkv({2, 2, 1, 5, 7, 4, 3}, random);
  x.push_back(random_tensor({2, 7}, random));
  const Tensor segments = segments_for(2, 7), of_graph = Tensor::zeros({2, 7}, Dtype::i32, Device::cuda);
  std::vector<Var> here, there;
  for (const Tensor& t : x) {
    here.push_back(Var::leaf(t));
    there.push_back(Var::leaf(gpu(t)));
  }
  const auto f = [](const std::vector<Var>& y, const Tensor& ids) {
    return attention_unfused(y[0], y[1], y[2], {.segments = ids}, {.by_distance = y[3]});
  };
  Tensor out, gradient;
  const DeviceGraph graph([&] {
    const Var result = f(there, of_graph);
    out = result.value();
    gradient = backward(result, Tensor::full(result.shape(), 1, Dtype::f64, Device::cuda))[there[3]];
  });
  copy_into(of_graph, segments);
  graph.launch();
  const Var expected = f(here, segments);
  CHECK(mismatch(out, Dtype::f64, expected.value(), tolerance::cuda_f64) == "");
  const Gradients of_expected = backward(expected, Tensor::full(expected.shape(), 1, Dtype::f64));
  CHECK(mismatch(gradient, Dtype::f64, of_expected[here[3]], tolerance::cuda_f64) == "");
}
