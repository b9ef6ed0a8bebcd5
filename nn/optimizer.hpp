// AdamW with global-norm clipping, and the learning-rate schedule.
#pragma once

#include "core/ops/adamw.hpp"
#include "nn/parameters.hpp"

namespace phasor {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double weight_decay = 0.1;  // decoupled (Loshchilov & Hutter, arXiv:1711.05101), times each parameter's factor
};

// Gradients of all parameters, in the parameters' order.
using GradientList = std::vector<Tensor>;

// The gradients of all parameters; zeros for one that the loss does not depend on.
GradientList gradients_of(const Gradients& gradients, const ParameterList& parameters);

// sqrt of the sum of all squares, added in double in the order of the list: finite for finite f32 gradients.
double global_norm(const GradientList& gradients);

struct AdamW {
  AdamWOptions options;
  int64_t steps = 0;                  // taken so far
  std::vector<Tensor> first, second;  // running means of the gradient and of its square

  AdamW(const ParameterList& parameters, AdamWOptions options);

  // One step, in place and over all parameters at once, as core/ops/adamw.hpp says,
  // with rate = learning_rate * learning_rate_factor and decay = weight_decay * weight_decay_factor of the parameter.
  // gradient_scale carries the clipping: min(1, limit / norm). Then w is brought back between its parameter's minimum
  // and maximum.
  void step(const ParameterList& parameters, const GradientList& gradients, double learning_rate,
            double gradient_scale = 1);
};

// The steps of a model on the GPU: clipping and update in one pass, which may be recorded. The optimizer counts them.
class AdamWOnGpu {
 public:
  // `clip_norm` limits the norm of all gradients; 0: no limit.
  AdamWOnGpu(const ParameterList& parameters, AdamW& optimizer, double clip_norm);
  // Before each step, outside any recording.
  void begin(double learning_rate);
  // Changes the parameters, unless the loss (f64, a number) or the norm is not finite, then or in a step before.
  void take(const GradientList& gradients, const Tensor& loss) const { pass_.take(gradients, loss); }
  const Tensor& numbers() const { return pass_.numbers(); }  // as AdamWPass::numbers()

 private:
  const ParameterList& parameters_;
  AdamW& optimizer_;
  AdamWPass pass_;
};

// Scales each gradient whose norm exceeds its parameter's gradient_clip (ParameterOptions; 0: no limit) down to it. A
// gradient whose norm is NaN or infinite stays as it is: the global norm, taken afterwards, shows it to the caller.
void clip_each(const ParameterList& parameters, GradientList& gradients);

// min(1, limit / norm); limit 0 means no clipping.
double clip_factor(double norm, double limit);

// Linear warm-up to `peak`, then a cosine down to `final_fraction` of it. `step` counts from 0:
//   step < warmup: peak (step + 1) / warmup
//   otherwise:     final + (peak - final) (1 + cos(pi (step - warmup) / (steps - warmup))) / 2
double learning_rate_at(int64_t step, int64_t steps, int64_t warmup, double peak, double final_fraction);

}  // namespace phasor
