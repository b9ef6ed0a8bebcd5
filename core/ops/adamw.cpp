// The kernels of AdamW and of the global norm.
#include "core/ops/adamw.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace {

void require_fit(const std::vector<AdamWParameter>& parameters, const std::vector<Tensor>& gradients) {
  constexpr const char* op = "adamw";
  require(gradients.size() == parameters.size(), op, gradients.size(), " gradients for ", parameters.size(),
          " parameters");
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor& w = parameters[i].weight;
    require_defined(op, "a weight", w);
    with_float(op, w.dtype(), []<class T>() {});
    require_same_device(op, "the first weight", parameters[0].weight, "a weight", w);
    for (const Tensor& other : {gradients[i], parameters[i].first, parameters[i].second}) {
      require_same_shape(op, "a weight", w, "its gradient or state", other);
      require_same_dtype(op, "a weight", w, "its gradient or state", other);
    }
    for (const Tensor& changed : {w, parameters[i].first, parameters[i].second})
      require(changed.is_contiguous(), op, "a weight or its state ", changed.shape(),
              " has gaps or another order of axes; it must be row-major");
  }
}

// The numbers that have left the bounds are set onto them; NaN stays.
void bring_back(const AdamWParameter& parameter) {
  if (std::isinf(parameter.minimum) && std::isinf(parameter.maximum)) return;
  with_float("adamw", parameter.weight.dtype(), [&]<class T>() {
    const T low = static_cast<T>(parameter.minimum), high = static_cast<T>(parameter.maximum);
    T* const values = parameter.weight.data<T>();
    for (int64_t i = 0; i < parameter.weight.size(); ++i) values[i] = std::clamp(values[i], low, high);
  });
}

// Elements begin .. end of one tensor of a list: one parallel loop over such pieces serves all tensors, also small
// ones.
struct Piece {
  size_t tensor;
  int64_t begin, end;
};

std::vector<Piece> pieces_of(const std::vector<Tensor>& list, int64_t longest) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < list.size(); ++i)
    for (int64_t begin = 0; begin < list[i].size(); begin += longest)
      pieces.push_back({i, begin, std::min(begin + longest, list[i].size())});
  return pieces;
}

std::vector<Tensor> row_major(std::vector<Tensor> list) {
  for (Tensor& t : list) t = t.contiguous();
  return list;
}

template <class T>
double squares_in_double(int64_t n, const T* x) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

// In vectors of f32 over at most 4096 elements, then in double: no sum loses small squares. What overflows f32 is
// squared again in double.
template <class T>
double sum_of_all_squares(int64_t n, const T* x) {
  constexpr int64_t part = 4096;
  double sum = 0;
  for (int64_t i = 0; i < n; i += part) {
    const int64_t count = std::min(part, n - i);
    const double fast = static_cast<double>(simd::sum<T>(
        count, [](auto v) { return v * v; }, x + i));
    sum += std::isfinite(fast) ? fast : squares_in_double(count, x + i);
  }
  return sum;
}

// One piece of one parameter; what the letters mean stands in the header.
template <class T>
struct Update {
  simd::Vec<T> scale, beta1, rest1, beta2, rest2, keep, rate, inverse2, epsilon;

  void operator()(int64_t n, T* w, T* m, T* v, const T* g) const {
    int64_t i = 0;
    for (; i + simd::lanes<T> <= n; i += simd::lanes<T>) at(simd::lanes<T>, w + i, m + i, v + i, g + i);
    if (i < n) at(n - i, w + i, m + i, v + i, g + i);
  }

 private:
  // The first n lanes.
  void at(int64_t n, T* w, T* m, T* v, const T* g) const {
    using namespace simd;
    const Vec<T> gradient = load_first<T>(n, g) * scale;
    const Vec<T> mean = beta1 * load_first<T>(n, m) + rest1 * gradient;
    const Vec<T> square = beta2 * load_first<T>(n, v) + rest2 * gradient * gradient;
    store_first<T>(n, mean, m);
    store_first<T>(n, square, v);
    store_first<T>(n, load_first<T>(n, w) * keep - rate * mean / (hn::Sqrt(square) * inverse2 + epsilon), w);
  }
};

}  // namespace

double sum_of_squares(const std::vector<Tensor>& tensors) {
  constexpr const char* op = "sum_of_squares";
  for (const Tensor& t : tensors) {
    require_same_device(op, "the first tensor", tensors[0], "a tensor", t);
    with_float(op, t.dtype(), []<class T>() {});
  }
  const std::vector<Tensor> dense = row_major(tensors);
  if constexpr (kHasCuda)
    if (!dense.empty() && dense[0].is_on(Device::cuda)) return cuda::sum_of_squares(dense);
  const std::vector<Piece> pieces = pieces_of(dense, 1 << 16);
  std::vector<double> partial(pieces.size());
  parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [tensor, first, last] = pieces[static_cast<size_t>(i)];
      const Tensor& g = dense[tensor];
      partial[static_cast<size_t>(i)] = with_float(op, g.dtype(), [&, first = first, last = last]<class T>() {
        return sum_of_all_squares(last - first, g.data<T>() + first);
      });
    }
  });
  return std::accumulate(partial.begin(), partial.end(), 0.0);
}

void adamw(const std::vector<AdamWParameter>& parameters, const std::vector<Tensor>& gradients,
           const AdamWNumbers& numbers, const AdamWStep& step, double gradient_scale) {
  require_fit(parameters, gradients);
  const std::vector<Tensor> dense = row_major(gradients);
  if constexpr (kHasCuda)
    if (!parameters.empty() && parameters[0].weight.is_on(Device::cuda))
      return cuda::adamw(parameters, dense, numbers, step, gradient_scale);
  const std::vector<Piece> pieces = pieces_of(dense, 1 << 14);
  parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const auto [i, first_of_piece, end_of_piece] = pieces[static_cast<size_t>(piece)];
      const AdamWParameter& p = parameters[i];
      const double own_rate = step.learning_rate * p.rate_factor;
      with_float("adamw", p.weight.dtype(), [&, i = i, from = first_of_piece, to = end_of_piece]<class T>() {
        const auto number = [](double value) { return simd::set(static_cast<T>(value)); };
        const Update<T> update{.scale = number(gradient_scale),
                               .beta1 = number(numbers.beta1),
                               .rest1 = number(1 - numbers.beta1),
                               .beta2 = number(numbers.beta2),
                               .rest2 = number(1 - numbers.beta2),
                               .keep = number(1 - own_rate * p.decay),
                               .rate = number(own_rate / step.correction1),
                               .inverse2 = number(1 / std::sqrt(step.correction2)),
                               .epsilon = number(numbers.epsilon)};
        update(to - from, p.weight.data<T>() + from, p.first.data<T>() + from, p.second.data<T>() + from,
               dense[i].data<T>() + from);
      });
    }
  });
  for (const AdamWParameter& p : parameters) bring_back(p);
}

AdamWPass::AdamWPass(std::vector<AdamWParameter> parameters, const AdamWNumbers& numbers, double clip_norm)
    : parameters_(std::move(parameters)), numbers_(numbers), clip_norm_(clip_norm) {
  for (const AdamWParameter& p : parameters_)
    require<DeviceError>(p.weight.is_on(Device::cuda), "adamw", "a weight ", p.weight.shape(), " is on ",
                         p.weight.device(), "; needs cuda");
  buffers_ = {.step = Tensor::zeros({3}, Dtype::f64, Device::cuda),
              .stopped = Tensor::zeros({}, Dtype::i32, Device::cuda),
              .results = Tensor::zeros({2 + std::ssize(parameters_)}, Dtype::f64, Device::cuda)};
}

void AdamWPass::begin(const AdamWStep& step) const {
  copy_into(buffers_.step, Tensor::of<double>({3}, {step.learning_rate, step.correction1, step.correction2}));
}

void AdamWPass::take(const std::vector<Tensor>& gradients, const Tensor& loss) const {
  require_fit(parameters_, gradients);
  require_same_dtype("adamw", "loss", loss, "its copy", buffers_.results);
  require(loss.size() == 1, "adamw", "loss is ", loss.shape(), "; needs one number");
  if constexpr (kHasCuda) cuda::adamw(parameters_, row_major(gradients), numbers_, clip_norm_, loss, buffers_);
}

}  // namespace phasor
