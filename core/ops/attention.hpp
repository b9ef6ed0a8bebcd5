// Attention: softmax(scale * q.k + bias, causal within a segment) . v, and the log-sum-exp of each row.
//   q [batch, heads, q_length, qk_dim]   k [batch, kv_heads, k_length, qk_dim]   v [batch, kv_heads, k_length, v_dim]
//   out [batch, heads, q_length, v_dim]  (in memory: [batch, q_length, heads, v_dim], so merging heads is a view)
//   log_sum_exp [batch, heads, q_length]
// f32 or f64; any strides whose last is 1 are read where they lie. heads is a multiple of kv_heads: head h reads
// kv head h / (heads / kv_heads). q_length may be shorter than k_length (decoding): query i stands at key index
// i + k_length - q_length. Causal by index in the sequence, never by a position's value.
//
// The fused path never stores scores: it holds a tile of rows at a time. It is the case without bias, segments
// included. The unfused path is complete and the reference. Errors: ShapeError, DtypeError, ValueError (a row with no
// key to look at cannot occur: a query always sees itself).
#pragma once

#include <optional>

#include "core/tensor.hpp"

namespace phasor {

enum class Causal { no, yes };

struct AttentionOptions {
  std::optional<double> scale = {};  // 1 / sqrt(qk_dim) unless given
  Causal causal = Causal::yes;
  // Document ids [batch or 1, k_length], i32 or i64: a query sees only keys of its own segment (packing).
  Tensor segments = {};
};

// The checks of the fused and the unfused path; `op` names the caller in the message.
void require_attention_arguments(const char* op, const Tensor& q, const Tensor& k, const Tensor& v,
                                 const AttentionOptions& options);

struct AttentionResult {
  Tensor out, log_sum_exp;
};

AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options = {});

struct AttentionGradients {
  Tensor dq, dk, dv;  // in memory like q, k, v
};
AttentionGradients attention_backward(const Tensor& q, const Tensor& k, const Tensor& v,
                                      const AttentionOptions& options, const AttentionResult& forward,
                                      const Tensor& dout);

// Additive mask of the unfused path: 0 where query i may see key j, -inf elsewhere.
// [batch or 1, 1, q_length, k_length]; batch is 1 without segments.
Tensor attention_mask(int64_t q_length, int64_t k_length, const AttentionOptions& options, Dtype dtype);

namespace reference {
// Plain loops in double. `bias` may be undefined, [heads or 1, max_distance] added at distance q_index - k_index
// (rank 2), or broadcast to [batch, heads, q_length, k_length] (rank 4).
AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                          const Tensor& bias);
}  // namespace reference

}  // namespace phasor
