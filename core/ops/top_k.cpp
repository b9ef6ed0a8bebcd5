// The k largest of a row in one pass over it: only what exceeds the k-th largest so far is looked at twice.
#include "core/ops/top_k.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/arguments.hpp"
#include "core/axis.hpp"
#include "core/dispatch.hpp"
#include "core/rows.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace {

template <class T>
struct Candidate {
  T value;
  int64_t index;
};

template <class T>
bool exceeds(T a, T b) {  // NaN exceeds every number
  return a > b || (std::isnan(a) && !std::isnan(b));
}

template <class T>
bool stands_before(const Candidate<T>& a, const Candidate<T>& b) {
  return exceeds(a.value, b.value) || (!exceeds(b.value, a.value) && a.index < b.index);
}

}  // namespace

namespace reference {

TopK top_k(const Tensor& x, int64_t k) {
  const std::vector<double> in = x.to(Dtype::f64).to_vector<double>();
  const int64_t width = x.extent(-1);
  std::vector<double> values;
  std::vector<int64_t> indices;
  for (int64_t row = 0; row < x.size() / width; ++row) {
    std::vector<Candidate<double>> all;
    for (int64_t i = 0; i < width; ++i) all.push_back({in[row * width + i], i});
    std::sort(all.begin(), all.end(), stands_before<double>);
    for (int64_t i = 0; i < k; ++i) values.push_back(all[i].value), indices.push_back(all[i].index);
  }
  const Shape shape = x.shape().with(-1, k);
  return {Tensor::of<double>(shape, values).to(x.dtype()), Tensor::of<int64_t>(shape, indices)};
}

Tensor argmax(const Tensor& x, int axis) {
  // The axis goes last; the others keep their order.
  Tensor last = x;
  for (int i = axis < 0 ? axis + x.rank() : axis; i + 1 < x.rank(); ++i) last = last.transpose(i, i + 1);
  return reference::top_k(last, 1).indices.squeeze(-1);
}

}  // namespace reference

namespace {

// Keeps the k that stand before the others, in any order.
template <class T>
void prune(std::vector<Candidate<T>>& candidates, int64_t k) {
  if (static_cast<int64_t>(candidates.size()) <= k) return;
  std::nth_element(candidates.begin(), candidates.begin() + (k - 1), candidates.end(), stands_before<T>);
  candidates.resize(static_cast<size_t>(k));
}

// Leaves the k largest of a row in `candidates`, in order. Whenever k candidates have come beyond the best k so far,
// the worse half goes: each element costs a comparison, and each candidate a constant on average.
template <class T>
void take_largest(int64_t width, const T* row, int64_t k, std::vector<Candidate<T>>& candidates) {
  namespace hn = simd::hn;
  const simd::Tag<T> d;
  const int64_t room = 2 * k;
  candidates.clear();
  int64_t i = 0;
  for (; i < std::min(width, room); ++i) candidates.push_back({row[i], i});
  prune(candidates, k);
  T least = candidates.back().value;  // the k-th largest so far: nth_element has put it there
  // An equal element further right stands behind, so that only a larger one is a candidate.
  const auto offer = [&](int64_t index) {
    if (!exceeds(row[index], least)) return;
    candidates.push_back({row[index], index});
    if (static_cast<int64_t>(candidates.size()) < room) return;
    prune(candidates, k);
    least = candidates.back().value;
  };
  for (; i + simd::lanes<T> <= width; i += simd::lanes<T>) {
    const simd::Vec<T> v = simd::load<T>(row + i);
    if (hn::AllFalse(d, hn::Or(hn::Gt(v, simd::set<T>(least)), hn::IsNaN(v)))) continue;
    for (int64_t lane = 0; lane < simd::lanes<T>; ++lane) offer(i + lane);
  }
  for (; i < width; ++i) offer(i);
  prune(candidates, k);
  std::sort(candidates.begin(), candidates.end(), stands_before<T>);
}

// Index of the first element that equals the largest, or of the first NaN.
template <class T>
int64_t first_largest(int64_t width, const T* row) {
  namespace hn = simd::hn;
  const simd::Tag<T> d;
  const T largest = simd::maximum(width, row);
  const bool is_nan = std::isnan(largest);
  int64_t i = 0;
  for (; i + simd::lanes<T> <= width; i += simd::lanes<T>) {
    const simd::Vec<T> v = simd::load<T>(row + i);
    const auto found = is_nan ? hn::IsNaN(v) : hn::Eq(v, simd::set<T>(largest));
    if (!hn::AllFalse(d, found)) return i + static_cast<int64_t>(hn::FindKnownFirstTrue(d, found));
  }
  while (is_nan ? !std::isnan(row[i]) : row[i] != largest) ++i;
  return i;
}

// The same for lines side by side: element i of line c is at x[i * step + c].
template <class T>
void first_largest_of_columns(int64_t lines, int64_t length, const T* x, int64_t step, int64_t* index,
                              int64_t index_step) {
  T largest[widest_bundle];
  int64_t found[widest_bundle];
  for (int64_t first = 0; first < lines; first += widest_bundle) {
    const int64_t n = std::min(widest_bundle, lines - first);
    std::copy_n(x + first, n, largest);
    std::fill_n(found, n, 0);
    for (int64_t i = 1; i < length; ++i) {
      const T* const row = x + i * step + first;
      for (int64_t c = 0; c < n; ++c) {
        const bool better = exceeds(row[c], largest[c]);
        largest[c] = better ? row[c] : largest[c];
        found[c] = better ? i : found[c];
      }
    }
    for (int64_t c = 0; c < n; ++c) index[(first + c) * index_step] = found[c];
  }
}

}  // namespace

TopK top_k(const Tensor& x, int64_t k) {
  require_float("top_k", "x", x);
  require(x.rank() >= 1, "top_k", "x is a scalar, shape ", x.shape(), "; needs rank 1 or more");
  require(k >= 1 && k <= x.extent(-1), "top_k", "k is ", k, ", x is ", x.shape(), "; k must be 1 .. ", x.extent(-1),
          ", the last axis of x");
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::top_k(x, k);
  return with_float("top_k", x.dtype(), [&]<class T>() -> TopK {
    const Tensor from = dense_rows(x);
    const Shape shape = x.shape().with(-1, k);
    const Tensor values = Tensor::empty(shape, x.dtype()), indices = Tensor::empty(shape, Dtype::i64);
    const int64_t width = x.extent(-1);
    const RowLoop<2> rows(x.shape().without(-1), {values.strides(), from.strides()});
    parallel_for(rows.count(), RowLoop<2>::grain(width), [&](int64_t begin, int64_t end) {
      std::vector<Candidate<T>> candidates;
      candidates.reserve(static_cast<size_t>(std::min(2 * k, width)));
      for (int64_t row = begin; row < end; ++row) {
        const std::array<int64_t, 2> at = rows.offsets(row);
        take_largest(width, from.data<T>() + at[1], k, candidates);
        for (int64_t i = 0; i < k; ++i) {
          values.data<T>()[at[0] + i] = candidates[i].value;
          indices.data<int64_t>()[at[0] + i] = candidates[i].index;
        }
      }
    });
    return {values, indices};
  });
}

Tensor argmax(const Tensor& x, int axis) {
  require_float("argmax", "x", x);
  const int counted = checked_axis("argmax", "x", x, axis);
  const int64_t length = x.extent(counted);
  require(length >= 1, "argmax", "an empty line has no largest element: axis ", axis, " of x, which is ", x.shape(),
          ", is empty; needs an extent of 1 or more");
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) return cuda::argmax(x, counted);
  return with_float("argmax", x.dtype(), [&]<class T>() {
    const Tensor y = Tensor::empty(x.shape().without(counted), Dtype::i64);
    if (y.size() == 0) return y;
    Tensor from = x;
    const auto lines = [&] {
      const Tensor first = from.select(counted, 0);
      return StridedLoop<2>(first.shape(), {first.strides(), y.strides()});
    };
    const auto in_rows = [&] { return length == 1 || from.stride(counted) == 1; };
    if (!in_rows() && lines().step(0) != 1) from = x.contiguous();
    const StridedLoop<2> loop = lines();
    const int64_t y_step = loop.step(1);
    if (in_rows()) {
      loop.run(RowLoop<2>::grain(length), [&](const std::array<int64_t, 2>& at, int64_t count) {
        for (int64_t i = 0; i < count; ++i)
          y.data<int64_t>()[at[1] + i * y_step] = first_largest(length, from.data<T>() + at[0] + i * loop.step(0));
      });
    } else {
      const int64_t grain = lines_per_tile<T>(y.size(), length, 2);
      loop.run(grain, [&](const std::array<int64_t, 2>& at, int64_t count) {
        first_largest_of_columns(count, length, from.data<T>() + at[0], from.stride(counted), y.data<int64_t>() + at[1],
                                 y_step);
      });
    }
    return y;
  });
}

}  // namespace phasor
