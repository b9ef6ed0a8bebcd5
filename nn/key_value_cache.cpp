// The growth of cached tensors.
#include "nn/key_value_cache.hpp"

#include <algorithm>

namespace phasor {

Tensor GrowingTensor::append(int64_t used, const Tensor& more, int axis) {
  const int64_t length = used + more.extent(axis);
  if (!block_.defined() || block_.extent(axis) < length) {
    const Tensor larger = Tensor::empty(more.shape().with(axis, std::max(length, 2 * used)), more.dtype(), more.device());
    if (used > 0) copy_into(larger.slice(axis, 0, used), block_.slice(axis, 0, used));
    block_ = larger;
  }
  copy_into(block_.slice(axis, used, length), more);
  return block_.slice(axis, 0, length);
}

}  // namespace phasor
