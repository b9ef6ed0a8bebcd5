// Tensors one after the other along an axis (concat) or along a new axis (stack), as a row-major copy. Any dtype, the
// same for all parts; the other extents agree. Negative axes count from the end (of the result, for stack).
// Errors: ShapeError (no parts, axis outside, extents that differ, named by part and axis), DtypeError.
#pragma once

#include <initializer_list>
#include <vector>

#include "core/tensor.hpp"

namespace phasor {

Tensor concat(const std::vector<Tensor>& parts, int axis);
Tensor stack(const std::vector<Tensor>& parts, int axis);  // stack(parts, axis) of n parts has extent n at `axis`

// concat({a, b}, 0) of Tensors, where the function of Vars would fit as well.
inline Tensor concat(std::initializer_list<Tensor> parts, int axis) { return concat(std::vector(parts), axis); }
inline Tensor stack(std::initializer_list<Tensor> parts, int axis) { return stack(std::vector(parts), axis); }

}  // namespace phasor
