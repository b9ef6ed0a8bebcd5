// Cross-entropy: the probabilities of a row are never stored by the forward pass and written once by the backward.
#include "core/ops/cross_entropy.hpp"

#include <algorithm>
#include <cmath>

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/ids.hpp"
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

std::vector<int64_t> checked_targets(const char* op, const Tensor& logits, const Tensor& targets, int64_t ignore) {
  require_float(op, "logits", logits);
  require_defined(op, "targets", targets);
  require(logits.rank() >= 1 && logits.shape().without(-1) == targets.shape(), op, "logits is ", logits.shape(),
          ", targets is ", targets.shape(), "; logits must be the shape of targets and one more axis, the classes");
  return checked_ids(op, "target", targets, logits.extent(-1), ignore);
}

int64_t counted_rows(const char* op, const std::vector<int64_t>& targets, int64_t ignore) {
  const int64_t counted = static_cast<int64_t>(targets.size()) - std::count(targets.begin(), targets.end(), ignore);
  require<ValueError>(counted > 0, op, "all ", targets.size(), " targets are ignored; a mean needs at least one row");
  return counted;
}

// The loss of each row in row-major order, in double.
std::vector<double> row_losses(const Tensor& logits, const std::vector<int64_t>& targets, int64_t ignore) {
  std::vector<double> losses(targets.size());
  with_float("cross_entropy", logits.dtype(), [&]<class T>() {
    const Tensor from = dense_rows(logits);
    const int64_t classes = logits.extent(-1);
    const Shape outer = logits.shape().without(-1);
    const RowLoop<2> rows(outer, {from.strides(), contiguous_strides(outer)});
    rows.run(classes, [&](const std::array<int64_t, 2>& at) {
      const int64_t target = targets[at[1]];
      if (target == ignore) return;
      const T* const row = from.data<T>() + at[0];
      const T largest = simd::maximum(classes, row);
      const simd::Vec<T> shift = simd::set<T>(largest);
      const T normaliser = simd::sum<T>(
          classes, [&](auto v) { return simd::exp(v - shift); }, row);
      losses[at[1]] = std::log(static_cast<double>(normaliser)) + (static_cast<double>(largest) - row[target]);
    });
  });
  return losses;
}

}  // namespace

Tensor cross_entropy_by_row(const Tensor& logits, const Tensor& targets, int64_t ignore) {
  const std::vector<double> losses =
      row_losses(logits, checked_targets("cross_entropy_by_row", logits, targets, ignore), ignore);
  return Tensor::of<double>(targets.shape(), losses).to(logits.dtype());
}

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, int64_t ignore) {
  const std::vector<int64_t> wanted = checked_targets("cross_entropy", logits, targets, ignore);
  const int64_t counted = counted_rows("cross_entropy", wanted, ignore);
  double total = 0;
  for (const double loss : row_losses(logits, wanted, ignore)) total += loss;
  return Tensor::scalar(total / static_cast<double>(counted), logits.dtype());
}

Tensor cross_entropy_backward(const Tensor& logits, const Tensor& targets, int64_t ignore, const Tensor& dloss) {
  constexpr const char* op = "cross_entropy_backward";
  const std::vector<int64_t> wanted = checked_targets(op, logits, targets, ignore);
  require_defined(op, "dloss", dloss);
  require(dloss.rank() == 0 || dloss.shape() == targets.shape(), op, "dloss is ", dloss.shape(), ", targets is ",
          targets.shape(), "; dloss must have the shape of targets or be a scalar");
  require_same_dtype(op, "logits", logits, "dloss", dloss);
  const bool of_mean = dloss.rank() == 0 && targets.rank() > 0;
  const int64_t counted = of_mean ? counted_rows(op, wanted, ignore) : 1;
  return with_float(op, logits.dtype(), [&]<class T>() {
    const Tensor from = dense_rows(logits), weights = dloss.broadcast_to(targets.shape());
    const Tensor dlogits = Tensor::empty_like(from);
    const int64_t classes = logits.extent(-1);
    const Shape outer = logits.shape().without(-1);
    const RowLoop<4> rows(outer, {dlogits.strides(), from.strides(), contiguous_strides(outer), weights.strides()});
    rows.run(classes, [&](const std::array<int64_t, 4>& at) {
      T* const out = dlogits.data<T>() + at[0];
      const T* const row = from.data<T>() + at[1];
      const int64_t target = wanted[at[2]];
      if (target == ignore) return void(std::fill_n(out, classes, T(0)));
      const T weight = weights.data<T>()[at[3]] / static_cast<T>(counted);
      const simd::Vec<T> shift = simd::set<T>(simd::maximum(classes, row));
      const T normaliser = simd::map_sum(
          classes, out, [&](auto v) { return simd::exp(v - shift); }, row);
      const simd::Vec<T> scale = simd::set<T>(weight / normaliser);
      simd::map(
          classes, out, [&](auto v) { return v * scale; }, static_cast<const T*>(out));
      out[target] -= weight;
    });
    return dlogits;
  });
}

}  // namespace phasor
