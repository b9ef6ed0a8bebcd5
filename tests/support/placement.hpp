// How the arguments of a checked op lie in memory: the same numbers with other strides, among elements that must not be
// read or written.
#pragma once

#include <iosfwd>
#include <vector>

#include "core/tensor.hpp"

namespace phasor {

using Tensors = std::vector<Tensor>;

// All but the first stand among poison.
//   guarded            row-major, with poison before and behind, and a start that no vector is aligned to
//   transposed         axes in reverse order in memory
//   outer_transposed   all axes but the last in reverse order
//   gapped             poison between the rows of every axis
//   spread             every second element
enum class Placement { contiguous, guarded, transposed, outer_transposed, gapped, spread };
constexpr Placement strided_placements[] = {Placement::transposed, Placement::outer_transposed, Placement::gapped,
                                            Placement::spread};

std::ostream& operator<<(std::ostream& out, Placement placement);

struct Placed {
  Tensor block, value;  // value is a view into block
};

// The numbers of x. Poison is NaN; for integers an id that no table has; for booleans a byte that is neither false nor
// true: it acts as true, and the undefined-behaviour sanitizer stops at whoever reads it.
// The block is on `device`.
Placed placed(const Tensor& x, Placement placement, Device device = Device::cpu);
std::vector<Placed> all_placed(const Tensors& arguments, Placement placement, Device device = Device::cpu);
Tensors values_of(const std::vector<Placed>& arguments);

}  // namespace phasor
