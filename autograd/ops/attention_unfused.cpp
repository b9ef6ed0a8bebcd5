// Attention composed of differentiable ops: its meaning, which the fused op is held against, and the way for whoever
// wants to look at the scores or change them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "core/dispatch.hpp"
#include "core/loops.hpp"
#include "core/ops/attention.hpp"
#include "core/ops/reduce.hpp"

namespace phasor {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// y = condition ? a : b, all broadcast to `shape`; what is not chosen reaches neither the value nor the gradient.
//   da = condition ? dy : 0,   db = condition ? 0 : dy
Tensor chosen(const Shape& shape, const Tensor& condition, const Tensor& a, const Tensor& b) {
  const Tensor y = Tensor::empty(shape, a.dtype()), wide_condition = condition.broadcast_to(shape);
  const Tensor wide_a = a.broadcast_to(shape), wide_b = b.broadcast_to(shape);
  const StridedLoop<4> loop(shape, {y.strides(), wide_condition.strides(), wide_a.strides(), wide_b.strides()});
  with_float("attention_unfused", a.dtype(), [&]<class T>() {
    loop.run(grain_for(4), [&](const std::array<int64_t, 4>& at, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        const T* const from = wide_condition.data<bool>()[at[1] + i * loop.step(1)]
                                  ? wide_a.data<T>() + at[2] + i * loop.step(2)
                                  : wide_b.data<T>() + at[3] + i * loop.step(3);
        y.data<T>()[at[0] + i * loop.step(0)] = *from;
      }
    });
  });
  return y;
}

Var choose(const Shape& shape, const Tensor& condition, const Var& a, const Var& b) {
  return record("attention_unfused", chosen(shape, condition, a.value(), b.value()), {a, b},
                [=](const Tensor& dy, Wanted) {
                  const Tensor zero = Tensor::scalar(0, dy.dtype());
                  return std::vector{chosen(shape, condition, dy, zero), chosen(shape, condition, zero, dy)};
                });
}

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

// Where the distance q_index - k_index is at least `far_from`: boolean [q_length, k_length].
Tensor far_pairs(int64_t q_length, int64_t k_length, int64_t far_from) {
  const Tensor far = Tensor::empty({q_length, k_length}, Dtype::boolean);
  for (int64_t i = 0; i < q_length; ++i)
    for (int64_t k_index = 0; k_index < k_length; ++k_index)
      far.data<bool>()[i * k_length + k_index] = i + k_length - q_length - k_index >= far_from;
  return far;
}

// Softmax over the keys; zeros where every score is -inf.
Var softmax_of_seen(const Var& scores) {
  if (scores.size() == 0) return scores;  // without keys there are no queries either
  const Tensor largest = max(scores.value(), {3});
  const Tensor sees_nothing = Tensor::empty(largest.shape(), Dtype::boolean);
  const std::vector<double> of_row = largest.to(Dtype::f64).to_vector<double>();
  std::transform(of_row.begin(), of_row.end(), sees_nothing.data<bool>(), [](double x) { return x == -infinity; });
  if (std::find(of_row.begin(), of_row.end(), -infinity) == of_row.end()) return softmax(scores);
  // Chosen before and after: the softmax of such a row is NaN, and so would be its gradient.
  const Var zero = Tensor::scalar(0, scores.dtype());
  return choose(scores.shape(), sees_nothing, zero, softmax(choose(scores.shape(), sees_nothing, zero, scores)));
}

void require_far(const Var& q, const Var& k, const AttentionExtras& extras) {
  const char* const op = "attention_unfused";
  const bool has_q = extras.far_q.defined(), has_k = extras.far_k.defined();
  require<ValueError>(has_q == has_k, op, has_q ? "far_q is given, far_k is not" : "far_k is given, far_q is not",
                      "; scores need both");
  require<ValueError>(has_q || extras.far_from == 0, op, "far_from is ", extras.far_from,
                      ", but far_q and far_k are not given");
  if (!has_q) return;
  require_same_shape(op, "far_q", extras.far_q.value(), "q", q.value());
  require_same_shape(op, "far_k", extras.far_k.value(), "k", k.value());
  require_same_dtype(op, "far_q", extras.far_q.value(), "q", q.value());
  require_same_dtype(op, "far_k", extras.far_k.value(), "k", k.value());
}

}  // namespace

Var attention_unfused(const Var& q, const Var& k, const Var& v, const AttentionOptions& options, const ScoreBias& bias,
                      const AttentionExtras& extras) {
  const char* const op = "attention_unfused";
  require_attention_arguments(op, q.value(), k.value(), v.value(), options,
                              {bias.by_distance.value(), bias.by_position.value()});
  require_far(q, k, extras);
  const int64_t batch = q.extent(0), heads = q.extent(1), q_length = q.extent(2), qk_dim = q.extent(3);
  const int64_t kv_heads = k.extent(1), group = heads / kv_heads, k_length = k.extent(2), v_dim = v.extent(3);
  const Shape shape{batch, heads, q_length, k_length};
  const auto checked = [&](const char* by, Var value) {
    require(value.shape() == shape, op, by, " returned ", value.shape(), "; needs [batch, heads, q_length, k_length] ",
            shape);
    require<DtypeError>(value.dtype() == q.dtype(), op, by, " returned ", value.dtype(), "; needs ", q.dtype());
    return value;
  };
  const auto at = [&](ScoreStage stage, const char* name, const Var& value) {
    return extras.at ? checked(name, extras.at(stage, value)) : value;
  };

  // Grouped heads get an axis of their own, which k and v broadcast: [batch, kv_heads, group, length, dim].
  const auto grouped = [&](const Var& x, int64_t members) {
    return group == 1 ? x : reshape(x, {batch, kv_heads, members, x.extent(2), x.extent(3)});
  };
  const double scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(qk_dim)));
  const auto scaled_products = [&](const Var& queries, const Var& keys) {
    return reshape(matmul(grouped(queries, group), transpose(grouped(keys, 1), -1, -2)), shape) * scale;
  };
  Var scores = scaled_products(q, k);
  if (extras.far_q.defined())
    scores = choose(shape, far_pairs(q_length, k_length, extras.far_from), scaled_products(extras.far_q, extras.far_k),
                    scores);
  scores = at(ScoreStage::score, "at(score)", scores);
  if (bias.by_distance.defined()) scores = scores + spread_by_distance(bias.by_distance, q_length, k_length);
  if (bias.by_position.defined()) scores = scores + bias.by_position;
  if (extras.transform) scores = checked("transform", extras.transform(scores));
  scores = at(ScoreStage::score_biased, "at(score_biased)", scores);
  // Chosen, not added: -inf added to a NaN or an infinity would not hide it.
  scores = choose(shape, visible_pairs(q_length, k_length, options), scores, Tensor::scalar(-infinity, scores.dtype()));
  const Var pattern = at(ScoreStage::pattern, "at(pattern)", softmax_of_seen(scores));
  return reshape(matmul(grouped(pattern, group), grouped(v, 1)), {batch, heads, q_length, v_dim});
}

}  // namespace phasor
