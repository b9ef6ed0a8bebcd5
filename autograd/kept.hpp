// What a derivative rule keeps of its operands.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

// A rule keeps an operand only for a gradient that will be asked for.
inline Tensor kept_if(bool needed, const Tensor& x) { return needed ? x : Tensor(); }

}  // namespace phasor
