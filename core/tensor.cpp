// Views are arithmetic on strides; only clone, to and fill touch elements.
#include "core/tensor.hpp"

#include <cstring>
#include <numeric>

#include "core/allocator.hpp"
#include "core/arguments.hpp"
#include "core/axis.hpp"
#include "core/cuda.hpp"
#include "core/device.hpp"
#include "core/dispatch.hpp"
#include "core/loops.hpp"

namespace phasor {

Tensor Tensor::empty(const Shape& shape, Dtype dtype, Device device) {
  int64_t bytes = 0;
  const bool overflow = __builtin_mul_overflow(shape.size(), static_cast<int64_t>(bytes_per_element(dtype)), &bytes);
  require<ResourceError>(!overflow, "tensor", shape, " of ", dtype, " needs more bytes than 63 bits can count");
  Tensor t;
  t.storage_ = allocate(static_cast<size_t>(bytes), device);
  t.shape_ = shape;
  t.strides_ = contiguous_strides(shape);
  t.dtype_ = dtype;
  t.device_ = device;
  t.dtype_known_ = true;
  return t;
}

Tensor Tensor::zeros(const Shape& shape, Dtype dtype, Device device) {
  const Tensor t = empty(shape, dtype, device);
  const size_t bytes = static_cast<size_t>(t.size()) * bytes_per_element(dtype);
  if (!t.storage_) return t;
  if (device == Device::cpu)
    std::memset(t.storage_.get(), 0, bytes);
  else if constexpr (kHasCuda)
    cuda::clear(t.storage_.get(), bytes);
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, Dtype dtype, Device device) {
  const Tensor t = empty(shape, dtype, device);
  fill(t, value);
  return t;
}

template <class T>
Tensor Tensor::of(const Shape& shape, const std::vector<T>& values) {
  require(shape.size() == static_cast<int64_t>(values.size()), "tensor", values.size(), " values do not fill ", shape);
  const Tensor t = empty(shape, dtype_of<T>);
  std::copy(values.begin(), values.end(), t.data<T>());
  return t;
}

Tensor Tensor::empty_like(const Tensor& like) {
  const Tensor block = empty(like.shape(), like.dtype(), like.device());
  // A broadcast axis has no place in memory of its own.
  for (int axis = 0; axis < like.rank(); ++axis)
    if (like.extent(axis) > 1 && like.strides_[axis] == 0) return block;
  std::array<int, max_rank> order{};  // axes from the largest stride to the smallest
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.begin() + like.rank(),
                   [&](int a, int b) { return like.strides_[a] > like.strides_[b]; });
  Strides strides{};
  int64_t step = 1;
  for (int place = like.rank() - 1; place >= 0; --place) {
    strides[order[place]] = step;
    step *= std::max<int64_t>(like.extent(order[place]), 1);
  }
  return block.view_as(like.shape(), strides, 0);
}

Tensor Tensor::view_as(const Shape& shape, const Strides& strides, int64_t offset) const {
  Tensor t = *this;
  t.shape_ = shape;
  t.strides_ = strides;
  t.offset_ = offset;
  return t;
}

bool Tensor::is_same_view(const Tensor& other) const {
  return shares_storage(other) && offset_ == other.offset_ && shape_ == other.shape_ && strides_ == other.strides_;
}

bool Tensor::is_contiguous() const {
  int64_t step = 1;
  for (int axis = rank() - 1; axis >= 0; --axis) {
    if (shape_[axis] != 1 && strides_[axis] != step) return size() == 0;
    step *= shape_[axis];
  }
  return true;
}

Tensor Tensor::transpose(int axis_a, int axis_b) const {
  axis_a = checked_axis("transpose", "x", *this, axis_a);
  axis_b = checked_axis("transpose", "x", *this, axis_b);
  Strides strides = strides_;
  std::swap(strides[axis_a], strides[axis_b]);
  return view_as(shape_.with(axis_a, shape_[axis_b]).with(axis_b, shape_[axis_a]), strides, offset_);
}

Tensor Tensor::permute(std::initializer_list<int> axes) const {
  require(static_cast<int>(axes.size()) == rank(), "permute", axes.size(), " axes given for a tensor of shape ",
          shape_);
  std::array<int64_t, max_rank> extents{};
  Strides strides{};
  unsigned seen = 0;
  int place = 0;
  for (int axis : axes) {
    axis = checked_axis("permute", "x", *this, axis);
    require(!(seen >> axis & 1), "permute", "axis ", axis, " is named twice");
    seen |= 1u << axis;
    extents[place] = shape_[axis];
    strides[place++] = strides_[axis];
  }
  return view_as(Shape(std::span<const int64_t>(extents.data(), rank())), strides, offset_);
}

Tensor Tensor::slice(int axis, int64_t start, int64_t stop) const {
  axis = checked_axis("slice", "x", *this, axis);
  require(0 <= start && start <= stop && stop <= shape_[axis], "slice", "[", start, ", ", stop, ") is outside axis ",
          axis, " of ", shape_);
  return view_as(shape_.with(axis, stop - start), strides_, offset_ + start * strides_[axis]);
}

Tensor Tensor::select(int axis, int64_t index) const {
  axis = checked_axis("select", "x", *this, axis);
  require(0 <= index && index < shape_[axis], "select", "index ", index, " is outside axis ", axis, " of ", shape_);
  return slice(axis, index, index + 1).squeeze(axis);
}

Tensor Tensor::unsqueeze(int axis) const {
  axis = normalized_axis("unsqueeze", axis, rank() + 1);
  const Shape shape = shape_.insert(axis, 1);
  Strides strides{};
  std::copy(strides_.begin(), strides_.begin() + axis, strides.begin());
  std::copy(strides_.begin() + axis, strides_.begin() + rank(), strides.begin() + axis + 1);
  return view_as(shape, strides, offset_);
}

Tensor Tensor::squeeze(int axis) const {
  axis = checked_axis("squeeze", "x", *this, axis);
  require(shape_[axis] == 1, "squeeze", "axis ", axis, " of ", shape_, " is not 1");
  Strides strides{};
  std::copy(strides_.begin(), strides_.begin() + axis, strides.begin());
  std::copy(strides_.begin() + axis + 1, strides_.begin() + rank(), strides.begin() + axis);
  return view_as(shape_.without(axis), strides, offset_);
}

Tensor Tensor::broadcast_to(const Shape& shape) const {
  require(broadcast_shape("broadcast_to", shape_, shape) == shape, "broadcast_to", shape_, " does not broadcast to ",
          shape);
  Strides strides{};
  const int added = shape.rank() - rank();
  for (int axis = 0; axis < rank(); ++axis)
    strides[axis + added] = shape_[axis] == shape[axis + added] ? strides_[axis] : 0;
  return view_as(shape, strides, offset_);
}

Tensor Tensor::reshape(const Shape& shape) const {
  require(shape.size() == size(), "reshape", shape_, " has ", size(), " elements, ", shape, " has ", shape.size());
  // Both shapes are cut into runs of axes with equal products; a run keeps its memory if its source axes are dense.
  Strides strides{};
  int from = 0, to = 0;
  bool dense = size() > 0;
  while (dense && to < shape.rank()) {
    int64_t have = from < rank() ? shape_[from] : 1, want = shape[to];
    int from_end = from + 1, to_end = to + 1;
    while (have != want) {
      if (have < want)
        have *= shape_[from_end++];
      else
        want *= shape[to_end++];
    }
    while (from_end < rank() && shape_[from_end] == 1) ++from_end;
    int64_t step = 1;
    bool first = true;
    for (int axis = std::min(from_end, rank()) - 1; axis >= from; --axis) {
      if (shape_[axis] == 1) continue;
      if (first)
        step = strides_[axis];
      else
        dense = dense && strides_[axis] == step;
      first = false;
      step = strides_[axis] * shape_[axis];
    }
    // The run's innermost stride, then outwards.
    int64_t inner = 1;
    for (int axis = std::min(from_end, rank()) - 1; axis >= from; --axis) {
      if (shape_[axis] != 1) {
        inner = strides_[axis];
        break;
      }
    }
    for (int axis = to_end - 1; axis >= to; --axis) {
      strides[axis] = inner;
      inner *= shape[axis];
    }
    from = from_end;
    to = to_end;
  }
  if (dense) return view_as(shape, strides, offset_);
  const Tensor copy = clone();
  return copy.view_as(shape, contiguous_strides(shape), 0);
}

Tensor Tensor::contiguous() const { return is_contiguous() ? *this : clone(); }

Tensor Tensor::clone() const {
  const Tensor copy = empty(shape_, dtype_, device_);
  copy_into(copy, *this);
  return copy;
}

Tensor Tensor::to(Dtype dtype) const {
  if (dtype == dtype_) return *this;
  const Tensor copy = empty(shape_, dtype, device_);
  copy_into(copy, *this);
  return copy;
}

Tensor Tensor::to(Device device) const {
  if (device == device_) return *this;
  const Tensor dense = contiguous();
  Tensor copy = dense;
  copy.device_ = device;
  copy.offset_ = 0;
  const size_t bytes = static_cast<size_t>(size()) * bytes_per_element(dtype_);
  const std::byte* const from = dense.storage_.get() + dense.offset_ * static_cast<int64_t>(bytes_per_element(dtype_));
  require_device("tensor", device);
  if constexpr (kHasCuda) {
    if (device == Device::cuda) {
      copy.storage_ = cuda::uploaded(from, bytes);
    } else {
      copy.storage_ = allocate(bytes, device);
      cuda::download(copy.storage_.get(), from, bytes);
    }
  }
  return copy;
}

template <class T>
T* Tensor::data() const {
  require<DtypeError>(defined(), "tensor", "asked for ", dtype_of<T>, ", is not defined");
  require<DtypeError>(dtype_ == dtype_of<T>, "tensor", "asked for ", dtype_of<T>, ", holds ", dtype_);
  return reinterpret_cast<T*>(storage_.get()) + offset_;
}

template <class T>
T Tensor::item() const {
  require(size() == 1, "item", "needs exactly one element, has shape ", shape_);
  const Tensor here = to(Device::cpu);
  return *here.data<T>();
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  const Tensor dense = to(Device::cpu).contiguous();
  // Not a range of pointers: std::vector<bool> packs its elements.
  return std::vector<T>(dense.data<T>(), dense.data<T>() + size());
}

#define PHASOR_INSTANTIATE(T)                                         \
  template Tensor Tensor::of<T>(const Shape&, const std::vector<T>&); \
  template T* Tensor::data<T>() const;                                \
  template T Tensor::item<T>() const;                                 \
  template std::vector<T> Tensor::to_vector<T>() const;
PHASOR_INSTANTIATE(float)
PHASOR_INSTANTIATE(double)
PHASOR_INSTANTIATE(bf16)
PHASOR_INSTANTIATE(int32_t)
PHASOR_INSTANTIATE(int64_t)
PHASOR_INSTANTIATE(bool)
#undef PHASOR_INSTANTIATE

void copy_into(const Tensor& y, const Tensor& x) {
  require_defined("copy", "y", y);
  require_defined("copy", "x", x);
  require(y.shape() == x.shape(), "copy", "y is ", y.shape(), ", x is ", x.shape(), "; they must agree");
  if (y.device() != x.device()) {
    const Tensor dense = x.to(y.dtype()).contiguous();
    if constexpr (kHasCuda)
      if (y.is_on(Device::cuda) && y.is_contiguous() && y.size() > 0 && !cuda::is_capturing())
        return with_any(y.dtype(), [&]<class T>() {
          cuda::upload(reinterpret_cast<std::byte*>(y.data<T>()), reinterpret_cast<const std::byte*>(dense.data<T>()),
                       static_cast<size_t>(y.size()) * sizeof(T));
        });
    return copy_into(y, dense.to(y.device()));
  }
  if constexpr (kHasCuda)
    if (y.is_on(Device::cuda)) return cuda::copy_into(y, x);
  const StridedLoop<2> loop(y.shape(), {y.strides(), x.strides()});
  with_any(y.dtype(), [&]<class Y>() {
    with_any(x.dtype(), [&]<class X>() {
      Y* const to = y.data<Y>();
      const X* const from = x.data<X>();
      const int64_t step_y = loop.step(0), step_x = loop.step(1);
      loop.run(grain_for(1), [&](const std::array<int64_t, 2>& at, int64_t count) {
        Y* const row_y = to + at[0];
        const X* const row_x = from + at[1];
        if (step_y == 1 && step_x == 1)
          for (int64_t i = 0; i < count; ++i) row_y[i] = static_cast<Y>(row_x[i]);
        else
          for (int64_t i = 0; i < count; ++i) row_y[i * step_y] = static_cast<Y>(row_x[i * step_x]);
      });
    });
  });
}

void fill(const Tensor& y, double value) {
  if constexpr (kHasCuda)
    if (y.is_on(Device::cuda)) return cuda::fill(y, value);
  with_any(y.dtype(), [&]<class T>() {
    const T v = static_cast<T>(value);
    const StridedLoop<1> loop(y.shape(), {y.strides()});
    loop.run(grain_for(1), [&](const std::array<int64_t, 1>& at, int64_t count) {
      T* const row = y.data<T>() + at[0];
      for (int64_t i = 0; i < count; ++i) row[i * loop.step(0)] = v;
    });
  });
}

void require_same_device(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b) {
  require_defined(op, name_a, a);
  require_defined(op, name_b, b);
  require<DeviceError>(a.device() == b.device(), op, name_a, " ", a.shape(), " is on ", a.device(), ", ", name_b, " ",
                       b.shape(), " on ", b.device(), "; move one with .to(Device::cuda)");
}

void require_same_shape(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b) {
  require_same_device(op, name_a, a, name_b, b);
  require(a.shape() == b.shape(), op, name_a, " is ", a.shape(), ", ", name_b, " is ", b.shape(), "; they must agree");
}

void require_same_dtype(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b) {
  require_same_device(op, name_a, a, name_b, b);
  require<DtypeError>(a.dtype() == b.dtype(), op, name_a, " is ", a.dtype(), ", ", name_b, " is ", b.dtype(),
                      "; they must agree");
}

}  // namespace phasor
