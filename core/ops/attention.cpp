// Attention: the checks that both paths share, the plain reference, and the mask of the unfused path. The kernels stand
// in attention_fused.cpp.
#include "core/ops/attention.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "core/dispatch.hpp"
#include "core/parallel.hpp"

namespace phasor {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

void require_mask_arguments(const char* op, int64_t q_length, int64_t k_length, const AttentionOptions& options) {
  require<ValueError>(k_length > 0 || q_length == 0, op, "k_length is 0: no query has a key to look at");
  if (options.causal == Causal::yes)
    require<ShapeError>(q_length <= k_length, op, "q_length is ", q_length, ", k_length is ", k_length,
                        "; causal attention needs q_length <= k_length: query i stands at key index "
                        "i + k_length - q_length");
  const Tensor& segments = options.segments;
  if (!segments.defined()) return;
  require<DtypeError>(segments.dtype() == Dtype::i32 || segments.dtype() == Dtype::i64, op,
                      "segments: needs i32 or i64, got ", segments.dtype());
  require(segments.rank() == 2 && segments.extent(1) == k_length, op, "segments is ", segments.shape(),
          "; needs [batch or 1, k_length] with k_length ", k_length, " (axis 1)");
  require(q_length <= k_length, op, "q_length is ", q_length, ", k_length is ", k_length,
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

}  // namespace

void require_attention_arguments(const char* op, const Tensor& q, const Tensor& k, const Tensor& v,
                                 const AttentionOptions& options) {
  const auto require_rank = [op](const char* name, const Tensor& x, const char* axes) {
    require(x.rank() == 4, op, name, " is ", x.shape(), "; needs [", axes, "]");
  };
  require_rank("q", q, "batch, heads, q_length, qk_dim");
  require_rank("k", k, "batch, kv_heads, k_length, qk_dim");
  require_rank("v", v, "batch, kv_heads, k_length, v_dim");
  require<DtypeError>(is_float(q.dtype()), op, "q: needs f32 or f64, got ", q.dtype());
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
  require_mask_arguments(op, q.extent(2), k.extent(2), options);
  if (options.segments.defined())
    require(options.segments.extent(0) == 1 || options.segments.extent(0) == q.extent(0), op, "segments is ",
            options.segments.shape(), ", q is ", q.shape(), ": axis 0 (batch) must be 1 or ", q.extent(0));
}

// q [B, H, Q, D], k [B, G, K, D], v [B, G, K, V]
AttentionResult reference::attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                                     const Tensor& bias) {
  require_attention_arguments("reference::attention", q, k, v, options);
  const int64_t batches = q.extent(0), heads = q.extent(1), q_length = q.extent(2), qk_dim = q.extent(3);
  const int64_t k_length = k.extent(2), v_dim = v.extent(3), group = heads / k.extent(1), ahead = k_length - q_length;
  const Tensor wide_q = q.to(Dtype::f64), wide_k = k.to(Dtype::f64), wide_v = v.to(Dtype::f64);
  const View<double> vq = wide_q.view<double>(), vk = wide_k.view<double>(), vv = wide_v.view<double>();
  const bool by_distance = bias.defined() && bias.rank() == 2;
  Tensor wide_bias;
  if (by_distance)
    wide_bias = bias.to(Dtype::f64).broadcast_to({heads, bias.extent(1)});
  else if (bias.defined())
    wide_bias = bias.to(Dtype::f64).broadcast_to({batches, heads, q_length, k_length});
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
          if (visible && by_distance)
            score += wide_bias.view<double>()(head, q_index + ahead - k_index);
          else if (visible && bias.defined())
            score += wide_bias.view<double>()(batch, head, q_index, k_index);
          pattern[k_index] = visible ? score : -infinity;
          largest = std::max(largest, pattern[k_index]);
        }
        for (double& p : pattern) sum += p = std::exp(p - largest);
        for (int64_t i = 0; i < v_dim; ++i)
          for (int64_t k_index = 0; k_index < k_length; ++k_index)
            out.view<double>()(batch, head, q_index, i) += pattern[k_index] / sum * vv(batch, head / group, k_index, i);
        log_sum_exp.view<double>()(batch, head, q_index) = largest + std::log(sum);
      }
  }
  return {out.transpose(1, 2).to(q.dtype()).transpose(1, 2), log_sum_exp.to(q.dtype())};
}

Tensor attention_mask(int64_t q_length, int64_t k_length, const AttentionOptions& options, Dtype dtype) {
  require<ValueError>(q_length >= 0 && k_length >= 0, "attention_mask", "q_length is ", q_length, ", k_length is ",
                      k_length, "; lengths are not negative");
  require_mask_arguments("attention_mask", q_length, k_length, options);
  const int64_t batches = options.segments.defined() ? options.segments.extent(0) : 1, ahead = k_length - q_length;
  const std::vector<int64_t> ids = segment_ids(options);
  const Tensor mask = Tensor::empty({batches, 1, q_length, k_length}, dtype);
  with_float("attention_mask", dtype, [&]<class T>() {
    T* const to = mask.data<T>();
    parallel_for(batches * q_length, grain_for(k_length), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t* const own_ids = ids.empty() ? nullptr : ids.data() + row / q_length * k_length;
        const int64_t q_index = row % q_length + ahead;
        for (int64_t k_index = 0; k_index < k_length; ++k_index)
          to[row * k_length + k_index] = sees(q_index, k_index, options.causal, own_ids) ? T(0) : T(-infinity);
      }
    });
  });
  return mask;
}

}  // namespace phasor
