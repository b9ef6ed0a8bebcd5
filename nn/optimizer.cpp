// The kernels of AdamW and of the global norm.
#include "nn/optimizer.hpp"

#include <cmath>
#include <numbers>
#include <numeric>

#include "core/dispatch.hpp"
#include "core/ops/binary.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"

namespace phasor {

namespace {

template <class T>
double sum_of_squares(int64_t n, const T* x) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
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
  double total = 0;
  for (const Tensor& gradient : gradients) {
    const Tensor g = gradient.contiguous();
    constexpr int64_t tile = 1 << 16;
    std::vector<double> partial(static_cast<size_t>((g.size() + tile - 1) / tile));
    with_float("global_norm", g.dtype(), [&]<class T>() {
      const T* const values = g.data<T>();
      parallel_for(g.size(), tile, [&](int64_t begin, int64_t end) {
        // In vectors of f32 over at most 1024 elements, then in double: no sum loses small squares.
        // What overflows f32 is squared again in double.
        double sum = 0;
        for (int64_t i = begin; i < end; i += 1024) {
          const int64_t count = std::min<int64_t>(1024, end - i);
          const double fast = static_cast<double>(simd::sum<T>(
              count, [](auto v) { return v * v; }, values + i));
          sum += std::isfinite(fast) ? fast : sum_of_squares(count, values + i);
        }
        partial[static_cast<size_t>(begin / tile)] = sum;
      });
    });
    total = std::accumulate(partial.begin(), partial.end(), total);
  }
  return std::sqrt(total);
}

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
  for (size_t i = 0; i < all.size(); ++i) {
    const Tensor w = all[i].var.value_to_change(), g = gradients[i].contiguous();
    const double decay = options.weight_decay * all[i].options.weight_decay_factor;
    const double own_rate = learning_rate * all[i].options.learning_rate_factor;
    with_float("adamw", w.dtype(), [&]<class T>() {
      using namespace simd;
      const Vec<T> beta1 = set(T(options.beta1)), rest1 = set(T(1 - options.beta1));
      const Vec<T> beta2 = set(T(options.beta2)), rest2 = set(T(1 - options.beta2));
      const Vec<T> scale = set(T(gradient_scale)), keep = set(T(1 - own_rate * decay)),
                   epsilon = set(T(options.epsilon));
      const Vec<T> rate = set(T(own_rate / correction1)), inverse2 = set(T(1 / std::sqrt(correction2)));
      T *const pw = w.data<T>(), *const pm = first[i].data<T>(), *const pv = second[i].data<T>();
      const T* const pg = g.data<T>();
      parallel_for(w.size(), 1 << 14, [&](int64_t begin, int64_t end) {
        const auto update = [&](auto load_at, auto store_at) {
          const Vec<T> gradient = load_at(pg) * scale;
          const Vec<T> m = beta1 * load_at(pm) + rest1 * gradient;
          const Vec<T> v = beta2 * load_at(pv) + rest2 * gradient * gradient;
          store_at(m, pm);
          store_at(v, pv);
          store_at(load_at(pw) * keep - rate * m / (hn::Sqrt(v) * inverse2 + epsilon), pw);
        };
        int64_t j = begin;
        for (; j + lanes<T> <= end; j += lanes<T>)
          update([&](const T* p) { return load<T>(p + j); }, [&](Vec<T> v, T* p) { store<T>(v, p + j); });
        if (j < end)
          update([&](const T* p) { return load_first<T>(end - j, p + j); },
                 [&](Vec<T> v, T* p) { store_first<T>(end - j, v, p + j); });
      });
    });
  }
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
