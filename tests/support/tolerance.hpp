// The one home of tolerances, each with its reason. All are relative to the largest element of what is expected: the
// small elements of a softmax or of a difference carry the rounding errors of the large numbers they came from.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace phasor::tolerance {

// f64 against the reference. A sum of n terms in another order differs by at most n roundings of 2^-53; the factor 8
// covers the functions around the sum (exp of 1 ULP, a division, a product). At least 8 terms, for ops without a sum.
inline double f64(int64_t terms) { return static_cast<double>(std::max<int64_t>(terms, 8)) * 0x1p-50; }

// f32 against the reference in f64: at most twice the error of the plain f32 evaluation, and what a good f32 kernel
// cannot avoid: a few roundings of 2^-24 of its own, and a sum of n terms whose roundings have random signs.
inline double f32(int64_t terms, double plain_error) {
  return 2 * plain_error + (8 + std::sqrt(static_cast<double>(terms))) * 0x1p-24;
}

// The twin on a GPU. f64: the bound, for sums of up to some hundred terms in another order.
constexpr double cuda_f64 = 1e-12;
// bf16: at most twice the error of a result that is right but for its rounding to bf16, and where the largest element
// happens to be exact, half a unit of its 8 bits.
inline double cuda_bf16(double plain_error) { return 2 * plain_error + 0x1p-9; }
// Gradients in bf16 against the same rule in f64: the value of each op on the way is rounded to bf16 too.
constexpr double cuda_bf16_gradient = 4 * 0x1p-8;

// Rules against central differences in f64 with a step of cbrt(epsilon) = 6e-6: the truncation is about the square of
// the step (4e-11), the rounding about epsilon / step (4e-11), each times the size of higher derivatives.
constexpr double gradient = 1e-8;

// Gradients in f32 against the same rule in f64: a rule chains a handful of ops, and every one of them rounds.
inline double f32_gradient(int64_t terms) { return 4 * f32(terms, 0); }

}  // namespace phasor::tolerance
