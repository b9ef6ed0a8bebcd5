// Constant padding: the value around a copy.
#include "core/ops/pad.hpp"

#include <cmath>
#include <limits>

#include "core/axis.hpp"
#include "core/dispatch.hpp"

namespace phasor {
namespace {

// Whether the conversion of `value` to T is one that changes nothing but the rounding of floats.
template <class T>
bool can_hold(double value) {
  if constexpr (is_float(dtype_of<T>)) {
    return true;
  } else {
    // A power of two, which a double holds; the largest integer may not be.
    const double bound = -static_cast<double>(std::numeric_limits<T>::min());
    return value == std::trunc(value) && value >= -bound && value < bound;
  }
}

}  // namespace

Tensor pad(const Tensor& x, int axis, int64_t before, int64_t after, double value) {
  axis = checked_axis("pad", "x", x, axis);
  require<ValueError>(before >= 0 && after >= 0, "pad", "axis ", axis, " of x, which is ", x.shape(), ", gets ", before,
                      " elements before and ", after, " after; needs 0 or more");
  with_any_number("pad", x.dtype(), [&]<class T>() {
    require<ValueError>(can_hold<T>(value), "pad", "the value is ", value, "; needs one that ", x.dtype(), " can hold");
  });
  const int64_t extent = x.extent(axis);
  int64_t padded = 0;
  const bool overflow =
      __builtin_add_overflow(before, extent, &padded) || __builtin_add_overflow(padded, after, &padded);
  require(!overflow, "pad", "axis ", axis, " of x, which is ", x.shape(), ", gets ", before, " elements before and ",
          after, " after, more than 63 bits can count");
  const Tensor y = Tensor::empty(x.shape().with(axis, padded), x.dtype(), x.device());
  fill(y.slice(axis, 0, before), value);
  copy_into(y.slice(axis, before, before + extent), x);
  fill(y.slice(axis, before + extent, padded), value);
  return y;
}

}  // namespace phasor
