// AdamW (Loshchilov & Hutter, arXiv:1711.05101) over all parameters at once, and the sum of squares by which gradients
// are clipped. Tensors are f32 or f64; those of a parameter have one shape, dtype and device.
//   g = gradient * gradient_scale
//   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
//   w = w (1 - rate * decay) - rate * (m / correction1) / (sqrt(v / correction2) + epsilon)
// with rate = learning_rate * rate_factor. Then w is brought back between its minimum and maximum; NaN stays.
#pragma once

#include <limits>
#include <vector>

#include "core/tensor.hpp"

namespace phasor {

struct AdamWParameter {
  Tensor weight, first, second;  // w, m, v: changed in place, row-major
  double rate_factor = 1, decay = 0;
  double gradient_clip = 0;  // limit of the norm of its gradient alone; 0: none. AdamWPass reads it, adamw() does not.
  double minimum = -std::numeric_limits<double>::infinity(), maximum = std::numeric_limits<double>::infinity();
};

struct AdamWNumbers {
  double beta1, beta2, epsilon;
};
struct AdamWStep {
  double learning_rate, correction1, correction2;  // corrections: 1 - beta^t in step t, which counts from 1
};

// One step. Errors: ShapeError, DtypeError, DeviceError; nothing has moved then.
void adamw(const std::vector<AdamWParameter>& parameters, const std::vector<Tensor>& gradients,
           const AdamWNumbers& numbers, const AdamWStep& step, double gradient_scale = 1);

// Of all numbers of all tensors, added in double in the order of the list: finite for finite f32.
double sum_of_squares(const std::vector<Tensor>& tensors);

namespace cuda {
// What a step on the GPU reads and writes there.
struct AdamWBuffers {
  Tensor step;     // f64 [3]: an AdamWStep
  Tensor stopped;  // i32: 0, until a loss or norm was not finite
  Tensor results;  // f64 [2 + parameters]
};
}  // namespace cuda

// Steps on the GPU in which the host has no part, so that they can be recorded in a graph: each gradient is clipped by
// its gradient_clip, then all by their common norm to `clip_norm` (0: no limit), and adamw follows. A gradient whose
// norm is not finite is not clipped.
class AdamWPass {
 public:
  // DeviceError unless all parameters are on the GPU, where they must stay.
  AdamWPass(std::vector<AdamWParameter> parameters, const AdamWNumbers& numbers, double clip_norm);
  // Sends the numbers of the next step. Not while a graph is recorded.
  void begin(const AdamWStep& step) const;
  // `loss`: f64, a number. From the first step on whose loss or norm is not finite nothing changes any more.
  void take(const std::vector<Tensor>& gradients, const Tensor& loss) const;
  // f64 [2 + parameters], of the last step: the loss, the norm of all gradients, and that of each, as clipped by
  // itself.
  const Tensor& numbers() const { return buffers_.results; }

 private:
  std::vector<AdamWParameter> parameters_;
  AdamWNumbers numbers_;
  double clip_norm_;
  cuda::AdamWBuffers buffers_;
};

namespace cuda {
// What the functions above call on the GPU, after their checks; gradients are row-major.
void adamw(const std::vector<AdamWParameter>& parameters, const std::vector<Tensor>& gradients,
           const AdamWNumbers& numbers, const AdamWStep& step, double gradient_scale);
void adamw(const std::vector<AdamWParameter>& parameters, const std::vector<Tensor>& gradients,
           const AdamWNumbers& numbers, double clip_norm, const Tensor& loss, const AdamWBuffers& buffers);
double sum_of_squares(const std::vector<Tensor>& tensors);
}  // namespace cuda

}  // namespace phasor
