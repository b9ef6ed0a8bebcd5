#include "tests/support/placement.hpp"

#include <cstring>
#include <limits>
#include <ostream>

namespace phasor {
namespace {

Tensor poison_on_cpu(const Shape& shape, Dtype dtype) {
  if (is_float(dtype)) return Tensor::full(shape, std::numeric_limits<double>::quiet_NaN(), dtype);
  if (dtype != Dtype::boolean) return Tensor::full(shape, -123456789.0, dtype);
  const Tensor block = Tensor::empty(shape, dtype);
  if (block.size() > 0) std::memset(static_cast<void*>(block.data<bool>()), 0xff, static_cast<size_t>(block.size()));
  return block;
}

Tensor poison(const Shape& shape, Dtype dtype, Device device) { return poison_on_cpu(shape, dtype).to(device); }

Tensor reversed(Tensor t, int first, int last) {
  for (; first < last; ++first, --last) t = t.transpose(first, last);
  return t;
}

// A block of the shape of x, each extent larger by 3, and the view that leaves out 1 before and 2 after.
Placed gapped(const Shape& shape, Dtype dtype, Device device) {
  Shape outer = shape;
  for (int axis = 0; axis < shape.rank(); ++axis) outer = outer.with(axis, shape[axis] + 3);
  const Tensor block = poison(outer, dtype, device);
  Tensor view = block;
  for (int axis = 0; axis < shape.rank(); ++axis) view = view.slice(axis, 1, 1 + shape[axis]);
  return {block, view};
}

}  // namespace

std::ostream& operator<<(std::ostream& out, Placement placement) {
  constexpr const char* names[] = {"contiguous", "guarded", "transposed", "outer_transposed", "gapped", "spread"};
  return out << names[static_cast<int>(placement)];
}

Placed placed(const Tensor& x, Placement placement, Device device) {
  const int rank = x.rank();
  Placed p;
  if (placement == Placement::contiguous) {
    p.block = p.value = Tensor::empty(x.shape(), x.dtype(), device);
  } else if (placement == Placement::guarded) {
    constexpr int64_t before = 67, after = 64;  // an odd start: misaligned for every vector width
    p.block = poison({before + x.size() + after}, x.dtype(), device);
    p.value = p.block.slice(0, before, before + x.size()).reshape(x.shape());
  } else if (placement == Placement::gapped) {
    p = gapped(x.shape(), x.dtype(), device);
  } else if (placement == Placement::spread) {
    if (rank == max_rank) return placed(x, Placement::gapped, device);
    p.block = poison(x.shape().insert(-1, 2), x.dtype(), device);
    p.value = p.block.select(-1, 1);
  } else {
    const int last = placement == Placement::transposed ? rank - 1 : rank - 2;
    const Tensor like = reversed(x, 0, last);
    p = gapped(like.shape(), x.dtype(), device);
    p.value = reversed(p.value, 0, last);
  }
  copy_into(p.value, x);
  return p;
}

std::vector<Placed> all_placed(const Tensors& arguments, Placement placement, Device device) {
  std::vector<Placed> result;
  for (const Tensor& argument : arguments) result.push_back(placed(argument, placement, device));
  return result;
}

Tensors values_of(const std::vector<Placed>& arguments) {
  Tensors values;
  for (const Placed& argument : arguments) values.push_back(argument.value);
  return values;
}

}  // namespace phasor
