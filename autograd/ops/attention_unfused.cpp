// Attention composed of differentiable ops: its meaning, which the fused op is held against, and the way for whoever
// wants to look at the scores or change them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/device.hpp"
#include "autograd/ops.hpp"
#include "core/dispatch.hpp"
#include "core/ops/attention.hpp"
#include "core/ops/compare.hpp"
#include "core/ops/flip.hpp"
#include "core/ops/reduce.hpp"
#include "core/parallel.hpp"

namespace phasor {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// On the GPU the two functions below are views and copies. With the keys in reverse order, the distance of query i and
// key u is i + u - (q_length - 1): diagonals run along i + u. Rows of a matrix that are read as if they were one
// element longer (or shorter) move by one more element from row to row, which turns diagonals into columns and back.
Tensor spread_on_gpu(const Tensor& bias, int64_t q_length, int64_t k_length) {
  const int64_t heads = bias.extent(0), width = k_length + q_length - 1;
  // 0 for negative distances, then the bias of each.
  const Tensor row = Tensor::zeros({heads, width}, bias.dtype(), Device::cuda);
  copy_into(row.slice(1, q_length - 1, width), bias.slice(1, 0, k_length));
  const Tensor rows = row.unsqueeze(1).broadcast_to({heads, q_length + 1, width}).clone();
  const Tensor moved = rows.reshape({heads, (q_length + 1) * width})
                           .slice(1, 0, q_length * (width + 1))
                           .reshape({heads, q_length, width + 1});
  return flip(moved.slice(2, 0, k_length), 2);
}

Tensor sum_by_distance_on_gpu(const Tensor& dy, int64_t max_distance) {
  const int64_t heads = dy.extent(0), q_length = dy.extent(1), k_length = dy.extent(2), width = k_length + q_length - 1;
  const Tensor rows = Tensor::zeros({heads, q_length, width + 1}, dy.dtype(), Device::cuda);
  copy_into(rows.slice(2, 0, k_length), flip(dy, 2));
  const Tensor moved =
      rows.reshape({heads, q_length * (width + 1)}).slice(1, 0, q_length * width).reshape({heads, q_length, width});
  const Tensor dbias = Tensor::zeros({heads, max_distance}, dy.dtype(), Device::cuda);
  copy_into(dbias.slice(1, 0, k_length), sum(moved, {1}).squeeze(1).slice(1, q_length - 1, width));
  return dbias;
}

Tensor spread(const Tensor& bias, int64_t q_length, int64_t k_length) {
  const int64_t heads = bias.extent(0), max_distance = bias.extent(1), ahead = k_length - q_length;
  if (bias.is_on(Device::cuda) && q_length > 0) return spread_on_gpu(bias, q_length, k_length);
  const Tensor y = Tensor::zeros({heads, q_length, k_length}, bias.dtype(), bias.device());
  if (y.size() == 0) return y;
  const Tensor from = bias.contiguous();
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
  return y;
}

Tensor sum_by_distance(const Tensor& dy, int64_t max_distance) {
  const int64_t heads = dy.extent(0), q_length = dy.extent(1), k_length = dy.extent(2), ahead = k_length - q_length;
  if (dy.is_on(Device::cuda) && dy.size() > 0) return sum_by_distance_on_gpu(dy, max_distance);
  const Tensor dbias = Tensor::zeros({heads, max_distance}, dy.dtype(), dy.device()), dense = dy.contiguous();
  if (dy.size() == 0) return dbias;
  with_float("attention_unfused", dy.dtype(), [&]<class T>() {
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
  return dbias;
}

// The bias of every query and key from the bias of every distance: [heads or 1, max_distance] to
// [heads or 1, q_length, k_length].
//   y[h, i, j] = bias[h, i + k_length - q_length - j], 0 where that is negative (hidden by causality)
//   dbias[h, t] = the sum of dy[h, i, j] over the diagonal on which the distance is t
Var spread_by_distance(const Var& bias, int64_t q_length, int64_t k_length) {
  return record("bias_by_distance", spread(bias.value(), q_length, k_length), {bias},
                [max_distance = bias.extent(1)](const Tensor& dy, Wanted) {
                  return std::vector{sum_by_distance(dy, max_distance)};
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
  const Tensor sees_nothing = equal(largest, Tensor::scalar(-infinity, scores.dtype()));
  if (scores.device() == Device::cpu) {  // on the GPU nobody waits for the answer
    const std::vector<bool> of_row = sees_nothing.to_vector<bool>();
    if (std::find(of_row.begin(), of_row.end(), true) == of_row.end()) return softmax(scores);
  }
  // Chosen before and after: the softmax of such a row is NaN, and so would be its gradient.
  const Var zero = Tensor::scalar(0, scores.dtype());
  return where(sees_nothing, zero, softmax(where(sees_nothing, zero, scores)));
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

Var attention_unfused(const Var& q, const Var& k, const Var& v, const AttentionOptions& given_options,
                      const ScoreBias& given, const AttentionExtras& extras) {
  const AttentionOptions options = on(q.device(), given_options);
  const auto beside_q = [&](const Var& x) { return on(q.device(), x); };
  const ScoreBias bias{beside_q(given.by_distance), beside_q(given.by_position)};
  const char* const op = "attention_unfused";
  require_attention_arguments(op, q.value(), k.value(), v.value(), options,
                              {bias.by_distance.value(), bias.by_position.value()});
  require_far(q, k, extras);
  if (options.rotation) {
    const AttentionRotation& by = *options.rotation;
    AttentionOptions turned = options;
    turned.rotation.reset();
    return attention_unfused(rotary(q, by.q_cos, by.q_sin, by.layout), rotary(k, by.k_cos, by.k_sin, by.layout), v,
                             turned, given, extras);
  }
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
    scores = where(far_pairs(q_length, k_length, extras.far_from), scaled_products(extras.far_q, extras.far_k), scores);
  scores = at(ScoreStage::score, "at(score)", scores);
  const auto of_scores = [&](const Var& x) { return x.dtype() == q.dtype() ? x : cast(x, q.dtype()); };
  if (bias.by_distance.defined()) scores = scores + spread_by_distance(of_scores(bias.by_distance), q_length, k_length);
  if (bias.by_position.defined()) scores = scores + of_scores(bias.by_position);
  if (extras.transform) scores = checked("transform", extras.transform(scores));
  scores = at(ScoreStage::score_biased, "at(score_biased)", scores);
  // Chosen, not added: -inf added to a NaN or an infinity would not hide it.
  scores = where(visible_pairs(q_length, k_length, options), scores, Var(Tensor::scalar(-infinity, scores.dtype())));
  const Var pattern = at(ScoreStage::pattern, "at(pattern)", softmax_of_seen(scores));
  return reshape(matmul(grouped(pattern, group), grouped(v, 1)), {batch, heads, q_length, v_dim});
}

}  // namespace phasor
