// AdamW's state and steps, over the kernels of core/ops/adamw.cpp.
#include "nn/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/ops/binary.hpp"

namespace phasor {

GradientList gradients_of(const Gradients& gradients, const ParameterList& parameters) {
  GradientList list;
  for (const Parameter& p : parameters.all())
    list.push_back(gradients.has(p.var) ? gradients[p.var]
                                        : Tensor::zeros(p.var.shape(), p.var.dtype(), p.var.device()));
  return list;
}

double global_norm(const GradientList& gradients) { return std::sqrt(sum_of_squares(gradients)); }

AdamW::AdamW(const ParameterList& parameters, AdamWOptions options_) : options(options_) {
  for (const Parameter& p : parameters.all()) {
    first.push_back(Tensor::zeros(p.var.shape(), p.var.dtype(), p.var.device()));
    second.push_back(Tensor::zeros(p.var.shape(), p.var.dtype(), p.var.device()));
  }
}

namespace {

// What AdamW does to each parameter.
std::vector<AdamWParameter> items_of(const AdamW& optimizer, const ParameterList& parameters) {
  const std::vector<Parameter>& all = parameters.all();
  std::vector<AdamWParameter> items;
  for (size_t i = 0; i < all.size(); ++i) {
    const ParameterOptions& options = all[i].options;
    items.push_back({.weight = all[i].var.value_to_change(),
                     .first = optimizer.first[i],
                     .second = optimizer.second[i],
                     .rate_factor = options.learning_rate_factor,
                     .decay = optimizer.options.weight_decay * options.weight_decay_factor,
                     .gradient_clip = options.gradient_clip,
                     .minimum = options.minimum,
                     .maximum = options.maximum});
  }
  return items;
}

// Everything is checked before anything moves: a refused step leaves weights and state as they were.
void require_fit(const AdamW& optimizer, const ParameterList& parameters, const GradientList& gradients) {
  const std::vector<Parameter>& all = parameters.all();
  require(gradients.size() == all.size() && optimizer.first.size() == all.size(), "adamw", gradients.size(),
          " gradients and ", optimizer.first.size(), " states for ", all.size(), " parameters");
  for (size_t i = 0; i < all.size(); ++i) {
    const char* const name = all[i].name.c_str();
    const Tensor& w = all[i].var.value();
    require(w.is_contiguous(), "adamw", name, " ", w.shape(),
            " has gaps or another order of axes; it must be row-major");
    for (const Tensor& other : {gradients[i], optimizer.first[i], optimizer.second[i]}) {
      require_same_shape("adamw", name, w, "its gradient or state", other);
      require_same_dtype("adamw", name, w, "its gradient or state", other);
    }
  }
}

AdamWNumbers numbers_of(const AdamWOptions& options) { return {options.beta1, options.beta2, options.epsilon}; }

AdamWStep numbers_of_step(const AdamW& optimizer, double learning_rate) {
  const double step = static_cast<double>(optimizer.steps);
  return {learning_rate, 1 - std::pow(optimizer.options.beta1, step), 1 - std::pow(optimizer.options.beta2, step)};
}

}  // namespace

void AdamW::step(const ParameterList& parameters, const GradientList& gradients, double learning_rate,
                 double gradient_scale) {
  require_fit(*this, parameters, gradients);
  ++steps;
  adamw(items_of(*this, parameters), gradients, numbers_of(options), numbers_of_step(*this, learning_rate),
        gradient_scale);
}

AdamWOnGpu::AdamWOnGpu(const ParameterList& parameters, AdamW& optimizer, double clip_norm)
    : parameters_(parameters),
      optimizer_(optimizer),
      pass_(items_of(optimizer, parameters), numbers_of(optimizer.options), clip_norm) {}

void AdamWOnGpu::begin(double learning_rate) {
  for (const Parameter& p : parameters_.all()) p.var.value_to_change();  // take() will, at each launch
  ++optimizer_.steps;
  pass_.begin(numbers_of_step(optimizer_, learning_rate));
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
