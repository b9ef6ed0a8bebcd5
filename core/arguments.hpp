// Checks of one argument of an op, each named in the error. Those of pairs stand in core/tensor.hpp.
#pragma once

#include "core/error.hpp"
#include "core/tensor.hpp"

namespace phasor {

// An undefined tensor has the shape of a scalar, which a check of shapes would report instead.
inline void require_defined(At op, const char* argument, const Tensor& x) {
  require<ShapeError>(x.defined(), op, argument, " is not defined; needs a tensor");
}

// In element-wise ops a number (rank 0) of the CPU goes with tensors of the GPU.
inline bool is_number_of_cpu(const Tensor& x) { return x.defined() && x.rank() == 0 && x.is_on(Device::cpu); }

// As require_same_dtype, where either may be such a number.
inline void require_operands(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b) {
  require_defined(op, name_a, a);
  require_defined(op, name_b, b);
  if (a.device() == b.device() || !(is_number_of_cpu(a) || is_number_of_cpu(b)))
    return require_same_dtype(op, name_a, a, name_b, b);
  require<DtypeError>(a.dtype() == b.dtype(), op, name_a, " is ", a.dtype(), ", ", name_b, " is ", b.dtype(),
                      "; they must agree");
}

// Parameters stay f32 where activations are bf16, which only the GPU computes with.
inline bool is_f32_beside_bf16(const Tensor& parameter, const Tensor& x) {
  return parameter.defined() && x.defined() && parameter.dtype() == Dtype::f32 && x.dtype() == Dtype::bf16;
}

inline void require_float(At op, const char* argument, const Tensor& x) {
  require_defined(op, argument, x);
  require<DtypeError>(is_float(x.dtype()), op, argument, " needs f32 or f64, got ", x.dtype(), " ", x.shape());
}

}  // namespace phasor
