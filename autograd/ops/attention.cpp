// Attention as one op with its own derivative. The same function composed of other ops: attention_unfused.cpp.
#include "core/ops/attention.hpp"

#include "autograd/device.hpp"
#include "autograd/ops.hpp"

namespace phasor {
namespace {

ScoreBias beside(const Var& q, const ScoreBias& bias) {
  return {on(q.device(), bias.by_distance), on(q.device(), bias.by_position)};
}

AttentionBias values(const ScoreBias& bias) { return {bias.by_distance.value(), bias.by_position.value()}; }

// What the op takes: constants on the device of q, and q and k turned before where it does not turn them itself. rotary
// keeps nothing for its gradient then, and q and k are not turned once more in backward.
struct Operands {
  Var q, k;
  AttentionOptions options;
  ScoreBias bias;

  Operands(const Var& q_, const Var& k_, const Var& v, const AttentionOptions& given, const ScoreBias& of_scores)
      : q(q_), k(k_), options(on(q_.device(), given)), bias(beside(q_, of_scores)) {
    if (!options.rotation) return;
    if (attention_turns(q.value(), k.value(), v.value(), options, values(bias))) return;
    const AttentionRotation& by = *options.rotation;
    q = rotary(q, by.q_cos, by.q_sin, by.layout);
    k = rotary(k, by.k_cos, by.k_sin, by.layout);
    options.rotation.reset();
  }
};

// Per row, with s = scale q k^T + bias (hidden keys: -inf), p = softmax(s), out = p v:
//   dv = p^T dout
//   dp = dout v^T
//   ds = p (dp - sum_j p_j dp_j)    the softmax rule; sum_j p_j dp_j = dout . out needs no pattern
//   dq = scale ds k,   dk = scale ds^T q,   dbias = ds, summed over what the bias was broadcast to
// p = e^(s - log_sum_exp) is computed again from q, k and bias: no score is kept between forward and backward.
Var record_out(const Operands& x, const Var& v, const AttentionResult& result) {
  return record("attention", result.out, {x.q, x.k, v, x.bias.by_distance, x.bias.by_position},
                [q = x.q.value(), k = x.k.value(), v = v.value(), options = x.options, bias = values(x.bias), result](
                    const Tensor& dout, Wanted wanted) {
                  const AttentionGradients gradients = attention_backward(
                      q, k, v, options, bias, result, dout, {}, {.by_distance = wanted[3], .by_position = wanted[4]});
                  return std::vector<Tensor>{gradients.dq, gradients.dk, gradients.dv, gradients.dbias.by_distance,
                                             gradients.dbias.by_position};
                });
}

// The derivative of log_sum_exp with respect to s is p: ds = p dlog_sum_exp, then as above. v has no part in it.
Var record_log_sum_exp(const Operands& x, const Var& v, const AttentionResult& result) {
  return record("attention_with_log_sum_exp", result.log_sum_exp, {x.q, x.k, x.bias.by_distance, x.bias.by_position},
                [q = x.q.value(), k = x.k.value(), v = v.value(), options = x.options, bias = values(x.bias), result](
                    const Tensor& dlog_sum_exp, Wanted wanted) {
                  const AttentionGradients gradients =
                      attention_backward(q, k, v, options, bias, result, {}, dlog_sum_exp,
                                         {.by_distance = wanted[2], .by_position = wanted[3]});
                  return std::vector<Tensor>{gradients.dq, gradients.dk, gradients.dbias.by_distance,
                                             gradients.dbias.by_position};
                });
}

AttentionResult result_of(const Operands& x, const Var& v) {
  return attention(x.q.value(), x.k.value(), v.value(), x.options, values(x.bias));
}

}  // namespace

Var attention(const Var& q, const Var& k, const Var& v, const AttentionOptions& options, const ScoreBias& bias) {
  const Operands x(q, k, v, options, bias);
  return record_out(x, v, result_of(x, v));
}

// Two records over one forward, which share what they keep: each output has a rule of its own.
AttentionOutputs attention_with_log_sum_exp(const Var& q, const Var& k, const Var& v, const AttentionOptions& options,
                                            const ScoreBias& bias) {
  const Operands x(q, k, v, options, bias);
  const AttentionResult result = result_of(x, v);
  return {record_out(x, v, result), record_log_sum_exp(x, v, result)};
}

}  // namespace phasor
