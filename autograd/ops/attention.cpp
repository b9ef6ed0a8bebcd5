// Attention twice: the fused op with its own derivative, and the same function composed of differentiable ops.
#include "core/ops/attention.hpp"

#include <cmath>

#include "autograd/ops.hpp"
#include "core/dispatch.hpp"
#include "core/parallel.hpp"

namespace phasor {

// Per row, with s = scale q k^T (hidden keys: -inf), p = softmax(s), out = p v:
//   dv = p^T dout
//   dp = dout v^T
//   ds = p (dp - sum_j p_j dp_j)    the softmax rule; sum_j p_j dp_j = dout . out needs no pattern
//   dq = scale ds k,   dk = scale ds^T q
// p = e^(s - log_sum_exp) is computed again from q and k: no score is kept between forward and backward.
Var attention(const Var& q, const Var& k, const Var& v, const AttentionOptions& options) {
  const AttentionResult result = attention(q.value(), k.value(), v.value(), options);
  return record("attention", result.out, {q, k, v},
                [q = q.value(), k = k.value(), v = v.value(), options, result](const Tensor& dout, Wanted) {
                  const AttentionGradients gradients = attention_backward(q, k, v, options, result, dout);
                  return std::vector<Tensor>{gradients.dq, gradients.dk, gradients.dv};
                });
}

namespace {

// The bias of every query and key from the bias of every distance: [heads or 1, max_distance] to
// [heads or 1, q_length, k_length].
//   y[h, i, j] = bias[h, i + k_length - q_length - j], 0 where that is negative (hidden by causality)
//   dbias[h, t] = the sum of dy[h, i, j] over the diagonal on which the distance is t
Var spread_by_distance(const Var& bias, int64_t q_length, int64_t k_length) {
  const int64_t heads = bias.extent(0), max_distance = bias.extent(1), ahead = k_length - q_length;
  const Tensor y = Tensor::zeros({heads, q_length, k_length}, bias.dtype());
  const Tensor from = bias.value().contiguous();
  with_float("attention_unfused", bias.dtype(), [&]<class T>() {
    parallel_for(heads * q_length, grain_for(k_length), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* const of_head = from.data<T>() + row / q_length * max_distance;
        const int64_t q_index = row % q_length + ahead;
        for (int64_t k_index = 0; k_index <= q_index; ++k_index)
          y.data<T>()[row * k_length + k_index] = of_head[q_index - k_index];
      }
    });
  });
  return record("bias_by_distance", y, {bias}, [=, dtype = bias.dtype()](const Tensor& dy, Wanted) {
    const Tensor dbias = Tensor::zeros({heads, max_distance}, dtype), dense = dy.contiguous();
    with_float("attention_unfused", dtype, [&]<class T>() {
      parallel_for(heads * k_length, grain_for(q_length), [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          const int64_t head = task / k_length, distance = task % k_length;
          T sum = 0;
          for (int64_t i = std::max<int64_t>(0, distance - ahead); i < q_length; ++i)
            sum += dense.data<T>()[(head * q_length + i) * k_length + i + ahead - distance];
          dbias.data<T>()[head * max_distance + distance] = sum;
        }
      });
    });
    return std::vector<Tensor>{dbias};
  });
}

void require_extras(const Shape& scores, const AttentionOptions& options, const AttentionExtras& extras) {
  const char* const op = "attention_unfused";
  if (const Var& bias = extras.bias_by_distance; bias.defined()) {
    require<ValueError>(options.causal == Causal::yes, op,
                        "bias_by_distance needs causal attention: it says nothing of keys after the query");
    require(bias.rank() == 2 && (bias.extent(0) == 1 || bias.extent(0) == scores[1]), op, "bias_by_distance is ",
            bias.shape(), "; needs [heads or 1, max_distance] with ", scores[1], " heads (axis 0)");
    require(bias.extent(1) >= scores[3], op, "bias_by_distance is ", bias.shape(), ": axis 1 (max_distance) is ",
            bias.extent(1), "; needs at least k_length ", scores[3]);
  }
  if (const Var& bias = extras.bias; bias.defined()) {
    require(bias.rank() <= 4, op, "bias is ", bias.shape(), "; must broadcast to ", scores);
    for (int axis = -1; axis >= -bias.rank(); --axis)
      require(bias.shape()[axis] == 1 || bias.shape()[axis] == scores[axis], op, "bias is ", bias.shape(),
              "; must broadcast to ", scores, ": axis ", axis, " is ", bias.shape()[axis]);
  }
}

}  // namespace

Var attention_unfused(const Var& q, const Var& k, const Var& v, const AttentionOptions& options,
                      const AttentionExtras& extras) {
  require_attention_arguments("attention_unfused", q.value(), k.value(), v.value(), options);
  const int64_t batch = q.extent(0), heads = q.extent(1), q_length = q.extent(2), qk_dim = q.extent(3);
  const int64_t kv_heads = k.extent(1), group = heads / kv_heads, k_length = k.extent(2), v_dim = v.extent(3);
  const Shape shape{batch, heads, q_length, k_length};
  require_extras(shape, options, extras);

  // Grouped heads get an axis of their own, which k and v broadcast: [batch, kv_heads, group, length, dim].
  const auto grouped = [&](const Var& x, int64_t members) {
    return group == 1 ? x : reshape(x, {batch, kv_heads, members, x.extent(2), x.extent(3)});
  };
  const double scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(qk_dim)));
  Var scores = reshape(matmul(grouped(q, group), transpose(grouped(k, 1), -1, -2)), shape) * scale;
  if (extras.bias_by_distance.defined())
    scores = scores + spread_by_distance(extras.bias_by_distance, q_length, k_length);
  if (extras.bias.defined()) scores = scores + extras.bias;
  if (extras.transform) {
    scores = extras.transform(scores);
    require(scores.shape() == shape, "attention_unfused", "transform returned scores of shape ", scores.shape(),
            "; needs ", shape);
  }
  const Var pattern = softmax(scores + Var(attention_mask(q_length, k_length, options, scores.dtype())));
  return reshape(matmul(grouped(pattern, group), grouped(v, 1)), {batch, heads, q_length, v_dim});
}

}  // namespace phasor
