// Dropout multiplies each element by 0 or 1 / (1 - probability), as `random` chooses, so dx is dy multiplied by the
// same: the choice is drawn again, which costs less than keeping it.
#include "core/ops/dropout.hpp"

#include "autograd/ops.hpp"

namespace phasor {

Var dropout(const Var& x, double probability, const Random& random) {
  return record(
      "dropout", dropout(x.value(), probability, random), {x},
      [probability, random](const Tensor& dy, Wanted) { return std::vector{dropout(dy, probability, random)}; });
}

}  // namespace phasor
