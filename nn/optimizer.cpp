// The kernels of AdamW and of the global norm.
#include "nn/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/dispatch.hpp"
#include "core/ops/binary.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"

namespace phasor {

namespace {

// The numbers that have left the parameter's bounds are set onto them; NaN stays.
void bring_back(const Tensor& w, const ParameterOptions& options) {
  if (std::isinf(options.minimum) && std::isinf(options.maximum)) return;
  with_float("adamw", w.dtype(), [&]<class T>() {
    const T low = static_cast<T>(options.minimum), high = static_cast<T>(options.maximum);
    T* const values = w.data<T>();
    for (int64_t i = 0; i < w.size(); ++i) values[i] = std::clamp(values[i], low, high);
  });
}

template <class T>
double sum_of_squares(int64_t n, const T* x) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
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

std::vector<Tensor> row_major(const std::vector<Tensor>& list) {
  std::vector<Tensor> copies;
  for (const Tensor& t : list) copies.push_back(t.contiguous());
  return copies;
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
    sum += std::isfinite(fast) ? fast : sum_of_squares(count, x + i);
  }
  return sum;
}

}  // namespace

GradientList gradients_of(const Gradients& gradients, const ParameterList& parameters) {
  GradientList list;
  for (const Parameter& p : parameters.all())
    list.push_back(gradients.has(p.var) ? gradients[p.var] : Tensor::zeros(p.var.shape(), p.var.dtype()));
  return list;
}

double global_norm(const GradientList& gradients) {
  const std::vector<Tensor> dense = row_major(gradients);
  const std::vector<Piece> pieces = pieces_of(dense, 1 << 16);
  std::vector<double> partial(pieces.size());
  parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto [tensor, first, last] = pieces[static_cast<size_t>(i)];
      const Tensor& g = dense[tensor];
      partial[static_cast<size_t>(i)] = with_float(
          "global_norm", g.dtype(),
          [&, first = first, last = last]<class T>() { return sum_of_all_squares(last - first, g.data<T>() + first); });
    }
  });
  return std::sqrt(std::accumulate(partial.begin(), partial.end(), 0.0));
}

namespace {

// One piece of one parameter; what the letters mean stands in the header.
template <class T>
struct AdamWUpdate {
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

AdamW::AdamW(const ParameterList& parameters, AdamWOptions options_) : options(options_) {
  for (const Parameter& p : parameters.all()) {
    first.push_back(Tensor::zeros(p.var.shape(), p.var.dtype()));
    second.push_back(Tensor::zeros(p.var.shape(), p.var.dtype()));
  }
}

void AdamW::step(const ParameterList& parameters, const GradientList& gradients, double learning_rate,
                 double gradient_scale) {
  const std::vector<Parameter>& all = parameters.all();
  require(gradients.size() == all.size() && first.size() == all.size(), "adamw", gradients.size(), " gradients and ",
          first.size(), " states for ", all.size(), " parameters");
  // Everything is checked before anything moves: a refused step leaves weights and state as they were.
  for (size_t i = 0; i < all.size(); ++i) {
    const char* const name = all[i].name.c_str();
    const Tensor& w = all[i].var.value();
    require(w.is_contiguous(), "adamw", name, " ", w.shape(),
            " has gaps or another order of axes; it must be row-major");
    for (const Tensor& other : {gradients[i], first[i], second[i]}) {
      require_same_shape("adamw", name, w, "its gradient or state", other);
      require_same_dtype("adamw", name, w, "its gradient or state", other);
    }
  }
  ++steps;
  const double correction1 = 1 - std::pow(options.beta1, static_cast<double>(steps));
  const double correction2 = 1 - std::pow(options.beta2, static_cast<double>(steps));
  std::vector<Tensor> weights;
  for (const Parameter& p : all) weights.push_back(p.var.value_to_change());
  const std::vector<Tensor> dense = row_major(gradients);
  const std::vector<Piece> pieces = pieces_of(weights, 1 << 14);
  parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const auto [i, first_of_piece, end_of_piece] = pieces[static_cast<size_t>(piece)];
      const double decay = options.weight_decay * all[i].options.weight_decay_factor;
      const double own_rate = learning_rate * all[i].options.learning_rate_factor;
      with_float("adamw", weights[i].dtype(), [&, i = i, from = first_of_piece, to = end_of_piece]<class T>() {
        const auto number = [](double value) { return simd::set(static_cast<T>(value)); };
        const AdamWUpdate<T> update{.scale = number(gradient_scale),
                                    .beta1 = number(options.beta1),
                                    .rest1 = number(1 - options.beta1),
                                    .beta2 = number(options.beta2),
                                    .rest2 = number(1 - options.beta2),
                                    .keep = number(1 - own_rate * decay),
                                    .rate = number(own_rate / correction1),
                                    .inverse2 = number(1 / std::sqrt(correction2)),
                                    .epsilon = number(options.epsilon)};
        update(to - from, weights[i].data<T>() + from, first[i].data<T>() + from, second[i].data<T>() + from,
               dense[i].data<T>() + from);
      });
    }
  });
  for (size_t i = 0; i < all.size(); ++i) bring_back(weights[i], all[i].options);
}

void clip_each(const ParameterList& parameters, GradientList& gradients) {
  const std::vector<Parameter>& all = parameters.all();
  require(gradients.size() == all.size(), "clip_each", gradients.size(), " gradients for ", all.size(), " parameters");
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].options.gradient_clip == 0) continue;
    const double norm = global_norm({gradients[i]});
    if (!std::isfinite(norm)) continue;
    const double factor = clip_factor(norm, all[i].options.gradient_clip);
    if (factor != 1) gradients[i] = mul(gradients[i], Tensor::scalar(factor, gradients[i].dtype()));
  }
}

double clip_factor(double norm, double limit) { return limit > 0 && norm > limit ? limit / norm : 1.0; }

double learning_rate_at(int64_t step, int64_t steps, int64_t warmup, double peak, double final_fraction) {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double progress =
      static_cast<double>(step - warmup) / static_cast<double>(std::max<int64_t>(steps - warmup, 1));
  const double final_rate = peak * final_fraction;
  return final_rate + (peak - final_rate) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

}  // namespace phasor
