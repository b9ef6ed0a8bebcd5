// The distributions drawn from the bits of Philox.
#include "core/random.hpp"

#include <cmath>
#include <numbers>

#include "core/dispatch.hpp"

namespace phasor {

uint64_t Random::bits() {
  const std::array<uint32_t, 4> block =
      philox4x32_10({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                     static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)},
                    {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  ++counter;
  return static_cast<uint64_t>(block[1]) << 32 | block[0];
}

double Random::uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

int64_t Random::below(int64_t bound) {
  require<ValueError>(bound >= 1, "random", "needs a bound of at least 1, got ", bound);
  const uint64_t range = static_cast<uint64_t>(bound);
  const uint64_t limit = UINT64_MAX - UINT64_MAX % range;  // draws at or above it would favour small values
  uint64_t draw = bits();
  while (draw >= limit) draw = bits();
  return static_cast<int64_t>(draw % range);
}

double Random::normal() {
  const double u = 1.0 - uniform();  // (0, 1]: the logarithm is finite
  const double angle = 2.0 * std::numbers::pi * uniform();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(angle);
}

template <class Draw>
static Tensor filled(const Shape& shape, Dtype dtype, Draw draw) {
  const Tensor t = Tensor::empty(shape, dtype);
  with_float("random", dtype, [&]<class T>() {
    T* const values = t.data<T>();
    for (int64_t i = 0; i < t.size(); ++i) values[i] = static_cast<T>(draw());
  });
  return t;
}

Tensor normal(const Shape& shape, double mean, double deviation, Dtype dtype, Random& random) {
  return filled(shape, dtype, [&] { return mean + deviation * random.normal(); });
}

Tensor uniform(const Shape& shape, double low, double high, Dtype dtype, Random& random) {
  return filled(shape, dtype, [&] { return low + (high - low) * random.uniform(); });
}

}  // namespace phasor
