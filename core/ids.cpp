// Checks of token ids and targets before a kernel indexes with them.
#include "core/ids.hpp"

#include <algorithm>
#include <atomic>

#include "core/device.hpp"
#include "core/dispatch.hpp"
#include "core/loops.hpp"

namespace phasor {
namespace {

// [1, 5]: where the element number `flat` stands.
Shape index_of(int64_t flat, const Shape& shape) {
  Shape index = shape;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    index = index.with(axis, flat % shape[axis]);
    flat /= shape[axis];
  }
  return index;
}

// `name` is one id, the argument many.
void require_integers(const char* op, const char* name, const Tensor& ids) {
  require<ShapeError>(ids.defined(), op, name, "s is not defined; needs a tensor");
  require<DtypeError>(ids.dtype() == Dtype::i32 || ids.dtype() == Dtype::i64, op, name, "s needs i32 or i64, got ",
                      ids.dtype(), " ", ids.shape());
}

}  // namespace

std::vector<int64_t> checked_ids(const char* op, const char* name, const Tensor& ids, int64_t bound,
                                 std::optional<int64_t> ignore) {
  require_integers(op, name, ids);
  std::vector<int64_t> values;
  with_integer(op, ids.dtype(), [&]<class Id>() {
    const std::vector<Id> given = ids.to_vector<Id>();
    values.assign(given.begin(), given.end());
  });
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t id = values[i];
    if ((id >= 0 && id < bound) || id == ignore) continue;
    const Shape index = index_of(static_cast<int64_t>(i), ids.shape());
    if (ignore)
      fail<ValueError>(op, name, " ", id, " at index ", index, " of ", ids.shape(), " is outside; needs 0 .. ",
                       bound - 1, ", or ", *ignore, " to be ignored");
    fail<ValueError>(op, name, " ", id, " at index ", index, " of ", ids.shape(), " is outside; needs 0 .. ",
                     bound - 1);
  }
  return values;
}

void require_ids(const char* op, const char* name, const Tensor& ids, int64_t bound) {
  require_integers(op, name, ids);
  if (ids.is_on(Device::cuda)) {  // seen from the host, which waits for the GPU: while it records, ids are not checked
    if (!is_recording()) checked_ids(op, name, ids, bound);
    return;
  }
  std::atomic<bool> all_inside = true;
  with_integer(op, ids.dtype(), [&]<class Id>() {
    const StridedLoop<1> loop(ids.shape(), {ids.strides()});
    loop.run(grain_for(1), [&](const std::array<int64_t, 1>& at, int64_t count) {
      const Id* const run = ids.data<Id>() + at[0];
      const int64_t step = loop.step(0);
      uint64_t largest = 0;  // negative ids are large as unsigned numbers
      for (int64_t i = 0; i < count; ++i)
        largest = std::max(largest, static_cast<uint64_t>(static_cast<int64_t>(run[i * step])));
      if (count > 0 && largest >= static_cast<uint64_t>(bound)) all_inside = false;
    });
  });
  if (!all_inside) checked_ids(op, name, ids, bound);  // which one is first
}

}  // namespace phasor
