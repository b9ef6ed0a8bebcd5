// Attention: softmax(scale * q.k + bias, causal within a segment) . v, and the log-sum-exp of each row.
//   q [batch, heads, q_length, qk_dim]   k [batch, kv_heads, k_length, qk_dim]   v [batch, kv_heads, k_length, v_dim]
//   out [batch, heads, q_length, v_dim]  (in memory: [batch, q_length, heads, v_dim], so merging heads is a view)
//   log_sum_exp [batch, heads, q_length], in f32 for bf16: scores are computed from it again, and 8 bits are too few
// What a query may not see changes nothing, as long as it is finite: a NaN or an infinity in v of a hidden key may
// reach the rows of its tile. f32, f64 or, on the GPU, bf16; any strides whose last is 1 are read where they lie. heads
// is a multiple of kv_heads: head h reads kv head h / (heads / kv_heads). q_length may be shorter than k_length
// (decoding): query i stands at key index i + k_length - q_length. Causal by index in the sequence, never by a
// position's value.
//
// What causality or segments hide stays hidden whatever the bias is, and has no part in any gradient. Keys may be
// hidden by a bias of -inf too. A row that sees no key (only such a bias can do that: a query always sees itself) is
// the sum of nothing: out 0, log_sum_exp -inf, no gradient; joined with other keys by log_sum_exp it weighs nothing.
//
// With a rotation, q and k are turned first, as rotary.hpp says. On the GPU the kernels of the tensor cores turn the
// tiles they load, and gradients before they are written, where attention_turns says so: with the bits of rotary in a
// pass of its own. Elsewhere it is that.
//
// The fused path never stores scores: it holds a tile of rows at a time. The unfused path (autograd/ops.hpp) is
// complete and the reference. Errors: ShapeError, DtypeError, ValueError (k_length 0 with queries, by_distance without
// causality).
#pragma once

#include <optional>

#include "core/ops/rotary.hpp"

namespace phasor {

enum class Causal { no, yes };

// Each as rotary takes it for q or k, a constant: whoever wants its gradient calls rotary.
struct AttentionRotation {
  Tensor q_cos, q_sin, k_cos, k_sin;
  RotaryLayout layout = RotaryLayout::half_split;
};

struct AttentionOptions {
  std::optional<double> scale = {};  // 1 / sqrt(qk_dim) unless given
  Causal causal = Causal::yes;
  // Document ids [batch or 1, k_length], i32 or i64, on any device: a query sees only keys of its own segment
  // (packing).
  Tensor segments = {};
  std::optional<AttentionRotation> rotation = {};
};

// What is added to the scaled scores, in the dtype of q or in f32 beside bf16; either, both or neither.
struct AttentionBias {
  // [heads or 1, max_distance], added at distance q_index - k_index (in the sequence); causal attention only, and
  // max_distance >= k_length. Memory for it and its gradient grows with the length.
  Tensor by_distance = {};
  // Broadcasts to [batch, heads, q_length, k_length]. Its gradient has that shape: memory grows with the square of the
  // length.
  Tensor by_position = {};
};

// The checks of the fused and the unfused path; `op` names the caller in the message.
void require_attention_arguments(const char* op, const Tensor& q, const Tensor& k, const Tensor& v,
                                 const AttentionOptions& options, const AttentionBias& bias = {});

struct AttentionResult {
  Tensor out, log_sum_exp;
};

// Whether attention turns q and k by its rotation without a pass over them: on the GPU in bf16, without biases, where
// qk_dim and v_dim take tiles of one width (32, 64 or 128) and f32 tables have a multiple of 8 components, up to a
// length where turning tiles again for each other tile costs more than it saves. Decides about time and memory alone.
// False without a rotation.
bool attention_turns(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                     const AttentionBias& bias = {});

AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options = {},
                          const AttentionBias& bias = {});

struct AttentionGradients {
  Tensor dq, dk, dv;    // in memory like q, k, v
  AttentionBias dbias;  // of the biases given and wanted; by_distance has its bias's shape, by_position the full one
};
struct WantedBiases {
  bool by_distance = true, by_position = true;
};
// Either of `dout` and `dlog_sum_exp` may be left undefined, which means zeros and saves their work.
AttentionGradients attention_backward(const Tensor& q, const Tensor& k, const Tensor& v,
                                      const AttentionOptions& options, const AttentionBias& bias,
                                      const AttentionResult& forward, const Tensor& dout, const Tensor& dlog_sum_exp,
                                      const WantedBiases& wanted = {});

// Where query i may see key j, as the unfused path hides: boolean [batch or 1, 1, q_length, k_length]; batch is 1
// without segments. On the device of the segments, on the CPU without.
Tensor visible_pairs(int64_t q_length, int64_t k_length, const AttentionOptions& options);

namespace cuda {
// What the functions above call on the GPU, after their checks; with a rotation only where attention_turns.
bool attention_turns(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                     const AttentionBias& bias);
AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                          const AttentionBias& bias);
AttentionGradients attention_backward(const Tensor& q, const Tensor& k, const Tensor& v,
                                      const AttentionOptions& options, const AttentionBias& bias,
                                      const AttentionResult& forward, const Tensor& dout, const Tensor& dlog_sum_exp,
                                      const WantedBiases& wanted);
}  // namespace cuda

namespace reference {
// Plain loops in double.
AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options = {},
                          const AttentionBias& bias = {});
}  // namespace reference

}  // namespace phasor
