// Element-wise ops of two tensors with broadcasting.
//   a, b   f32, f64, i32 or i64 (on the GPU bf16 too), the same dtype, shapes that broadcast (numpy's rule); a number
//          (rank 0) of the CPU goes with a tensor of the GPU
//   result the broadcast shape
// Errors: ShapeError, DtypeError.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);      // division of integers truncates; by zero: ValueError
Tensor minimum(const Tensor& a, const Tensor& b);  // NaN if either is NaN
Tensor maximum(const Tensor& a, const Tensor& b);
// a^b: f32 or f64 only; 1 where b is 0 or a is 1, NaN for a negative a and a b that is no integer.
Tensor pow(const Tensor& a, const Tensor& b);
// Every product: a [..., m], b [..., n], leading axes broadcast -> [..., m, n].
Tensor outer(const Tensor& a, const Tensor& b);

// Gradients of the broadcast shape, f32 or f64; dy has it.
// The smaller (larger) side gets dy, equal sides half of it each, and both sides all of it where one is NaN.
struct BinaryGradients {
  Tensor da, db;
};
BinaryGradients minimum_backward(const Tensor& a, const Tensor& b, const Tensor& dy);
BinaryGradients maximum_backward(const Tensor& a, const Tensor& b, const Tensor& dy);
// Two functions, because one is often all that is wanted, and the logarithm of a negative a is NaN.
Tensor pow_base_backward(const Tensor& a, const Tensor& b, const Tensor& dy);  // dy b a^(b-1), 0 where b is 0
// dy y log(a) with y = a^b; 0 where a is 0 and b >= 0.
Tensor pow_exponent_backward(const Tensor& a, const Tensor& b, const Tensor& y, const Tensor& dy);

// y += x, x broadcasts to y. For sums that own their block: gradients, optimizers. x may be y, but must not overlap it
// otherwise.
void add_into(const Tensor& y, const Tensor& x);

namespace cuda {
// What the functions above call on the GPU, after their checks: F is a formula of core/binary_math.hpp. Operands have
// the shape of the result; one on the CPU is a number.
template <class F>
void binary(const char* op, const Tensor& y, const Tensor& a, const Tensor& b);
template <class F>
BinaryGradients extreme_backward(const char* op, const Tensor& a, const Tensor& b, const Tensor& dy);
Tensor pow_base_backward(const Tensor& a, const Tensor& b, const Tensor& dy);
Tensor pow_exponent_backward(const Tensor& a, const Tensor& b, const Tensor& y, const Tensor& dy);
}  // namespace cuda

}  // namespace phasor
