// Comparisons of tensors that a test can trust: shape and dtype first, NaN never passes, the worst element is named.
#pragma once

#include <string>

#include "core/tensor.hpp"

namespace phasor {

// Empty if `got` has `dtype`, the shape of `expected` (f64) and everywhere |got - expected| <= limit * max|expected|;
// else a sentence naming the worst element: its index, got, expected, the error in units of the limit.
// Infinities must be equal.
std::string mismatch(const Tensor& got, Dtype dtype, const Tensor& expected, double limit);

// Empty if shape, dtype and every bit agree. NaN equals NaN of the same bits.
std::string bit_mismatch(const Tensor& got, const Tensor& expected);

// Of the finite elements.
double largest_of(const Tensor& x);

// max|got - expected| / max|expected|; infinity for NaN. Shapes must agree.
double relative_error(const Tensor& got, const Tensor& expected);

}  // namespace phasor
