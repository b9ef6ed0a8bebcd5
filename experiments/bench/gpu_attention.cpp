// phasor bench attention --device cuda: fused attention in bf16, beside PyTorch's in the same run.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "autograd/ops.hpp"
#include "core/allocator.hpp"
#include "experiments/bench/bench.hpp"
#include "experiments/bench/gpu.hpp"
#include "experiments/bench/torch_gpu.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor {
namespace {

struct Case {
  int64_t head_dim, heads, length, batch;
  bool is_biased = false;
};

struct Inputs {
  Tensor q, k, v, dout;
  AttentionBias bias;
};

// As views of projections [batch, length, heads * head_dim].
Inputs inputs_of(const Case& c) {
  Random random{.seed = 5};
  const auto draw = [&] {
    return random_on_gpu({c.batch, c.length, c.heads, c.head_dim}, Dtype::bf16, random).transpose(1, 2);
  };
  Inputs in{draw(), draw(), draw(), draw(), {}};
  if (c.is_biased) in.bias.by_distance = normal({c.heads, c.length}, 0, 1, Dtype::f32, random).to(Device::cuda);
  return in;
}

AttentionGradients forward_and_backward(const Inputs& in, const AttentionOptions& options = {}) {
  const AttentionResult result = attention(in.q, in.k, in.v, options, in.bias);
  return attention_backward(in.q, in.k, in.v, options, in.bias, result, in.dout, {});
}

// Tables of all components, as rope has them.
AttentionRotation rotation_of(const Case& c) {
  const CosSin table = Spectrum::geometric(c.head_dim / 2, 10000).table(consecutive_positions(c.length), Dtype::f32);
  const Tensor cos = table.cos.to(Device::cuda), sin = table.sin.to(Device::cuda);
  return {cos, sin, cos, sin, RotaryLayout::half_split};
}

// What attention with a rotation does where it does not turn tiles itself: both passes, and rotary around them.
AttentionGradients with_rotary_apart(const Inputs& in, const AttentionRotation& by) {
  Inputs turned = in;
  turned.q = rotary(in.q, by.q_cos, by.q_sin, by.layout);
  turned.k = rotary(in.k, by.k_cos, by.k_sin, by.layout);
  AttentionGradients gradients = forward_and_backward(turned);
  gradients.dq = rotary_transposed(gradients.dq, by.q_cos, by.q_sin, by.layout);
  gradients.dk = rotary_transposed(gradients.dk, by.k_cos, by.k_sin, by.layout);
  return gradients;
}

// The two have the same bits. Two tiles of queries, and three of keys.
void check_rotation(int64_t head_dim) {
  const Case c{.head_dim = head_dim, .heads = 2, .length = 140, .batch = 1};
  const Inputs in = inputs_of(c);
  const AttentionRotation by = rotation_of(c);
  const AttentionGradients got = forward_and_backward(in, {.rotation = by}), expected = with_rotary_apart(in, by);
  require_close("bench attention: dq with a rotation", got.dq, expected.dq, 0);
  require_close("bench attention: dk with a rotation", got.dk, expected.dk, 0);
  require_close("bench attention: dv with a rotation", got.dv, expected.dv, 0);
}

// Against the unfused path on the CPU, in f64 with the numbers that bf16 has. A length of several tiles and a rest.
void check(int64_t head_dim, bool is_biased) {
  const Inputs in = inputs_of({.head_dim = head_dim, .heads = 2, .length = 300, .batch = 1, .is_biased = is_biased});
  const auto leaf = [](const Tensor& x) { return Var::leaf(x.to(Device::cpu).to(Dtype::f64)); };
  const Var q = leaf(in.q), k = leaf(in.k), v = leaf(in.v);
  const ScoreBias bias{.by_distance = is_biased ? leaf(in.bias.by_distance) : Var()};
  const Var out = attention_unfused(q, k, v, {}, bias);
  constexpr double limit = 2e-2;
  require_close("bench attention: out", attention(in.q, in.k, in.v, {}, in.bias).out, out.value(), limit);
  const Gradients expected = backward(out, in.dout.to(Device::cpu).to(Dtype::f64));
  const AttentionGradients got = forward_and_backward(in);
  require_close("bench attention: dq", got.dq, expected[q], limit);
  require_close("bench attention: dk", got.dk, expected[k], limit);
  require_close("bench attention: dv", got.dv, expected[v], limit);
  if (is_biased) require_close("bench attention: dbias", got.dbias.by_distance, expected[bias.by_distance], limit);
}

// Multiply-adds count twice; half of all pairs; 2 products forward, 5 backward, which computes the scores again. As
// FlashAttention's authors count.
double forward_work(const Case& c) {
  return 2.0 * static_cast<double>(c.batch * c.heads * c.length * c.length * c.head_dim);
}
double backward_work(const Case& c) { return 2.5 * forward_work(c); }

std::string torch_task(const char* kind, const char* pass, const Case& c) {
  return fmt::format(
      R"({{"task": "attention", "kind": "{}", "pass": "{}", "batch": {}, "heads": {}, "length": {}, "head_dim": {}}})",
      kind, pass, c.batch, c.heads, c.length, c.head_dim);
}

// What is timed of one case, and which of PyTorch's it is compared with.
class Rows {
 public:
  Rows(std::optional<TorchOnGpu>& torch, double seconds) : torch_(torch), seconds_(seconds) {}

  // PyTorch compiles FlexAttention for each length: a few of them tell.
  void add(const Case& c, bool with_flex) {
    const Inputs in = inputs_of(c);
    const std::string size = fmt::format("{} x {}", c.head_dim, c.length);
    if (!c.is_biased)
      own(
          size + " forward", [=] { attention(in.q, in.k, in.v, {}, in.bias); }, forward_work(c),
          {{"x flash", "flash", "forward"}, {"x best", "cudnn", "forward"}}, c);
    std::vector<Rival> rivals = {{"x flash", "flash", "both"}, {"x best", "cudnn", "both"}};
    if (c.is_biased) rivals.clear();
    if (c.is_biased && with_flex) rivals = {{"x flex", "flex", "both"}};
    own(
        size + (c.is_biased ? " biased" : ""), [=] { forward_and_backward(in); }, forward_work(c) + backward_work(c),
        rivals, c);
  }

  // Both passes with a rotation, beside rotary in passes of its own.
  void add_rotation(const Case& c) {
    const Inputs in = inputs_of(c);
    const AttentionRotation by = rotation_of(c);
    const AttentionOptions options{.rotation = by};
    if (!attention_turns(in.q, in.k, in.v, options)) return;
    const double work = forward_work(c) + backward_work(c);
    const std::string name = fmt::format("{} x {} turned", c.head_dim, c.length);
    own(
        name, [=] { forward_and_backward(in, options); }, work, {}, c);
    entries_.back().rivals.emplace_back("x apart", subjects_.size());
    subjects_.push_back(on_gpu(
        "rotary apart of " + name, [=] { with_rotary_apart(in, by); }, work, seconds_));
  }

  BenchGroup timed(const std::string& title, const BenchOptions& options) {
    const std::vector<Timing> timings = time_interleaved("bench attention", subjects_, gpu_effort(options));
    BenchGroup group{.title = title};
    for (const Entry& entry : entries_) {
      BenchRow row = row_of(subjects_[entry.own], timings[entry.own]);
      double best = 0;
      for (const auto& [column, rival] : entry.rivals) {
        const double ratio = timings[rival].seconds / timings[entry.own].seconds;
        best = best == 0 ? ratio : std::min(best, ratio);
        if (column != "x best") row.numbers.emplace_back(column, ratio);
        group.numbers.emplace_back(subjects_[rival].name + ", seconds", timings[rival].seconds);
      }
      const bool has_best =
          std::any_of(entry.rivals.begin(), entry.rivals.end(), [](const auto& r) { return r.first == "x best"; });
      if (has_best) row.numbers.emplace_back("x best", best);
      group.rows.push_back(row);
    }
    return group;
  }

 private:
  struct Rival {
    const char *column, *kind, *pass;
  };
  struct Entry {
    size_t own;
    std::vector<std::pair<std::string, size_t>> rivals;
  };

  void own(const std::string& name, const std::function<void()>& run, double work, const std::vector<Rival>& rivals,
           const Case& c) {
    Entry entry{subjects_.size(), {}};
    subjects_.push_back(on_gpu(name, run, work, seconds_));
    for (const auto& [column, kind, pass] : rivals) {
      if (!torch_) continue;
      const std::optional<Subject> rival =
          torch_->subject(fmt::format("{} of {}", kind, name), torch_task(kind, pass, c), work);
      if (!rival) continue;
      entry.rivals.emplace_back(column, subjects_.size());
      subjects_.push_back(*rival);
    }
    entries_.push_back(entry);
  }

  std::optional<TorchOnGpu>& torch_;
  double seconds_;
  std::vector<Subject> subjects_;
  std::vector<Entry> entries_;
};

}  // namespace

BenchResult bench_attention_on_gpu(Against against, const BenchOptions& options) {
  const std::vector<int64_t> lengths =
      options.quick ? std::vector<int64_t>{32, 64} : std::vector<int64_t>{512, 1024, 2048, 4096, 8192, 16384};
  const int64_t tokens = lengths.back(), width = options.quick ? 128 : 2048;
  std::optional<TorchOnGpu> torch;
  if (against == Against::torch) torch.emplace();

  BenchResult result{.name = "attention", .device = Device::cuda};
  result.notes = {fmt::format(
      "bf16, causal, {} tokens in all, heads of 64 or 128 channels, together {}. Rows without a word: forward and "
      "backward; biased: with a learned bias of distance, and its gradient. Operations as FlashAttention's authors "
      "count them: half of all pairs, 4 head_dim each forward, 2.5 times that backward. turned: queries and keys "
      "turned inside; x apart: times as fast as with rotary in passes of its own.",
      tokens, width)};
  if (torch)
    result.notes.push_back("Times as fast as PyTorch " + torch->version() +
                           " in the same run; x flash: FlashAttention-2, its backward deterministic; x best: the "
                           "faster of that and cuDNN's; "
                           "x flex: compiled FlexAttention with a learned bias. Aims: x flash 0.9, x flex 1.5.");
  for (const int64_t head_dim : {64, 128}) {
    std::vector<std::string> remarks;
    Rows rows(torch, gpu_seconds_of(options));
    for (const bool is_biased : {false, true}) {
      const std::string what = fmt::format("heads of {}{}", head_dim, is_biased ? ", biased" : "");
      if (!holds([&] { check(head_dim, is_biased); }, what, remarks)) continue;
      for (const int64_t length : lengths)
        rows.add({head_dim, width / head_dim, length, tokens / length, is_biased},
                 length == 1024 || length == 4096 || length == 16384);
    }
    const std::string turned = fmt::format("heads of {}, turned", head_dim);
    if (holds([&] { check_rotation(head_dim); }, turned, remarks))
      for (const int64_t length : lengths) rows.add_rotation({head_dim, width / head_dim, length, tokens / length});
    BenchGroup group = rows.timed(fmt::format("heads of {}: channels x length", head_dim), options);
    group.remarks = remarks;
    if (torch) torch->tell_refusals(group.remarks);
    result.groups.push_back(group);
    release_cached_memory(Device::cuda);
  }
  return result;
}

}  // namespace phasor
