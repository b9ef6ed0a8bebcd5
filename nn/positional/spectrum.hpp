// Spectrum: the frequency and gain of each rotary component. Knows nothing of q, k or kernels.
#pragma once

#include <functional>
#include <vector>

#include "core/tensor.hpp"

namespace phasor {

// A pair of channels that turns together; index 0 is the fastest.
struct Component {
  int64_t index = 0;
  double frequency = 0;  // angular speed, rad per token; 0 stands still
  double gain = 1;       // multiplies cosine and sine

  double wavelength() const;  // tokens per turn: 2 pi / frequency, infinity for a component that stands still
};

struct CosSin {
  Tensor cos, sin;
};

class Spectrum {
 public:
  // RoPE (Su et al., arXiv:2104.09864, section 3.2.2): frequency_i = base^(-i / components) = base^(-2i / head_dim).
  // UsageError unless components >= 1 and base is finite and above 1.
  static Spectrum geometric(int64_t components, double base);

  // The spectrum with f applied to each component. UsageError if a frequency or gain is not finite.
  Spectrum map(const std::function<Component(Component)>& f) const;

  // By parts (Peng et al., YaRN, arXiv:2309.00071, section 3.2): a component that turns more than `fast` times within
  // `length` tokens stays, one that turns fewer than `slow` times is slowed down to frequency / factor, and between
  // them the share of its own frequency is linear in the turns.
  Spectrum slowed_by_parts(double factor, double length, double slow, double fast) const;

  int64_t size() const { return static_cast<int64_t>(components_.size()); }
  const Component& operator[](int64_t index) const { return components_[index]; }
  auto begin() const { return components_.begin(); }
  auto end() const { return components_.end(); }
  int64_t turning() const;  // how many components have a frequency other than 0

  // gain * cos(angle) and gain * sin(angle), angle = frequency * position, for positions [batch or 1, length] (f64):
  // [batch or 1, 1, length, components]. Angles are computed in double and rounded once to `dtype`: in f32 the angle of
  // position 100 000 would be off by 4e-3 rad.
  CosSin table(const Tensor& positions, Dtype dtype) const;

 private:
  std::vector<Component> components_;
};

}  // namespace phasor
