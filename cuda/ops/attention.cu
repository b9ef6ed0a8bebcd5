// Attention on the GPU: what core/ops/attention.hpp promises, as a problem for the kernels of the tensor cores or for
// those that take everything (attention_problem.cuh).
#include <cmath>

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/ops/attention.hpp"
#include "cuda/ops/attention_problem.cuh"

namespace phasor::cuda {
namespace {

constexpr int threads = 256;

// Of each key the index of the first key of its segment in its row of the batch: ids may come back, and may be larger
// than an int.
template <class T>
__global__ void __launch_bounds__(threads)
    segment_kernel(int k_length, const T* ids, int64_t row_step, int64_t key_step, int32_t* labels) {
  const int key = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x);
  const int64_t row = blockIdx.y;
  if (key >= k_length) return;
  const T* const own = ids + row * row_step;
  const T id = own[key * key_step];
  constexpr int at_once = 8;  // loads on their way
  int first = 0;
  for (; first + at_once <= key; first += at_once) {
    bool is_found = false;
#pragma unroll
    for (int i = 0; i < at_once; ++i) is_found |= own[(first + i) * key_step] == id;
    if (is_found) break;
  }
  while (first < key && own[first * key_step] != id) ++first;
  labels[row * k_length + key] = first;
}

Tensor segment_labels(const Tensor& segments) {
  const Tensor ids = segments.to(Device::cuda);
  const int64_t rows = ids.extent(0), k_length = ids.extent(1);
  const Tensor labels = Tensor::empty(ids.shape(), Dtype::i32, Device::cuda);
  with_integer("attention", ids.dtype(), [&]<class T>() {
    launch("attention", segment_kernel<T>, Grid{pieces(k_length, threads), rows}, threads, 0, k_length,
           static_cast<const T*>(ids.data<T>()), ids.stride(0), ids.stride(1), labels.data<int32_t>());
  });
  return labels;
}

bool has_rows(const Tensor& x) { return x.stride(3) == 1 || x.extent(3) <= 1; }
Tensor with_rows(const Tensor& x) { return has_rows(x) ? x : x.clone(); }

Tensor gradient_like(const Tensor& x) {
  const Tensor gradient = Tensor::empty_like(x);
  return has_rows(gradient) ? gradient : Tensor::empty(x.shape(), x.dtype(), x.device());
}

std::byte* address(const Tensor& x) {
  std::byte* bytes = nullptr;
  with_any_float("attention", x.dtype(), [&]<class T>() { bytes = reinterpret_cast<std::byte*>(x.data<T>()); });
  return bytes;
}

// 0 along an axis of one: nobody steps there, and a view may have any stride.
int64_t step_along(const Tensor& x, int axis) { return x.extent(axis) == 1 ? 0 : x.stride(axis); }

AttentionRows rows_of(const Tensor& x) { return {address(x), step_along(x, 0), step_along(x, 1), step_along(x, 2)}; }

// Sizes, rows and options of q, k and v as they lie; without segments and biases by distance, which need preparing.
AttentionProblem problem_of(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                            const AttentionBias& bias) {
  AttentionProblem p;
  p.dtype = q.dtype();
  const auto extent = [](const Tensor& x, int axis) { return static_cast<int>(x.extent(axis)); };
  p.batches = extent(q, 0);
  p.heads = extent(q, 1);
  p.kv_heads = extent(k, 1);
  p.q_length = extent(q, 2);
  p.k_length = extent(k, 2);
  p.qk_dim = extent(q, 3);
  p.v_dim = extent(v, 3);
  p.scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(p.qk_dim)));
  p.is_causal = options.causal == Causal::yes;
  p.q = rows_of(q);
  p.k = rows_of(k);
  p.v = rows_of(v);
  if (const Tensor& given = bias.by_position; given.defined()) {
    const Tensor all = given.broadcast_to({p.batches, p.heads, p.q_length, p.k_length});
    const Strides& steps = all.strides();
    p.by_position = {address(given), steps[0], steps[1], steps[2], steps[3], given.dtype()};
  }
  return p;
}

// Adds tables to a problem; false if they do not lie as kernels read them.
bool add_tables(AttentionTables& tables, const Tensor& x, const Tensor& given_cos, const Tensor& given_sin) {
  if (given_cos.dtype() != Dtype::f32) return false;
  const Shape shape = x.shape().with(-1, given_cos.extent(-1));
  const Tensor cos = given_cos.broadcast_to(shape), sin = given_sin.broadcast_to(shape);
  for (int axis = 0; axis < 3; ++axis)
    if (step_along(cos, axis) != step_along(sin, axis)) return false;
  if (cos.stride(3) != 1 || sin.stride(3) != 1) return false;
  tables = {cos.data<float>(), sin.data<float>(), step_along(cos, 0), step_along(cos, 1), step_along(cos, 2)};
  return true;
}

bool add_rotation(AttentionProblem& p, const Tensor& q, const Tensor& k, const AttentionRotation& by) {
  p.components = static_cast<int>(by.q_cos.extent(-1));
  p.is_interleaved = by.layout == RotaryLayout::interleaved;
  return by.k_cos.extent(-1) == by.q_cos.extent(-1) && add_tables(p.q_tables, q, by.q_cos, by.q_sin) &&
         add_tables(p.k_tables, k, by.k_cos, by.k_sin);
}

// A problem, and the copies that it points to where a tensor cannot be read where it lies.
struct Prepared {
  AttentionProblem problem;
  Tensor q, k, v, segments, by_distance;
};

Prepared prepared(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                  const AttentionBias& bias) {
  Prepared result{{}, with_rows(q), with_rows(k), with_rows(v), {}, {}};
  AttentionProblem& p = result.problem;
  p = problem_of(result.q, result.k, result.v, options, bias);
  if (options.segments.defined()) {
    result.segments = segment_labels(options.segments);
    p.segments = result.segments.data<int32_t>();
    p.segments_batch_step = result.segments.extent(0) == 1 ? 0 : p.k_length;
  }
  if (const Tensor& given = bias.by_distance; given.defined()) {
    result.by_distance = given.stride(1) == 1 ? given : given.contiguous();
    p.by_distance = {address(result.by_distance), given.extent(0) == 1 ? 0 : result.by_distance.stride(0),
                     given.dtype()};
  }
  if (options.rotation)
    require(add_rotation(p, q, k, *options.rotation), "attention", "has a rotation that attention_turns refuses");
  return result;
}

using Kernels = void (*)(const AttentionProblem&);

void run(const AttentionProblem& p, Kernels on_tensor_cores, Kernels general) {
  if (tensor_takes(p)) return on_tensor_cores(p);
  require(p.components == 0, "attention", "has a rotation, and arguments whose tiles are not turned");
  general(p);
}

Dtype statistics_dtype(Dtype dtype) { return dtype == Dtype::bf16 ? Dtype::f32 : dtype; }

}  // namespace

bool attention_turns(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                     const AttentionBias& bias) {
  if (!has_rows(q) || !has_rows(k) || !has_rows(v) || bias.by_distance.defined()) return false;
  AttentionProblem p = problem_of(q, k, v, options, bias);
  return add_rotation(p, q, k, *options.rotation) && tensor_takes(p);
}

AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                          const AttentionBias& bias) {
  const int64_t batches = q.extent(0), heads = q.extent(1), q_length = q.extent(2);
  const AttentionResult result{
      Tensor::empty({batches, q_length, heads, v.extent(3)}, q.dtype(), Device::cuda).transpose(1, 2),
      Tensor::empty({batches, heads, q_length}, statistics_dtype(q.dtype()), Device::cuda)};
  if (result.log_sum_exp.size() == 0) return result;
  Prepared x = prepared(q, k, v, options, bias);
  AttentionProblem& p = x.problem;
  p.out = rows_of(result.out);
  p.log_sum_exp = address(result.log_sum_exp);
  run(p, attention_tensor_forward, attention_general_forward);
  return result;
}

AttentionGradients attention_backward(const Tensor& q, const Tensor& k, const Tensor& v,
                                      const AttentionOptions& options, const AttentionBias& bias,
                                      const AttentionResult& forward, const Tensor& dout, const Tensor& dlog_sum_exp,
                                      const WantedBiases& wanted) {
  AttentionGradients gradients{gradient_like(q), gradient_like(k), gradient_like(v), {}};
  AttentionBias& dbias = gradients.dbias;
  // The kernels write what is seen.
  if (wanted.by_distance && bias.by_distance.defined())
    dbias.by_distance = Tensor::zeros(bias.by_distance.shape(), bias.by_distance.dtype(), Device::cuda);
  if (wanted.by_position && bias.by_position.defined())
    dbias.by_position =
        Tensor::zeros({q.extent(0), q.extent(1), q.extent(2), k.extent(2)}, bias.by_position.dtype(), Device::cuda);
  if (forward.log_sum_exp.size() == 0) {
    for (const Tensor& gradient : {gradients.dq, gradients.dk, gradients.dv}) phasor::fill(gradient, 0);
    return gradients;
  }
  Prepared x = prepared(q, k, v, options, bias);
  AttentionProblem& p = x.problem;
  const Tensor log_sum_exp = forward.log_sum_exp.contiguous();
  Tensor out = with_rows(forward.out), dout_rows, dlog_sum_exp_rows;
  p.out = rows_of(out);
  p.log_sum_exp = address(log_sum_exp);
  if (dout.defined()) p.dout = rows_of(dout_rows = with_rows(dout));
  if (dlog_sum_exp.defined()) p.dlog_sum_exp = address(dlog_sum_exp_rows = dlog_sum_exp.contiguous());
  p.dq = rows_of(gradients.dq);
  p.dk = rows_of(gradients.dk);
  p.dv = rows_of(gradients.dv);
  if (dbias.by_distance.defined()) {
    p.dby_distance = address(dbias.by_distance);
    p.dby_distance_head_step = dbias.by_distance.extent(0) == 1 ? 0 : dbias.by_distance.extent(1);
  }
  if (dbias.by_position.defined()) p.dby_position = address(dbias.by_position);
  if (p.components > 0 && !tensor_takes(p)) {  // out or dout lie where no 16 bytes are aligned
    p.out = rows_of(out = out.clone());
    if (dout.defined()) p.dout = rows_of(dout_rows = dout_rows.clone());
  }
  run(p, attention_tensor_backward, attention_general_backward);
  return gradients;
}

}  // namespace phasor::cuda
