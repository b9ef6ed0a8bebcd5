// The gradient of attention without stored scores: a task per kv head and chunk of keys.
//
// With p = e^(s - log_sum_exp) recomputed (Dao et al., FlashAttention, arXiv:2205.14135):
//   dv = p^T dout     dp = dout v^T     ds = p (dp - delta)     dq = scale ds k     dk = scale ds^T q     dbias = ds
// delta = rowsum(dout out) - dlog_sum_exp, because log_sum_exp has the derivative p with respect to s.
#include "core/dispatch.hpp"
#include "core/ops/attention_bias.hpp"
#include "core/scratch.hpp"

namespace phasor {
namespace {

using namespace fused_attention;

Tensor gradient_like(const Tensor& x) {
  const Tensor gradient = Tensor::empty_like(x);
  return has_rows(gradient) ? gradient : Tensor::empty(x.shape(), x.dtype());  // x repeats itself along an axis
}

// Of one band, [keys, lanes]: p = e^(s - log_sum_exp) into s, scale p (dp - delta) into dp.
template <class T>
void pattern_and_score_gradient(int64_t keys, T* s, T* dp, simd::Vec<T> log_sum_exp, simd::Vec<T> delta, T scale) {
  for (int64_t at = 0; at < keys * tile_rows; at += tile_rows) {
    const simd::Vec<T> p = simd::exp(simd::load<T>(s + at) - log_sum_exp);
    simd::store<T>(p, s + at);
    simd::store<T>(p * (simd::load<T>(dp + at) - delta) * simd::set<T>(scale), dp + at);
  }
}

template <class T>
void scale_band(int64_t keys, T* x, T factor) {
  const simd::Vec<T> by = simd::set<T>(factor);
  for (int64_t at = 0; at < keys * tile_rows; at += tile_rows) simd::store<T>(simd::load<T>(x + at) * by, x + at);
}

// [inside] rows' log_sum_exp; 0 for a row that sees no key, so that its p is e^(-inf - 0) = 0.
template <class T>
simd::Vec<T> load_log_sum_exp(int64_t inside, const T* log_sum_exp) {
  const simd::Vec<T> own = simd::load_first<T>(inside, log_sum_exp);
  const auto sees_nothing = simd::hn::Eq(own, simd::set<T>(-std::numeric_limits<T>::infinity()));
  return simd::hn::IfThenZeroElse(sees_nothing, own);
}

template <class T>
void clear_rows(T* x, int64_t rows, int64_t dim, int64_t ld) {
  for (int64_t row = 0; row < rows; ++row) std::fill_n(x + row * ld, dim, T(0));
}

// Where the gradient of q goes. With few kv heads the keys are cut into chunks to occupy the threads; each chunk then
// has a dq of its own, [chunks * batch, heads, q_length, qk_dim], and these are added in order.
int64_t key_chunks(const Problem& problem) {
  const int64_t enough = 16, sequences = problem.batches * problem.kv_heads;
  return std::clamp<int64_t>(pieces(enough, std::max<int64_t>(sequences, 1)), 1, pieces(problem.k_length, block_keys));
}

template <class T>
struct Operands {
  Rows<T> q, k, v, dout, dq, dk, dv;
  const T *log_sum_exp, *delta;  // [batch, heads, q_length]
  bool dout_is_zero;             // then dout is not read
  const Bias<T>& bias;
  const BiasGradients<T>& dbias;
};

// The tiles of one task.
template <class T>
struct BackwardScratch {
  T *q, *dout;                        // [rows, dim] without gaps: rows a power of two apart would share few cache sets
  T *transposed_q, *transposed_dout;  // [dim, rows]
  T *s, *dp;                          // [keys, rows]

  static int64_t size(const Problem& problem) { return 2 * tile_rows * (problem.qk_dim + problem.v_dim + block_keys); }
  BackwardScratch(const Problem& problem, T* next) {
    const auto take = [&next](int64_t columns) { return std::exchange(next, next + columns * tile_rows); };
    q = take(problem.qk_dim);
    transposed_q = take(problem.qk_dim);
    dout = take(problem.v_dim);
    transposed_dout = take(problem.v_dim);
    s = take(block_keys);
    dp = take(block_keys);
  }
};

template <class T>
void copy_rows(int64_t rows, int64_t dim, const T* from, int64_t ld, T* to) {
  for (int64_t row = 0; row < rows; ++row) std::copy_n(from + row * ld, dim, to + row * dim);
}

// One block of keys against every query row of its heads that may see it.
template <class T>
void backward_block(const Problem& problem, const Operands<T>& x, int64_t batch, int64_t kv_head, int64_t dq_batch,
                    Onto dq_onto, int64_t start, int64_t end, const BackwardScratch<T>& scratch) {
  const int64_t qk_dim = problem.qk_dim, v_dim = problem.v_dim;
  const T scale = static_cast<T>(problem.scale), *const labels = problem.labels_of<T>(batch);
  const T *const k = x.k.at(batch, kv_head, start), *const v = x.v.at(batch, kv_head, start);
  T *const dk = x.dk.at(batch, kv_head, start), *const dv = x.dv.at(batch, kv_head, start);
  if (labels) clear_rows(dk, end - start, qk_dim, x.dk.ld);
  if (labels || x.dout_is_zero) clear_rows(dv, end - start, v_dim, x.dv.ld);
  // The last rows see every key of the block: taken first, they write dk and dv, the others add. With segments they may
  // be skipped.
  Onto onto = labels ? Onto::sum : Onto::zero;
  for (int64_t head = kv_head * problem.group(); head < (kv_head + 1) * problem.group(); ++head) {
    const int64_t statistics = (batch * problem.heads + head) * problem.q_length;
    const int64_t last = (problem.q_length - 1) / tile_rows * tile_rows;
    for (int64_t first = last; first >= problem.first_tile(start); first -= tile_rows) {
      const Tile<T> tile(problem, first, start, end);
      if (!problem.may_share_segment(labels, first, tile.rows, start, start + tile.count)) continue;
      copy_rows(tile.rows, qk_dim, x.q.at(batch, head, first), x.q.ld, scratch.q);
      transpose_tile<T>(tile.rows, tile.wide(), qk_dim, scale, scratch.q, qk_dim, scratch.transposed_q, tile_rows);
      multiply_transposed<T>(tile, qk_dim, k, x.k.ld, scratch.transposed_q, scratch.s);
      if (x.dout_is_zero) {
        std::fill_n(scratch.dp, tile.count * tile_rows, T(0));
      } else {
        copy_rows(tile.rows, v_dim, x.dout.at(batch, head, first), x.dout.ld, scratch.dout);
        transpose_tile<T>(tile.rows, tile.wide(), v_dim, T(1), scratch.dout, v_dim, scratch.transposed_dout, tile_rows);
        multiply_transposed<T>(tile, v_dim, v, x.v.ld, scratch.transposed_dout, scratch.dp);
      }
      for (int64_t row = 0; row < tile.rows; row += Tile<T>::lanes) {
        const int64_t inside = std::min(Tile<T>::lanes, tile.rows - row), at = statistics + first + row;
        const int64_t keys = tile.keys_of_band(row);
        if (x.bias.is_given()) x.bias.add(tile, batch, head, row, scratch.s);
        tile.hide(problem, labels, row, scratch.s);
        pattern_and_score_gradient<T>(keys, scratch.s + row, scratch.dp + row,
                                      load_log_sum_exp(inside, x.log_sum_exp + at),
                                      simd::load_first<T>(inside, x.delta + at), x.dbias.are_wanted() ? T(1) : scale);
        if (x.dbias.are_wanted()) {
          x.dbias.add(tile, dq_batch, batch, head, row, scratch.dp);
          scale_band<T>(keys, scratch.dp + row, scale);
        }
      }
      if (!x.dout_is_zero) sum_over_rows<T>(tile, v_dim, scratch.s, scratch.dout, dv, x.dv.ld, onto);
      sum_over_rows<T>(tile, qk_dim, scratch.dp, scratch.q, dk, x.dk.ld, onto);
      sum_over_keys<T>(tile, qk_dim, scratch.dp, k, x.k.ld, x.dq.at(dq_batch, head, first), x.dq.ld, dq_onto);
      onto = Onto::sum;
    }
  }
}

// delta [batch, heads, q_length] = sum over channels of dout out, less dlog_sum_exp; either may be undefined.
template <class T>
Tensor score_shift(const Problem& problem, const Tensor& dout, const Tensor& out, const Tensor& dlog_sum_exp) {
  const Tensor delta = Tensor::empty({problem.batches, problem.heads, problem.q_length}, out.dtype());
  const Rows<T> dout_rows(dout.defined() ? dout : out), out_rows(out);
  const Tensor subtracted = dlog_sum_exp.defined() ? dlog_sum_exp.contiguous() : Tensor();
  parallel_for(delta.size(), grain_for(2 * problem.v_dim), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % problem.q_length, head = i / problem.q_length % problem.heads;
      const int64_t batch = i / problem.q_length / problem.heads;
      T& sum = delta.data<T>()[i] = 0;
      if (dout.defined())
        sum = simd::sum<T>(
            problem.v_dim, [](auto a, auto b) { return a * b; }, dout_rows.at(batch, head, row),
            out_rows.at(batch, head, row));
      if (subtracted.defined()) sum -= subtracted.data<T>()[i];
    }
  });
  return delta;
}

// dq [batch, heads, q_length, D] = the sum over chunks of partial [chunks * batch, heads, q_length, D]
template <class T>
void add_chunks(const Problem& problem, int64_t chunks, const Rows<T>& partial, const Rows<T>& dq) {
  const int64_t rows = problem.batches * problem.heads * problem.q_length;
  parallel_for(rows, grain_for(chunks * problem.qk_dim), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % problem.q_length, head = i / problem.q_length % problem.heads;
      const int64_t batch = i / problem.q_length / problem.heads;
      T* const to = dq.at(batch, head, row);
      const T* const first = partial.at(batch, head, row);
      std::copy(first, first + problem.qk_dim, to);
      for (int64_t chunk = 1; chunk < chunks; ++chunk)
        simd::map<T>(
            problem.qk_dim, to, [](auto a, auto b) { return a + b; }, to,
            partial.at(chunk * problem.batches + batch, head, row));
    }
  });
}

template <class T>
AttentionBias backward(const Problem& problem, const Tensor& q, const Tensor& k, const Tensor& v,
                       const AttentionBias& bias, const AttentionResult& forward, const Tensor& dout,
                       const Tensor& dlog_sum_exp, const AttentionBias& wanted, const AttentionGradients& gradients) {
  const int64_t chunks = key_chunks(problem), blocks = pieces(problem.k_length, block_keys);
  const Tensor delta = score_shift<T>(problem, dout, forward.out, dlog_sum_exp);
  const Tensor dq =
      chunks == 1
          ? gradients.dq
          : Tensor::empty({chunks * problem.batches, problem.heads, problem.q_length, problem.qk_dim}, q.dtype());
  const Bias<T> given(problem, bias);
  const BiasGradients<T> dbias(problem, wanted, chunks * problem.batches);
  const Operands<T> x{Rows<T>(q),
                      Rows<T>(k),
                      Rows<T>(v),
                      Rows<T>(dout.defined() ? dout : forward.out),
                      Rows<T>(dq),
                      Rows<T>(gradients.dk),
                      Rows<T>(gradients.dv),
                      forward.log_sum_exp.data<T>(),
                      delta.data<T>(),
                      !dout.defined(),
                      given,
                      dbias};
  const bool has_segments = problem.labels.defined();  // then rows may be skipped
  const Scratch<T> memory(BackwardScratch<T>::size(problem));
  parallel_for(problem.batches * problem.kv_heads * chunks, 1, [&](int64_t task, int64_t) {
    const int64_t chunk = task % chunks, kv_head = task / chunks % problem.kv_heads;
    const int64_t batch = task / chunks / problem.kv_heads, dq_batch = chunk * problem.batches + batch;
    const int64_t first_block = chunk * blocks / chunks, end_block = (chunk + 1) * blocks / chunks;
    const int64_t cleared = has_segments ? problem.q_length : problem.first_tile(first_block * block_keys);
    for (int64_t head = kv_head * problem.group(); head < (kv_head + 1) * problem.group(); ++head)
      clear_rows(x.dq.at(dq_batch, head, 0), cleared, problem.qk_dim, x.dq.ld);
    const BackwardScratch<T> scratch(problem, memory.mine());
    for (int64_t block = first_block; block < end_block; ++block)
      backward_block<T>(problem, x, batch, kv_head, dq_batch,
                        block == first_block && !has_segments ? Onto::zero : Onto::sum, block * block_keys,
                        std::min((block + 1) * block_keys, problem.k_length), scratch);
  });
  if (chunks > 1) add_chunks<T>(problem, chunks, Rows<T>(dq), Rows<T>(gradients.dq));
  return dbias.result();
}

}  // namespace

AttentionGradients attention_backward(const Tensor& q, const Tensor& k, const Tensor& v,
                                      const AttentionOptions& options, const AttentionBias& bias,
                                      const AttentionResult& forward, const Tensor& dout, const Tensor& dlog_sum_exp,
                                      const WantedBiases& wanted) {
  const char* const op = "attention_backward";
  require_attention_arguments(op, q, k, v, options, bias);
  require(
      forward.out.shape() == q.shape().with(-1, v.extent(-1)) && forward.log_sum_exp.shape() == q.shape().without(-1),
      op, "forward is of other arguments: out ", forward.out.shape(), ", log_sum_exp ", forward.log_sum_exp.shape(),
      ", q ", q.shape(), ", v ", v.shape());
  require_same_dtype(op, "q", q, "out", forward.out);
  require_same_device(op, "q", q, "log_sum_exp", forward.log_sum_exp);
  require<DtypeError>(forward.log_sum_exp.dtype() == (q.dtype() == Dtype::bf16 ? Dtype::f32 : q.dtype()), op, "q is ",
                      q.dtype(), ", log_sum_exp is ", forward.log_sum_exp.dtype(),
                      "; they must agree, but for f32 beside bf16");
  require<ValueError>(dout.defined() || dlog_sum_exp.defined(), op, "neither dout nor dlog_sum_exp is given");
  if (dout.defined()) {
    require_same_shape(op, "dout", dout, "out", forward.out);
    require_same_dtype(op, "dout", dout, "out", forward.out);
  }
  if (dlog_sum_exp.defined()) {
    require_same_shape(op, "dlog_sum_exp", dlog_sum_exp, "log_sum_exp", forward.log_sum_exp);
    require_same_dtype(op, "dlog_sum_exp", dlog_sum_exp, "log_sum_exp", forward.log_sum_exp);
  }
  if (options.rotation && !turns_inside(q, k, v, options, bias)) {
    const TurnedBefore turned(q, k, options);
    AttentionGradients gradients =
        attention_backward(turned.q, turned.k, v, turned.options, bias, forward, dout, dlog_sum_exp, wanted);
    const AttentionRotation& by = *options.rotation;
    gradients.dq = rotary_transposed(gradients.dq, by.q_cos, by.q_sin, by.layout);
    gradients.dk = rotary_transposed(gradients.dk, by.k_cos, by.k_sin, by.layout);
    return gradients;
  }
  if constexpr (kHasCuda)
    if (q.is_on(Device::cuda))
      return cuda::attention_backward(q, k, v, options, bias, forward, dout, dlog_sum_exp, wanted);
  AttentionGradients gradients{gradient_like(q), gradient_like(k), gradient_like(v), {}};
  const Problem problem(q, k, v, options);
  const AttentionBias differentiated{wanted.by_distance ? bias.by_distance : Tensor(),
                                     wanted.by_position ? bias.by_position : Tensor()};
  if (forward.log_sum_exp.size() == 0)
    for (const Tensor& gradient : {gradients.dq, gradients.dk, gradients.dv}) fill(gradient, 0);
  with_float(op, q.dtype(), [&]<class T>() {
    gradients.dbias =
        forward.log_sum_exp.size() == 0
            ? BiasGradients<T>(problem, differentiated, 1).result()
            : backward<T>(problem, with_rows(q), with_rows(k), with_rows(v), bias,
                          {with_rows(forward.out), forward.log_sum_exp.contiguous()},
                          dout.defined() ? with_rows(dout) : dout, dlog_sum_exp, differentiated, gradients);
  });
  return gradients;
}

}  // namespace phasor
