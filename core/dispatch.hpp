// The only switch over Dtype: turns a run-time dtype into a template argument.
//
//   with_float("softmax", x.dtype(), [&]<class T>() { softmax_kernel<T>(x, y); });
#pragma once

#include "core/dtype.hpp"
#include "core/error.hpp"

namespace phasor {

// f32 and f64. Throws DtypeError naming the op for anything else.
template <class F>
decltype(auto) with_float(At at, Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::f32:
      return f.template operator()<float>();
    case Dtype::f64:
      return f.template operator()<double>();
    default:
      fail<DtypeError>(at, "needs f32 or f64, got ", dtype);
  }
}

// f32, f64 and bf16: kernels of the GPU.
template <class F>
decltype(auto) with_any_float(At at, Dtype dtype, F&& f) {
  if (dtype == Dtype::bf16) return f.template operator()<bf16>();
  return with_float(at, dtype, f);
}

// f32, f64, i32, i64.
template <class F>
decltype(auto) with_number(At at, Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::i32:
      return f.template operator()<int32_t>();
    case Dtype::i64:
      return f.template operator()<int64_t>();
    case Dtype::boolean:
      fail<DtypeError>(at, "needs numbers, got ", dtype);
    default:
      return with_float(at, dtype, f);
  }
}

// f32, f64, bf16, i32, i64: kernels of the GPU.
template <class F>
decltype(auto) with_any_number(At at, Dtype dtype, F&& f) {
  if (dtype == Dtype::bf16) return f.template operator()<bf16>();
  return with_number(at, dtype, f);
}

// i32 and i64: token ids, targets, segments.
template <class F>
decltype(auto) with_integer(At at, Dtype dtype, F&& f) {
  switch (dtype) {
    case Dtype::i32:
      return f.template operator()<int32_t>();
    case Dtype::i64:
      return f.template operator()<int64_t>();
    default:
      fail<DtypeError>(at, "needs i32 or i64, got ", dtype);
  }
}

template <class F>
decltype(auto) with_any(Dtype dtype, F&& f) {
  if (dtype == Dtype::boolean) return f.template operator()<bool>();
  if (dtype == Dtype::bf16) return f.template operator()<bf16>();
  return with_number("dispatch", dtype, f);
}

}  // namespace phasor
