// Joining only moves numbers, so the gradient of a part is its place in dy, as a view:
//   concat   dpart_i = dy from start_i to start_i + extent_i at the axis
//   stack    dpart_i = dy at index i of the new axis
// A variable that is among the parts twice has two places; backward adds them.
#include "core/ops/concat.hpp"

#include "autograd/device.hpp"
#include "autograd/ops.hpp"

namespace phasor {
namespace {

std::vector<Var> together(std::vector<Var> parts) {
  Device device = Device::cpu;
  for (const Var& part : parts) device = common_device({device, part.device()});
  for (Var& part : parts) part = on(device, part);
  return parts;
}

std::vector<Tensor> values_of(const std::vector<Var>& parts) {
  std::vector<Tensor> values;
  for (const Var& part : parts) values.push_back(part.value());
  return values;
}

}  // namespace

Var concat(const std::vector<Var>& given, int axis) {
  const std::vector<Var> parts = together(given);
  Tensor y = concat(values_of(parts), axis);
  std::vector<int64_t> extents;
  for (const Var& part : parts) extents.push_back(part.shape()[axis]);
  return record("concat", std::move(y), parts, [axis, extents = std::move(extents)](const Tensor& dy, Wanted) {
    std::vector<Tensor> gradients;
    int64_t start = 0;
    for (const int64_t extent : extents) {
      gradients.push_back(dy.slice(axis, start, start + extent));
      start += extent;
    }
    return gradients;
  });
}

Var stack(const std::vector<Var>& given, int axis) {
  const std::vector<Var> parts = together(given);
  return record("stack", stack(values_of(parts), axis), parts, [axis](const Tensor& dy, Wanted) {
    std::vector<Tensor> gradients;
    for (int64_t i = 0; i < dy.extent(axis); ++i) gradients.push_back(dy.select(axis, i));
    return gradients;
  });
}

}  // namespace phasor
