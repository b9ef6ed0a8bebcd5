// Choices by ids are linear in what is chosen from, and ids are no variables. y = C x with C a matrix of one 1 in each
// row has dx = C^T dy: every element of dy goes back to where it was taken from, and those that meet add up.
//   gather        dx = zeros, then dx[.., ids[.., i, ..], ..] += dy[.., i, ..]
//   index_select  the same, by rows
//   scatter_add   y = x + C^T source, so dx = dy and dsource = C dy = gather(dy)
#include "core/ops/gather.hpp"

#include "autograd/device.hpp"
#include "autograd/ops.hpp"

namespace phasor {

Var gather(const Var& x, int axis, const Tensor& given) {
  const Tensor ids = on(x.device(), given);
  Tensor y = gather(x.value(), axis, ids);
  return record("gather", std::move(y), {x}, [extent = x.extent(axis), axis, ids](const Tensor& dy, Wanted) {
    return std::vector{gather_backward(extent, axis, ids, dy)};
  });
}

Var scatter_add(const Var& x, int axis, const Tensor& given, const Var& source) {
  const Tensor ids = on(x.device(), given);
  Tensor y = scatter_add(x.value(), axis, ids, source.value());
  return record("scatter_add", std::move(y), {x, source}, [axis, ids](const Tensor& dy, Wanted wanted) {
    return std::vector{dy, wanted[1] ? gather(dy, axis, ids) : Tensor()};
  });
}

Var index_select(const Var& x, int axis, const Tensor& given) {
  const Tensor ids = on(x.device(), given);
  Tensor y = index_select(x.value(), axis, ids);
  return record("index_select", std::move(y), {x}, [extent = x.extent(axis), axis, ids](const Tensor& dy, Wanted) {
    return std::vector{index_select_backward(extent, axis, ids, dy)};
  });
}

}  // namespace phasor
