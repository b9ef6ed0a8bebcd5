// Frequencies, and their tables of cosines and sines.
#include "nn/positional/spectrum.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/dispatch.hpp"
#include "core/parallel.hpp"

namespace phasor {

double Component::wavelength() const {
  return frequency == 0 ? std::numeric_limits<double>::infinity() : 2 * std::numbers::pi / std::abs(frequency);
}

Spectrum Spectrum::geometric(int64_t components, double base) {
  require<UsageError>(components >= 1, "spectrum", "needs at least 1 component (a pair of channels of a head), got ",
                      components);
  require<UsageError>(base > 1 && std::isfinite(base), "spectrum", "needs a finite base above 1, got ", base);
  Spectrum spectrum;
  for (int64_t i = 0; i < components; ++i)
    spectrum.components_.push_back({i, std::pow(base, -static_cast<double>(i) / static_cast<double>(components))});
  return spectrum;
}

Spectrum Spectrum::map(const std::function<Component(Component)>& f) const {
  Spectrum mapped = *this;
  for (Component& c : mapped.components_) {
    c = f(c);
    require<UsageError>(std::isfinite(c.frequency) && std::isfinite(c.gain), "spectrum", "component ", c.index,
                        " has frequency ", c.frequency, " and gain ", c.gain, "; needs finite numbers");
  }
  return mapped;
}

Spectrum Spectrum::slowed_by_parts(double factor, double length, double slow, double fast) const {
  return map([&](Component c) {
    const double turns = length / c.wavelength();
    const double kept = std::clamp((turns - slow) / (fast - slow), 0.0, 1.0);
    c.frequency *= kept + (1 - kept) / factor;
    return c;
  });
}

int64_t Spectrum::turning() const {
  return std::count_if(begin(), end(), [](const Component& c) { return c.frequency != 0; });
}

CosSin Spectrum::table(const Tensor& positions, Dtype dtype) const {
  require(positions.rank() == 2, "spectrum", "positions are ", positions.shape(), "; expected [batch or 1, length]");
  const View<double> at = positions.view<double>();
  const int64_t batch = positions.extent(0), length = positions.extent(1), components = size();
  const Shape shape = {batch, 1, length, components};
  const CosSin table = {Tensor::empty(shape, dtype), Tensor::empty(shape, dtype)};
  with_float("spectrum", dtype, [&]<class T>() {
    T* const cos = table.cos.data<T>();
    T* const sin = table.sin.data<T>();
    parallel_for(batch * length, grain_for(components * 40), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const double position = at(row / length, row % length);
        for (const Component& c : components_) {
          const double angle = c.frequency * position;
          cos[row * components + c.index] = static_cast<T>(c.gain * std::cos(angle));
          sin[row * components + c.index] = static_cast<T>(c.gain * std::sin(angle));
        }
      }
    });
  });
  return table;
}

}  // namespace phasor
