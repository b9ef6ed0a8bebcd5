// The differentiable ops: a table of contents. Each line is a function of Vars; its contract (shapes, dtypes, errors)
// stands in core/ops/<file>.hpp, its derivation and rule in autograd/ops/<file>.cpp, its checks in
// tests/ops/<file>_test.cpp.
#pragma once

#include <vector>

#include "autograd/var.hpp"
#include "core/ops/attention.hpp"
#include "core/ops/cross_entropy.hpp"
#include "core/ops/rotary.hpp"
#include "core/random.hpp"

namespace phasor {

// binary: element-wise with broadcasting
Var add(const Var& a, const Var& b);
Var sub(const Var& a, const Var& b);
Var mul(const Var& a, const Var& b);
Var div(const Var& a, const Var& b);
Var pow(const Var& a, const Var& b);
Var pow(const Var& a, double b);
Var minimum(const Var& a, const Var& b);
Var maximum(const Var& a, const Var& b);
Var outer(const Var& a, const Var& b);  // [..., m], [..., n] -> [..., m, n]
inline Var operator+(const Var& a, const Var& b) { return add(a, b); }
inline Var operator-(const Var& a, const Var& b) { return sub(a, b); }
inline Var operator*(const Var& a, const Var& b) { return mul(a, b); }
inline Var operator/(const Var& a, const Var& b) { return div(a, b); }
Var operator+(const Var& a, double b);  // the number takes the dtype of the Var: DtypeError unless f32 or f64
Var operator*(const Var& a, double b);
Var operator/(const Var& a, double b);
inline Var operator+(double a, const Var& b) { return b + a; }
inline Var operator*(double a, const Var& b) { return b * a; }
inline Var operator-(const Var& a, double b) { return a + -b; }
Var operator-(double a, const Var& b);
Var operator/(double a, const Var& b);

// unary: element-wise
Var neg(const Var& x);
Var abs(const Var& x);
Var exp(const Var& x);
Var log(const Var& x);
Var log1p(const Var& x);
Var sqrt(const Var& x);
Var rsqrt(const Var& x);
Var sin(const Var& x);
Var cos(const Var& x);
Var tanh(const Var& x);
Var sigmoid(const Var& x);
Var silu(const Var& x);
Var gelu(const Var& x);       // x Phi(x), exact
Var gelu_tanh(const Var& x);  // the approximation through tanh, GPT-2's
Var relu(const Var& x);
Var softplus(const Var& x);
Var clamp(const Var& x, double low, double high);
inline Var operator-(const Var& x) { return neg(x); }

// reduce: over some axes (none given: all), which stay as extent 1; sum(x) and mean(x) of everything are scalars
Var sum(const Var& x, const std::vector<int>& axes);
Var mean(const Var& x, const std::vector<int>& axes);
Var max(const Var& x, const std::vector<int>& axes);
Var logsumexp(const Var& x, const std::vector<int>& axes);
Var variance(const Var& x, const std::vector<int>& axes);
Var sum(const Var& x);
Var mean(const Var& x);

// along one axis, which stays: negative axes count from the end
Var cumsum(const Var& x, int axis);
Var softmax(const Var& x, int axis = -1);
Var log_softmax(const Var& x, int axis = -1);

// choice: by a boolean tensor, from core/ops/compare.hpp for example, or by ids
Var where(const Tensor& condition, const Var& a, const Var& b);
Var gather(const Var& x, int axis, const Tensor& ids);
Var scatter_add(const Var& x, int axis, const Tensor& ids, const Var& source);
Var index_select(const Var& x, int axis, const Tensor& ids);
Var embedding(const Var& table, const Tensor& ids);

// view: no arithmetic
Var reshape(const Var& x, const Shape& shape);
Var transpose(const Var& x, int axis_a, int axis_b);
Var slice(const Var& x, int axis, int64_t start, int64_t stop);
Var broadcast_to(const Var& x, const Shape& shape);
Var cast(const Var& x, Dtype dtype);  // between f32 and f64

// arrangement: copies, still no arithmetic
Var concat(const std::vector<Var>& parts, int axis);
Var stack(const std::vector<Var>& parts, int axis);
Var flip(const Var& x, int axis);
Var pad(const Var& x, int axis, int64_t before, int64_t after, double value = 0);

// products, norms, losses
Var matmul(const Var& a, const Var& b);
Var linear(const Var& x, const Var& weight, const Var& bias);
Var conv_keys(const Var& x, const Var& weight);
Var rms_norm(const Var& x, const Var& weight, double epsilon);
Var layer_norm(const Var& x, const Var& weight, const Var& bias, double epsilon);
Var swiglu(const Var& gate, const Var& up);
Var dropout(const Var& x, double probability, const Random& random);
Var cross_entropy_by_row(const Var& logits, const Tensor& targets, int64_t ignore = no_ignored_target);
Var cross_entropy(const Var& logits, const Tensor& targets, int64_t ignore = no_ignored_target);

// attention
Var rotary(const Var& x, const Var& cos, const Var& sin, RotaryLayout layout);

// What is added to the scaled scores; either, both or neither. As core/ops/attention.hpp says of AttentionBias.
struct ScoreBias {
  Var by_distance = {};  // [heads or 1, max_distance]: at distance q_index - k_index, 0 <= distance < max_distance
  Var by_position = {};  // broadcasts to [batch, heads, q_length, k_length]
};
// Fused: never stores scores.
Var attention(const Var& q, const Var& k, const Var& v, const AttentionOptions& options = {},
              const ScoreBias& bias = {});
// The same with the log-sum-exp of each row of scores, [batch, heads, q_length], differentiable too: what is needed to
// join attentions over disjoint sets of keys.
struct AttentionOutputs {
  Var out, log_sum_exp;
};
AttentionOutputs attention_with_log_sum_exp(const Var& q, const Var& k, const Var& v,
                                            const AttentionOptions& options = {}, const ScoreBias& bias = {});

// What only the unfused path can do. All may be left out.
enum class ScoreStage { score, score_biased, pattern };  // scaled q.k; with bias and transform; after softmax
struct AttentionExtras {
  // Of the shapes of q and k. Pairs at a distance (q_index - k_index) of at least `far_from` take their score from
  // these (ReRoPE, Self-Extend).
  Var far_q = {}, far_k = {};
  int64_t far_from = 0;
  // Of the scaled, biased scores [batch, heads, q_length, k_length]; returns the same shape.
  std::function<Var(const Var& scores)> transform = {};
  // Called at each stage with [batch, heads, q_length, k_length]; what it returns takes the value's place.
  std::function<Var(ScoreStage stage, const Var& value)> at = {};
};
// The same function composed of matmul, add and softmax: the meaning of attention, for transformed scores, a second set
// of scores, and whoever wants to look at the scores.
Var attention_unfused(const Var& q, const Var& k, const Var& v, const AttentionOptions& options = {},
                      const ScoreBias& bias = {}, const AttentionExtras& extras = {});

}  // namespace phasor
