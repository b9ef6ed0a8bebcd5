// The differentiable ops: a table of contents. Each line is a function of Vars; its contract (shapes, dtypes, errors)
// stands in core/ops/<file>.hpp, its derivation and rule in autograd/ops/<file>.cpp, its checks in
// tests/ops/<file>_test.cpp.
#pragma once

#include <vector>

#include "autograd/var.hpp"
#include "core/ops/attention.hpp"
#include "core/ops/cross_entropy.hpp"
#include "core/ops/rotary.hpp"

namespace phasor {

// binary: element-wise with broadcasting
Var add(const Var& a, const Var& b);
Var sub(const Var& a, const Var& b);
Var mul(const Var& a, const Var& b);
Var div(const Var& a, const Var& b);
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

// unary: element-wise
Var neg(const Var& x);
Var exp(const Var& x);
Var log(const Var& x);
Var sqrt(const Var& x);
Var sin(const Var& x);
Var cos(const Var& x);
Var tanh(const Var& x);
Var sigmoid(const Var& x);
Var silu(const Var& x);
inline Var operator-(const Var& x) { return neg(x); }

// reduce: over some axes (none given: all), which stay as extent 1; sum(x) and mean(x) of everything are scalars
Var sum(const Var& x, const std::vector<int>& axes);
Var mean(const Var& x, const std::vector<int>& axes);
Var sum(const Var& x);
Var mean(const Var& x);

// view: no arithmetic
Var reshape(const Var& x, const Shape& shape);
Var transpose(const Var& x, int axis_a, int axis_b);
Var slice(const Var& x, int axis, int64_t start, int64_t stop);
Var broadcast_to(const Var& x, const Shape& shape);
Var cast(const Var& x, Dtype dtype);  // between f32 and f64

// products, norms, losses
Var matmul(const Var& a, const Var& b);
Var softmax(const Var& x);
Var rms_norm(const Var& x, const Var& weight, double epsilon);
Var swiglu(const Var& gate, const Var& up);
Var embedding(const Var& table, const Tensor& ids);
Var cross_entropy_by_row(const Var& logits, const Tensor& targets, int64_t ignore = no_ignored_target);
Var cross_entropy(const Var& logits, const Tensor& targets, int64_t ignore = no_ignored_target);

// attention
Var rotary(const Var& x, const Var& cos, const Var& sin, RotaryLayout layout);
Var attention(const Var& q, const Var& k, const Var& v, const AttentionOptions& options = {});  // fused, no bias

// What the unfused path adds to plain attention. All three may be left out.
struct AttentionExtras {
  Var bias_by_distance = {};  // [heads or 1, max_distance]: added at distance q_index - k_index; 0 <= distance <
                              // max_distance
  Var bias = {};              // broadcasts to [batch, heads, q_length, k_length]
  std::function<Var(const Var& scores)> transform =
      {};  // of the scaled, biased scores [batch, heads, q_length, k_length]
};
// The same function composed of matmul, add and softmax: the meaning of attention, for biases, transformed scores and
// whoever wants to look at the scores.
Var attention_unfused(const Var& q, const Var& k, const Var& v, const AttentionOptions& options = {},
                      const AttentionExtras& extras = {});

}  // namespace phasor
