// Joining tensors: each part is copied to its place.
#include "core/ops/concat.hpp"

#include "core/axis.hpp"
#include "core/parallel.hpp"

namespace phasor {
namespace {

// Every part agrees with part 0, except in the extent at axis `but` (-1: no exception).
void require_parts(const char* op, const std::vector<Tensor>& parts, int but) {
  const Tensor& first = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) {
    const Tensor& part = parts[i];
    require(part.defined(), op, "part ", i, " is not defined; needs a tensor");
    require(part.rank() == first.rank(), op, "part ", i, " is ", part.shape(), ", part 0 is ", first.shape(),
            "; the ranks must agree");
    for (int axis = 0; axis < first.rank(); ++axis)
      require(axis == but || part.extent(axis) == first.extent(axis), op, "part ", i, " is ", part.shape(),
              ", part 0 is ", first.shape(), "; axis ", axis, " must agree, is ", part.extent(axis), " and ",
              first.extent(axis));
    require<DtypeError>(part.dtype() == first.dtype(), op, "part ", i, " is ", part.dtype(), ", part 0 is ",
                        first.dtype(), "; they must agree");
    require<DeviceError>(part.device() == first.device(), op, "part ", i, " is on ", part.device(), ", part 0 on ",
                         first.device(), "; move one with .to(Device::cuda)");
  }
}

}  // namespace

Tensor concat(const std::vector<Tensor>& parts, int axis) {
  require(!parts.empty(), "concat", "no parts were given; needs at least 1");
  axis = checked_axis("concat", "part 0", parts[0], axis);
  require_parts("concat", parts, axis);
  std::vector<int64_t> starts;
  int64_t extent = 0;
  for (const Tensor& part : parts) {
    starts.push_back(extent);
    extent += part.extent(axis);
  }
  const Tensor y = Tensor::empty(parts[0].shape().with(axis, extent), parts[0].dtype(), parts[0].device());
  const auto copy = [&](int64_t i) {
    copy_into(y.slice(axis, starts[i], starts[i] + parts[i].extent(axis)), parts[i]);
  };
  const int64_t count = static_cast<int64_t>(parts.size());
  if (y.is_on(Device::cuda)) {
    for (int64_t i = 0; i < count; ++i) copy(i);
    return y;
  }
  // A large part is copied by several threads, small ones share a task.
  const int64_t mean_size = y.size() / count;
  parallel_for(count, grain_for(1) / std::max<int64_t>(mean_size, 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) copy(i);
  });
  return y;
}

Tensor stack(const std::vector<Tensor>& parts, int axis) {
  require(!parts.empty(), "stack", "no parts were given; needs at least 1");
  const Shape& shape = parts[0].shape();
  const int rank = shape.rank() + 1;
  require(rank <= max_rank, "stack", "part 0 is ", shape, "; needs a rank below ", max_rank);
  require(axis >= -rank && axis < rank, "stack", "axis ", axis, " is outside the result of parts ", shape,
          "; valid: ", -rank, " .. ", rank - 1);
  require_parts("stack", parts, -1);
  if (axis < 0) axis += rank;
  std::vector<Tensor> slices;
  for (const Tensor& part : parts) slices.push_back(part.unsqueeze(axis));
  return concat(slices, axis);
}

}  // namespace phasor
