// Checks of one argument of an op, each named in the error. Those of pairs stand in core/tensor.hpp.
#pragma once

#include "core/error.hpp"
#include "core/tensor.hpp"

namespace phasor {

// An undefined tensor has the shape of a scalar, which a check of shapes would report instead.
inline void require_defined(At op, const char* argument, const Tensor& x) {
  require<ShapeError>(x.defined(), op, argument, " is not defined; needs a tensor");
}

inline void require_float(At op, const char* argument, const Tensor& x) {
  require_defined(op, argument, x);
  require<DtypeError>(is_float(x.dtype()), op, argument, " needs f32 or f64, got ", x.dtype(), " ", x.shape());
}

}  // namespace phasor
