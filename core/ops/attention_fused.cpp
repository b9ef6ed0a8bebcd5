// Attention without stored scores, forward: a task per tile of query rows.
//
// Online softmax (Milakov and Gimelshein, arXiv:1805.02867): over the blocks of keys keep each row's maximum m and sum
// l of e^(s - m); when m grows, what was summed so far shrinks by e^(m_old - m).
#include "core/dispatch.hpp"
#include "core/ops/attention_bias.hpp"
#include "core/scratch.hpp"

namespace phasor {
namespace {

using namespace fused_attention;

template <class T>
void scale_row(int64_t n, T factor, T* x) {
  const simd::Vec<T> by = simd::set<T>(factor);
  simd::map<T>(
      n, x, [by](auto v) { return v * by; }, x);
}

// What a row of the forward pass has summed so far.
template <class T>
struct Running {
  T largest[tile_rows], sum[tile_rows];  // the maximum m of the scores, the sum of e^(s - m)
  T shrink[tile_rows];                   // e^(m_old - m) of the latest block
};

// Scores of one band, [keys, lanes], to e^(s - m).
template <class T>
void online_softmax(int64_t keys, T* score, int64_t row, Running<T>& running) {
  const simd::Vec<T> old = simd::load<T>(running.largest + row);
  simd::Vec<T> largest = old, sum = simd::set<T>(0);
  for (int64_t key = 0; key < keys; ++key) largest = simd::max(simd::load<T>(score + key * tile_rows), largest);
  // A row that has seen nothing yet keeps m = -inf; subtracting 0 then gives e^-inf = 0 and not NaN.
  const auto nothing = simd::hn::Eq(largest, simd::set<T>(-std::numeric_limits<T>::infinity()));
  const simd::Vec<T> shift = simd::hn::IfThenElse(nothing, simd::set<T>(0), largest);
  for (int64_t key = 0; key < keys; ++key) {
    const simd::Vec<T> p = simd::exp(simd::load<T>(score + key * tile_rows) - shift);
    simd::store<T>(p, score + key * tile_rows);
    sum = sum + p;
  }
  const simd::Vec<T> shrink = simd::exp(old - shift);
  simd::store<T>(shrink, running.shrink + row);
  simd::store<T>(simd::load<T>(running.sum + row) * shrink + sum, running.sum + row);
  simd::store<T>(largest, running.largest + row);
}

template <class T>
void forward_tile(const Problem& problem, const Rows<T>& q, const Rows<T>& k, const Rows<T>& v, const Bias<T>& bias,
                  const Rows<T>& out, T* log_sum_exp, int64_t batch, int64_t head, int64_t first, T* scratch) {
  const int64_t qk_dim = problem.qk_dim, v_dim = problem.v_dim, kv_head = head / problem.group();
  const int64_t rows = std::min(tile_rows, problem.q_length - first), limit = problem.key_limit(first + rows);
  const T* const labels = problem.labels_of<T>(batch);
  T* const to = out.at(batch, head, first);
  T *const transposed_q = scratch, *const score = transposed_q + tile_rows * qk_dim;
  Running<T> running;
  std::fill_n(running.largest, tile_rows, -std::numeric_limits<T>::infinity());
  std::fill_n(running.sum, tile_rows, T(0));
  transpose_tile<T>(rows, pieces(rows, Tile<T>::lanes) * Tile<T>::lanes, qk_dim, static_cast<T>(problem.scale),
                    q.at(batch, head, first), q.ld, transposed_q, tile_rows);
  // Of the blocks that are not skipped, the first writes and the others add.
  Onto onto = Onto::zero;
  for (int64_t start = 0; start < limit; start += block_keys) {
    const Tile<T> tile(problem, first, start, start + block_keys);
    if (!problem.may_share_segment(labels, first, rows, start, start + tile.count)) continue;
    multiply_transposed<T>(tile, qk_dim, k.at(batch, kv_head, start), k.ld, transposed_q, score);
    for (int64_t row = 0; row < rows; row += Tile<T>::lanes) {
      if (bias.is_given()) bias.add(tile, batch, head, row, score);
      tile.hide(problem, labels, row, score);
      online_softmax<T>(tile.keys_of_band(row), score + row, row, running);
    }
    for (int64_t row = 0; onto == Onto::sum && row < rows; ++row)
      if (running.shrink[row] != 1) scale_row<T>(v_dim, running.shrink[row], to + row * out.ld);
    sum_over_keys<T>(tile, v_dim, score, v.at(batch, kv_head, start), v.ld, to, out.ld, onto);
    onto = Onto::sum;
  }
  for (int64_t row = 0; row < rows; ++row) {
    if (running.sum[row] == 0)  // a bias of -inf hides every key
      std::fill_n(to + row * out.ld, v_dim, T(0));
    else
      scale_row<T>(v_dim, 1 / running.sum[row], to + row * out.ld);
    log_sum_exp[row] = running.largest[row] + std::log(running.sum[row]);
  }
}

template <class T>
void forward(const Problem& problem, const Tensor& q, const Tensor& k, const Tensor& v, const Bias<T>& bias,
             const AttentionResult& result) {
  const Rows<T> q_rows(q), k_rows(k), v_rows(v), out_rows(result.out);
  const int64_t tiles = pieces(problem.q_length, tile_rows);
  const Scratch<T> scratch(tile_rows * (problem.qk_dim + block_keys));
  parallel_for(problem.batches * problem.heads * tiles, 1, [&](int64_t task, int64_t) {
    const int64_t first = task % tiles * tile_rows, head = task / tiles % problem.heads;
    const int64_t batch = task / tiles / problem.heads;
    forward_tile<T>(problem, q_rows, k_rows, v_rows, bias, out_rows,
                    result.log_sum_exp.data<T>() + (batch * problem.heads + head) * problem.q_length + first, batch,
                    head, first, scratch.mine());
  });
}

}  // namespace

bool attention_turns(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                     const AttentionBias& bias) {
  require_attention_arguments("attention", q, k, v, options, bias);
  return turns_inside(q, k, v, options, bias);
}

AttentionResult attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& options,
                          const AttentionBias& bias) {
  require_attention_arguments("attention", q, k, v, options, bias);
  if (options.rotation && !turns_inside(q, k, v, options, bias)) {
    const TurnedBefore turned(q, k, options);
    return attention(turned.q, turned.k, v, turned.options, bias);
  }
  if constexpr (kHasCuda)
    if (q.is_on(Device::cuda)) return cuda::attention(q, k, v, options, bias);
  const Problem problem(q, k, v, options);
  const AttentionResult result{
      Tensor::empty({problem.batches, problem.q_length, problem.heads, problem.v_dim}, q.dtype()).transpose(1, 2),
      Tensor::empty({problem.batches, problem.heads, problem.q_length}, q.dtype())};
  if (result.log_sum_exp.size() == 0) return result;
  with_float("attention", q.dtype(), [&]<class T>() {
    forward<T>(problem, with_rows(q), with_rows(k), with_rows(v), Bias<T>(problem, bias), result);
  });
  return result;
}

}  // namespace phasor
