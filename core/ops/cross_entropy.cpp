// Cross-entropy: the probabilities of a row are never stored by the forward pass and written once by the backward.
#include "core/ops/cross_entropy.hpp"

#include <algorithm>
#include <cmath>

#include "core/arguments.hpp"
#include "core/device.hpp"
#include "core/dispatch.hpp"
#include "core/ids.hpp"
#include "core/ops/reduce.hpp"
#include "core/rows.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace reference {

Tensor cross_entropy_by_row(const Tensor& logits, const Tensor& targets, int64_t ignore) {
  const Tensor from = logits.to(Dtype::f64).contiguous();
  const std::vector<int64_t> classes_wanted = targets.to(Dtype::i64).to_vector<int64_t>();
  const Tensor loss = Tensor::zeros(targets.shape(), Dtype::f64);
  const int64_t classes = logits.extent(-1);
  for (int64_t row = 0; row < targets.size(); ++row) {
    if (classes_wanted[row] == ignore) continue;
    const double* const in = from.data<double>() + row * classes;
    double largest = in[0];
    for (int64_t i = 0; i < classes; ++i)
      if (!(in[i] <= largest)) largest = in[i];
    double normaliser = 0;
    for (int64_t i = 0; i < classes; ++i) normaliser += std::exp(in[i] - largest);
    loss.data<double>()[row] = std::log(normaliser) + largest - in[classes_wanted[row]];
  }
  return loss.to(logits.dtype());
}

}  // namespace reference

namespace {

// The targets as i64 in row-major order, and how many of them are not ignored; 1 where nobody may look.
struct Targets {
  Tensor ids;
  int64_t counted;
};

// Seen from the host, which waits for the GPU; while a graph is recorded they pass unchecked.
Targets targets_on_gpu(const char* op, const Tensor& targets, int64_t classes, int64_t ignore) {
  Targets result{targets, 1};
  if (is_recording()) {
    require_ids(op, "target", targets, classes);  // of their dtype
  } else {
    const std::vector<int64_t> ids = checked_ids(op, "target", targets, classes, ignore);
    result.counted = std::ssize(ids) - std::count(ids.begin(), ids.end(), ignore);
  }
  result.ids = targets.to(Dtype::i64).contiguous();
  return result;
}

Targets checked_targets(const char* op, const Tensor& logits, const Tensor& targets, int64_t ignore) {
  require_float(op, "logits", logits);
  require_defined(op, "targets", targets);
  require(logits.rank() >= 1 && logits.shape().without(-1) == targets.shape(), op, "logits is ", logits.shape(),
          ", targets is ", targets.shape(), "; logits must be the shape of targets and one more axis, the classes");
  require_same_device(op, "logits", logits, "targets", targets);
  const int64_t classes = logits.extent(-1);
  if constexpr (kHasCuda)
    if (targets.is_on(Device::cuda)) return targets_on_gpu(op, targets, classes, ignore);
  if (targets.dtype() == Dtype::i32 || targets.dtype() == Dtype::i64) {
    const Tensor ids = targets.to(Dtype::i64).contiguous();
    const int64_t* const id = ids.data<int64_t>();
    int64_t outside = 0, ignored = 0;
    for (int64_t row = 0; row < ids.size(); ++row) {
      outside += static_cast<uint64_t>(id[row]) >= static_cast<uint64_t>(classes) && id[row] != ignore;
      ignored += id[row] == ignore;
    }
    if (outside == 0) return {ids, ids.size() - ignored};
  }
  checked_ids(op, "target", targets, classes, ignore);  // throws, and says which one is wrong
  return {};
}

void require_counted(const char* op, const Targets& targets) {
  require<ValueError>(targets.counted > 0, op, "all ", targets.ids.size(),
                      " targets are ignored; a mean needs at least one row");
}

// A row of logits that counts: where it and the row of its gradient begin, its target and place among the targets.
template <class T>
struct Row {
  const T* logits;
  T* dlogits;
  int64_t target, place;
  T shift, normaliser;  // a number that keeps e^(logit - shift) in range, and the sum of these
};

// The tiles of a loop over rows: some 32 KB of logits, few enough for arrays on the stack.
constexpr int64_t most_rows = 32;
int64_t rows_of_tile(int64_t classes) {
  return std::clamp<int64_t>(8192 / std::max<int64_t>(classes, 1), 1, most_rows);
}

// Shift and normaliser of a row; the exponentials go to dlogits where there is one. In line, so that the constants of
// the exponential stay in registers from row to row; the rare second attempt is not.
template <class T>
HWY_INLINE void normalise_by(T shift, int64_t classes, Row<T>& row) {
  row.shift = shift;
  row.normaliser = simd::sum_of_exponentials(classes, row.dlogits, shift, row.logits);
}
template <class T>
HWY_NOINLINE void normalise_by_maximum(int64_t classes, Row<T>& row) {
  normalise_by(simd::maximum_of_numbers(classes, row.logits), classes, row);
}

// The target's own logit as the shift needs no search for a maximum, and makes the normaliser e^loss. Where that is
// above e^16, exponentials lose digits and overflow; there, and where it is NaN, the maximum is the shift. (A NaN need
// not show in the maximum: e^(NaN - m) is NaN again.)
template <class T>
HWY_INLINE void normalise(int64_t classes, Row<T>& row) {
  normalise_by(row.logits[row.target], classes, row);
  if (!(row.normaliser < T(8.9e6))) normalise_by_maximum(classes, row);
}

// The loss of each row in row-major order, in double.
Tensor row_losses(const Tensor& logits, const Tensor& targets, int64_t ignore) {
  const Tensor losses = Tensor::empty(targets.shape(), Dtype::f64);
  const int64_t classes = logits.extent(-1);
  if (losses.size() == 0) return losses;
  with_float("cross_entropy", logits.dtype(), [&]<class T>() {
    const Tensor from = dense_rows(logits);
    const RowLoop<2> loop(targets.shape(), {from.strides(), targets.strides()});
    const T* const first = from.data<T>();
    const int64_t* const target = targets.data<int64_t>();
    double* const loss = losses.data<double>();
    parallel_for(loop.count(), rows_of_tile(classes), [&](int64_t begin, int64_t end) {
      Row<T> rows[most_rows];
      T log_normaliser[most_rows];
      int64_t count = 0;
      for (int64_t row = begin; row < end; ++row) {
        const std::array<int64_t, 2> at = loop.offsets(row);
        loss[at[1]] = 0;
        if (target[at[1]] != ignore) rows[count++] = {first + at[0], nullptr, target[at[1]], at[1], 0, 0};
      }
      for (int64_t k = 0; k < count; ++k) {
        normalise(classes, rows[k]);
        log_normaliser[k] = rows[k].normaliser;
      }
      simd::map<T>(
          count, log_normaliser, [](auto v) { return simd::log_of_positive(v); }, log_normaliser);
      for (int64_t k = 0; k < count; ++k) {
        const double beyond_target =
            static_cast<double>(rows[k].shift) - static_cast<double>(rows[k].logits[rows[k].target]);
        loss[rows[k].place] = beyond_target + static_cast<double>(log_normaliser[k]);
      }
    });
  });
  return losses;
}

}  // namespace

Tensor cross_entropy_by_row(const Tensor& logits, const Tensor& targets, int64_t ignore) {
  const Targets checked = checked_targets("cross_entropy_by_row", logits, targets, ignore);
  if constexpr (kHasCuda)
    if (logits.is_on(Device::cuda)) return cuda::cross_entropy_by_row(logits, checked.ids, ignore);
  return row_losses(logits, checked.ids, ignore).to(logits.dtype());
}

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, int64_t ignore) {
  const Targets checked = checked_targets("cross_entropy", logits, targets, ignore);
  require_counted("cross_entropy", checked);
  if constexpr (kHasCuda)
    if (logits.is_on(Device::cuda)) return cuda::cross_entropy(logits, checked.ids, ignore);
  const double total = sum(row_losses(logits, checked.ids, ignore)).item<double>();
  return Tensor::scalar(total / static_cast<double>(checked.counted), logits.dtype());
}

Tensor cross_entropy_backward(const Tensor& logits, const Tensor& targets, int64_t ignore, const Tensor& dloss) {
  constexpr const char* op = "cross_entropy_backward";
  const Targets checked = checked_targets(op, logits, targets, ignore);
  require_defined(op, "dloss", dloss);
  require(dloss.rank() == 0 || dloss.shape() == targets.shape(), op, "dloss is ", dloss.shape(), ", targets is ",
          targets.shape(), "; dloss must have the shape of targets or be a scalar");
  require_same_dtype(op, "logits", logits, "dloss", dloss);
  const bool of_mean = dloss.rank() == 0 && targets.rank() > 0;
  if (of_mean) require_counted(op, checked);
  if constexpr (kHasCuda)
    if (logits.is_on(Device::cuda)) return cuda::cross_entropy_backward(logits, checked.ids, ignore, dloss);
  const int64_t share = of_mean ? checked.counted : 1;
  return with_float(op, logits.dtype(), [&]<class T>() {
    const Tensor from = dense_rows(logits), weights = dloss.broadcast_to(targets.shape());
    const Tensor dlogits = Tensor::empty_like(from);
    const int64_t classes = logits.extent(-1);
    if (dlogits.size() == 0) return dlogits;
    const RowLoop<4> loop(targets.shape(),
                          {dlogits.strides(), from.strides(), checked.ids.strides(), weights.strides()});
    const T *const first = from.data<T>(), *const weight = weights.data<T>();
    const int64_t* const target = checked.ids.data<int64_t>();
    T* const out = dlogits.data<T>();
    parallel_for(loop.count(), rows_of_tile(classes), [&](int64_t begin, int64_t end) {
      Row<T> rows[most_rows];
      T factor[most_rows];
      int64_t count = 0;
      for (int64_t row = begin; row < end; ++row) {
        const std::array<int64_t, 4> at = loop.offsets(row);
        if (target[at[2]] == ignore) {
          std::fill_n(out + at[0], classes, T(0));
          continue;
        }
        factor[count] = weight[at[3]] / static_cast<T>(share);
        rows[count++] = {first + at[1], out + at[0], target[at[2]], at[2], 0, 0};
      }
      const auto finish = [&](int64_t k) {
        T* const row = rows[k].dlogits;
        const simd::Vec<T> scale = simd::set<T>(factor[k] / rows[k].normaliser);
        simd::map(
            classes, row, [&](auto v) { return v * scale; }, static_cast<const T*>(row));
        row[rows[k].target] -= factor[k];
      };
      for (int64_t k = 0; k < count; ++k) {  // a row is finished when the next one's exponentials are on their way
        normalise(classes, rows[k]);
        if (k > 0) finish(k - 1);
      }
      if (count > 0) finish(count - 1);
    });
    return dlogits;
  });
}

}  // namespace phasor
