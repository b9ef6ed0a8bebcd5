// phasor bench attention: the fused kernels, forward and backward, at lengths where scores would not fit.
#include <fmt/format.h>

#include "autograd/ops.hpp"
#include "core/allocator.hpp"
#include "core/random.hpp"
#include "experiments/bench/bench.hpp"

namespace phasor {
namespace {

constexpr int64_t head_dim = 64, heads = 4;

// q, k, v and dout [batch, heads, length, head_dim], as views of projections [batch, length, heads * head_dim].
struct Inputs {
  Tensor q, k, v, dout;
  AttentionBias bias;
};

Inputs inputs_of(int64_t batch, int64_t length, bool with_bias) {
  Random random{.seed = 5};
  const auto draw = [&] { return normal({batch, length, heads, head_dim}, 0, 1, Dtype::f32, random).transpose(1, 2); };
  Inputs in{draw(), draw(), draw(), draw(), {}};
  if (with_bias) in.bias.by_distance = normal({heads, length}, 0, 1, Dtype::f32, random);
  return in;
}

AttentionGradients forward_and_backward(const Inputs& in) {
  const AttentionResult result = attention(in.q, in.k, in.v, {}, in.bias);
  return attention_backward(in.q, in.k, in.v, {}, in.bias, result, in.dout, {});
}

// Forward against plain loops, gradients against those of the unfused path. A length of several tiles and a rest.
void check(bool with_bias) {
  const Inputs in = inputs_of(1, 300, with_bias);
  require_close("bench attention: out", attention(in.q, in.k, in.v, {}, in.bias).out,
                reference::attention(in.q, in.k, in.v, {}, in.bias).out);
  const auto leaf = [](const Tensor& x) { return Var::leaf(x.to(Dtype::f64)); };
  const Var q = leaf(in.q), k = leaf(in.k), v = leaf(in.v);
  const ScoreBias bias{.by_distance = with_bias ? leaf(in.bias.by_distance) : Var()};
  const Gradients expected = backward(attention_unfused(q, k, v, {}, bias), in.dout.to(Dtype::f64));
  const AttentionGradients got = forward_and_backward(in);
  require_close("bench attention: dq", got.dq, expected[q]);
  require_close("bench attention: dk", got.dk, expected[k]);
  require_close("bench attention: dv", got.dv, expected[v]);
  if (with_bias) require_close("bench attention: dbias", got.dbias.by_distance, expected[bias.by_distance]);
}

Subject subject(int64_t length, int64_t batch, bool with_bias) {
  const Inputs in = inputs_of(batch, length, with_bias);
  return {.name = fmt::format("length {}{}", length, with_bias ? ", biased" : ""),
          .run = [=] { forward_and_backward(in); },
          .work = 6.0 * static_cast<double>(batch * heads * length * length * head_dim)};
}

// Bytes at the peak of forward and backward beyond q, k, v and dout, for one sequence and each of its tokens.
double bytes_per_token(int64_t length) {
  const Inputs in = inputs_of(1, length, false);
  reset_peak_memory();
  const int64_t before = memory_counts().bytes_in_use;
  forward_and_backward(in);
  return static_cast<double>(memory_counts().peak_bytes - before) / static_cast<double>(length);
}

}  // namespace

BenchResult bench_attention(Against against, const BenchOptions& options) {
  if (options.device == Device::cuda) return bench_attention_on_gpu(against, options);
  require<UsageError>(against == Against::nothing, "bench",
                      "attention runs beside PyTorch on a GPU only: --device cuda");
  const std::vector<int64_t> lengths =
      options.quick ? std::vector<int64_t>{32, 64} : std::vector<int64_t>{256, 1024, 2048, 4096, 8192};
  const int64_t tokens = lengths.back();  // as many at each length
  std::vector<Subject> subjects;
  for (const int64_t length : lengths) {
    const int64_t batch = tokens / length;
    subjects.push_back(subject(length, batch, false));
    subjects.push_back(subject(length, batch, true));
  }
  subjects[0].check = [] { check(false); };  // one input for all lengths
  subjects[1].check = [] { check(true); };
  BenchGroup group = time_operations("forward and backward, causal", subjects, options);
  for (size_t i = 0; i < lengths.size(); ++i) {
    BenchRow &plain = group.rows[2 * i], &biased = group.rows[2 * i + 1];
    biased.numbers.emplace_back("x plain", biased.timing->seconds / plain.timing->seconds);
    plain.numbers.emplace_back("B/token", bytes_per_token(lengths[i]));
  }
  return {
      .name = "attention",
      .notes = {fmt::format("{} heads of {}, {} tokens in all, f32; biased: with a bias of distance and its gradient. "
                            "Operations: 6 batch heads length^2 head_dim, half of all pairs. B/token: the most "
                            "that one sequence takes beyond its inputs; where memory is linear, the same at every "
                            "length.",
                            heads, head_dim, tokens),
                ceiling_note(options)},
      .groups = {group},
      .threads = options.threads};
}

}  // namespace phasor
