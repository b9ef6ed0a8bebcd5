// Attention: the checks that both paths share, the plain reference, and what the unfused path hides. The kernels stand
// in attention_fused.cpp.
#include "core/ops/attention.hpp"

#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/ops/compare.hpp"
#include "core/ops/where.hpp"
#include "core/parallel.hpp"

namespace phasor {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// `operands` shows where the lengths come from.
void require_mask_arguments(const char* op, int64_t q_length, int64_t k_length, const AttentionOptions& options,
                            const std::string& operands) {
  require<ValueError>(k_length > 0 || q_length == 0, op, "k_length is 0: no query has a key to look at");
  if (options.causal == Causal::yes)
    require<ShapeError>(q_length <= k_length, op, operands, "q_length is ", q_length, ", k_length is ", k_length,
                        "; causal attention needs q_length <= k_length: query i stands at key index "
                        "i + k_length - q_length");
  const Tensor& segments = options.segments;
  if (!segments.defined()) return;
  require<DtypeError>(segments.dtype() == Dtype::i32 || segments.dtype() == Dtype::i64, op,
                      "segments: needs i32 or i64, got ", segments.dtype());
  require(segments.rank() == 2 && segments.extent(1) == k_length, op, operands, "segments is ", segments.shape(),
          "; needs [batch or 1, k_length] with k_length ", k_length, " (axis 1)");
  require(q_length <= k_length, op, operands, "q_length is ", q_length, ", k_length is ", k_length,
          "; with segments a query takes the segment of its own key: needs q_length <= k_length");
}

// The segment of each key, [batch or 1, k_length] row-major; empty without segments.
std::vector<int64_t> segment_ids(const AttentionOptions& options) {
  return options.segments.defined() ? options.segments.to(Dtype::i64).to_vector<int64_t>() : std::vector<int64_t>();
}

// Whether the query at key index q_index may look at key k_index; ids are those of its batch entry, or null.
bool sees(int64_t q_index, int64_t k_index, Causal causal, const int64_t* ids) {
  return (causal == Causal::no || k_index <= q_index) && (!ids || ids[q_index] == ids[k_index]);
}

// In the dtype of q, or f32 beside bf16.
void require_bias_dtype(const char* op, const char* name, const Tensor& given, const Tensor& q) {
  if (is_f32_beside_bf16(given, q))
    require_same_device(op, name, given, "q", q);
  else
    require_same_dtype(op, name, given, "q", q);
}

void require_bias(const char* op, const Tensor& q, const Tensor& k, Causal causal, const AttentionBias& bias) {
  const Shape scores{q.extent(0), q.extent(1), q.extent(2), k.extent(2)};
  if (const Tensor& given = bias.by_distance; given.defined()) {
    require<ValueError>(causal == Causal::yes, op,
                        "by_distance needs causal attention: it says nothing of keys after the query");
    require_bias_dtype(op, "by_distance", given, q);
    require(given.rank() == 2 && (given.extent(0) == 1 || given.extent(0) == scores[1]), op, "by_distance is ",
            given.shape(), ", q is ", q.shape(), "; needs [heads or 1, max_distance] with ", scores[1],
            " heads (axis 0)");
    require(given.extent(1) >= scores[3], op, "by_distance is ", given.shape(), ", k is ", k.shape(),
            ": axis 1 (max_distance) is ", given.extent(1), "; needs at least k_length ", scores[3]);
  }
  if (const Tensor& given = bias.by_position; given.defined()) {
    require_bias_dtype(op, "by_position", given, q);
    require(given.rank() <= 4, op, "by_position is ", given.shape(), ", q is ", q.shape(), ", k is ", k.shape(),
            "; must broadcast to the scores ", scores);
    for (int axis = -1; axis >= -given.rank(); --axis)
      require(given.extent(axis) == 1 || given.extent(axis) == scores[axis], op, "by_position is ", given.shape(),
              ", q is ", q.shape(), ", k is ", k.shape(), "; must broadcast to the scores ", scores, ": axis ",
              axis + given.rank(), " is ", given.extent(axis));
  }
}

}  // namespace

void require_attention_arguments(const char* op, const Tensor& q, const Tensor& k, const Tensor& v,
                                 const AttentionOptions& options, const AttentionBias& bias) {
  const auto require_rank = [op](const char* name, const Tensor& x, const char* axes) {
    require_defined(op, name, x);
    require(x.rank() == 4, op, name, " is ", x.shape(), "; needs [", axes, "]");
  };
  require_rank("q", q, "batch, heads, q_length, qk_dim");
  require_rank("k", k, "batch, kv_heads, k_length, qk_dim");
  require_rank("v", v, "batch, kv_heads, k_length, v_dim");
  require_float(op, "q", q);
  require_same_dtype(op, "k", k, "q", q);
  require_same_dtype(op, "v", v, "q", q);
  const auto require_extent = [op](const char* name_a, const Tensor& a, const char* name_b, const Tensor& b, int axis,
                                   const char* meaning) {
    require(a.extent(axis) == b.extent(axis), op, name_a, " is ", a.shape(), ", ", name_b, " is ", b.shape(), ": axis ",
            axis, " (", meaning, ") is ", a.extent(axis), " and ", b.extent(axis), "; they must agree");
  };
  require_extent("k", k, "q", q, 0, "batch");
  require_extent("v", v, "q", q, 0, "batch");
  require_extent("v", v, "k", k, 1, "kv_heads");
  require_extent("k", k, "q", q, 3, "qk_dim");
  require_extent("v", v, "k", k, 2, "k_length");
  require(k.extent(1) > 0 && q.extent(1) % k.extent(1) == 0, op, "q is ", q.shape(), ", k is ", k.shape(),
          ": axis 1: heads ", q.extent(1), " is not a multiple of kv_heads ", k.extent(1));
  require(q.extent(3) > 0, op, "q is ", q.shape(), ": axis 3 (qk_dim) is 0");
  std::ostringstream operands;
  operands << "q is " << q.shape() << ", k is " << k.shape() << ": ";
  require_mask_arguments(op, q.extent(2), k.extent(2), options, operands.str());
  if (options.segments.defined())
    require(options.segments.extent(0) == 1 || options.segments.extent(0) == q.extent(0), op, "segments is ",
            options.segments.shape(), ", q is ", q.shape(), ": axis 0 (batch) must be 1 or ", q.extent(0));
  require_bias(op, q, k, options.causal, bias);
  if (const auto& rotation = options.rotation) {
    checked_rotary_tables(op, "q", "q_", q, rotation->q_cos, rotation->q_sin);
    checked_rotary_tables(op, "k", "k_", k, rotation->k_cos, rotation->k_sin);
  }
}

// q [B, H, Q, D], k [B, G, K, D], v [B, G, K, V]
AttentionResult reference::attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                                     const AttentionBias& bias) {
  require_attention_arguments("reference::attention", q, k, v, options, bias);
  const int64_t batches = q.extent(0), heads = q.extent(1), q_length = q.extent(2), qk_dim = q.extent(3);
  const int64_t k_length = k.extent(2), v_dim = v.extent(3), group = heads / k.extent(1), ahead = k_length - q_length;
  Tensor wide_q = q.to(Dtype::f64), wide_k = k.to(Dtype::f64);
  const Tensor wide_v = v.to(Dtype::f64);
  if (const auto& rotation = options.rotation) {
    const auto turned = [&](const Tensor& x, const Tensor& cos, const Tensor& sin) {
      return reference::rotary(x, cos.to(Dtype::f64), sin.to(Dtype::f64), rotation->layout);
    };
    wide_q = turned(wide_q, rotation->q_cos, rotation->q_sin);
    wide_k = turned(wide_k, rotation->k_cos, rotation->k_sin);
  }
  const View<double> vq = wide_q.view<double>(), vk = wide_k.view<double>(), vv = wide_v.view<double>();
  Tensor by_distance, by_position;
  if (bias.by_distance.defined())
    by_distance = bias.by_distance.to(Dtype::f64).broadcast_to({heads, bias.by_distance.extent(1)});
  if (bias.by_position.defined())
    by_position = bias.by_position.to(Dtype::f64).broadcast_to({batches, heads, q_length, k_length});
  const double scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(qk_dim)));
  const std::vector<int64_t> ids = segment_ids(options);

  const Tensor out = Tensor::zeros({batches, q_length, heads, v_dim}, Dtype::f64).transpose(1, 2);
  const Tensor log_sum_exp = Tensor::empty({batches, heads, q_length}, Dtype::f64);
  std::vector<double> pattern(static_cast<size_t>(k_length));
  for (int64_t batch = 0; batch < batches; ++batch) {
    const int64_t* const own_ids =
        ids.empty() ? nullptr : ids.data() + (options.segments.extent(0) == 1 ? 0 : batch * k_length);
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t q_index = 0; q_index < q_length; ++q_index) {
        double largest = -infinity, sum = 0;
        for (int64_t k_index = 0; k_index < k_length; ++k_index) {
          double score = 0;
          for (int64_t i = 0; i < qk_dim; ++i)
            score += vq(batch, head, q_index, i) * vk(batch, head / group, k_index, i);
          score *= scale;
          const bool visible = sees(q_index + ahead, k_index, options.causal, own_ids);
          if (visible && by_distance.defined()) score += by_distance.view<double>()(head, q_index + ahead - k_index);
          if (visible && by_position.defined()) score += by_position.view<double>()(batch, head, q_index, k_index);
          pattern[k_index] = visible ? score : -infinity;
          largest = std::max(largest, pattern[k_index]);
        }
        if (largest == -infinity) largest = 0;  // no key is seen: every e^-inf is 0, out too
        for (double& p : pattern) sum += p = std::exp(p - largest);
        for (int64_t i = 0; i < v_dim; ++i)
          for (int64_t k_index = 0; sum != 0 && k_index < k_length; ++k_index)
            out.view<double>()(batch, head, q_index, i) += pattern[k_index] / sum * vv(batch, head / group, k_index, i);
        log_sum_exp.view<double>()(batch, head, q_index) = largest + std::log(sum);
      }
  }
  return {out.transpose(1, 2).to(q.dtype()).transpose(1, 2),
          log_sum_exp.to(q.dtype() == Dtype::bf16 ? Dtype::f32 : q.dtype())};
}

namespace {

// Composed of ops, so that nothing is read back.
Tensor visible_on_gpu(int64_t q_length, int64_t k_length, const AttentionOptions& options) {
  const Tensor of_queries = options.segments.slice(1, k_length - q_length, k_length);
  const Tensor same = equal(of_queries.unsqueeze(1).unsqueeze(-1), options.segments.unsqueeze(1).unsqueeze(1));
  if (options.causal == Causal::no) return same;
  const Tensor not_later = visible_pairs(q_length, k_length, {.causal = Causal::yes}).to(Device::cuda);
  return where(not_later, same, not_later);
}

}  // namespace

Tensor visible_pairs(int64_t q_length, int64_t k_length, const AttentionOptions& options) {
  const char* const op = "visible_pairs";
  require<ValueError>(q_length >= 0 && k_length >= 0, op, "q_length is ", q_length, ", k_length is ", k_length,
                      "; lengths are not negative");
  require_mask_arguments(op, q_length, k_length, options, "");
  if (options.segments.defined() && options.segments.is_on(Device::cuda))
    return visible_on_gpu(q_length, k_length, options);
  const int64_t batches = options.segments.defined() ? options.segments.extent(0) : 1, ahead = k_length - q_length;
  const std::vector<int64_t> ids = segment_ids(options);
  const Tensor visible = Tensor::empty({batches, 1, q_length, k_length}, Dtype::boolean);
  bool* const to = visible.data<bool>();
  parallel_for(batches * q_length, grain_for(k_length), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t* const own_ids = ids.empty() ? nullptr : ids.data() + row / q_length * k_length;
      const int64_t q_index = row % q_length + ahead;
      for (int64_t k_index = 0; k_index < k_length; ++k_index)
        to[row * k_length + k_index] = sees(q_index, k_index, options.causal, own_ids);
    }
  });
  return visible;
}

}  // namespace phasor
