// Tensor: a typed, strided view of a block of memory. Copying a Tensor copies the view, never the numbers.
// View<T>: what a kernel receives.
#pragma once

#include <cassert>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <vector>

#include "core/dtype.hpp"
#include "core/shape.hpp"

namespace phasor {

// Pointer, extents and strides of a tensor whose element type is known. Owns nothing.
template <class T>
struct View {
  T* data;
  Shape shape;
  Strides strides;

  template <class... Index>
  T& operator()(Index... index) const {
    assert(sizeof...(index) == static_cast<size_t>(shape.rank()));
    int64_t offset = 0;
    int axis = 0;
    ((assert(index >= 0 && index < shape[axis]), offset += index * strides[axis++]), ...);
    return data[offset];
  }
};

class Tensor {
 public:
  Tensor() = default;  // no tensor; defined() is false

  // New blocks, row-major. `empty` is uninitialised; every other function says what it holds.
  static Tensor empty(const Shape& shape, Dtype dtype, Device device = Device::cpu);
  static Tensor zeros(const Shape& shape, Dtype dtype, Device device = Device::cpu);
  static Tensor full(const Shape& shape, double value, Dtype dtype, Device device = Device::cpu);
  static Tensor scalar(double value, Dtype dtype, Device device = Device::cpu) {
    return full({}, value, dtype, device);
  }
  template <class T>
  static Tensor of(const Shape& shape, const std::vector<T>& values);  // ShapeError unless the counts agree
  // Uninitialised, with `like`'s shape and dtype and its order of axes in memory (but no gaps): a kernel that writes
  // next to a transposed operand keeps the transposition, and the view back costs nothing. Row-major where `like` is a
  // broadcast view.
  static Tensor empty_like(const Tensor& like);

  bool defined() const { return dtype_known_; }
  const Shape& shape() const { return shape_; }
  const Strides& strides() const { return strides_; }
  Dtype dtype() const { return dtype_; }
  Device device() const { return device_; }
  bool is_on(Device device) const { return device_ == device; }
  int rank() const { return shape_.rank(); }
  int64_t size() const { return shape_.size(); }
  int64_t extent(int axis) const { return shape_[axis]; }
  int64_t stride(int axis) const { return strides_[axis < 0 ? axis + rank() : axis]; }
  bool is_contiguous() const;  // row-major without gaps
  bool shares_storage(const Tensor& other) const { return storage_ && storage_ == other.storage_; }
  bool is_same_view(const Tensor& other) const;  // the same elements in the same order, by address

  // Views. Errors: ShapeError naming the function.
  Tensor transpose(int axis_a, int axis_b) const;
  Tensor permute(std::initializer_list<int> axes) const;
  Tensor slice(int axis, int64_t start, int64_t stop) const;  // start <= stop, both inside
  Tensor select(int axis, int64_t index) const;               // slice of one element, axis removed
  Tensor unsqueeze(int axis) const;                           // a new axis of extent 1 in front of `axis`
  Tensor squeeze(int axis) const;                             // removes an axis of extent 1
  Tensor broadcast_to(const Shape& shape) const;              // stretched axes get stride 0: do not write

  Tensor reshape(const Shape& shape) const;  // a view where the strides allow it, else of a row-major copy
  Tensor contiguous() const;                 // *this if row-major already, else a row-major copy
  Tensor clone() const;                      // a row-major copy
  Tensor to(Dtype dtype) const;              // converted copy; *this if the dtype is already right
  // Row-major copy on the device; *this if it is there already. DeviceError if the device is not there.
  Tensor to(Device device) const;

  // Pointer to the first element. DtypeError unless T is the element type. Writes through it reach every view. Of a
  // tensor on cuda it is an address on the GPU, for kernels only.
  template <class T>
  T* data() const;
  template <class T>
  View<T> view() const {
    return {data<T>(), shape_, strides_};
  }

  // From any device; waits for the GPU.
  template <class T>
  T item() const;  // the only element; ShapeError if there is not exactly one
  template <class T>
  std::vector<T> to_vector() const;  // elements in row-major order

 private:
  Tensor view_as(const Shape& shape, const Strides& strides, int64_t offset) const;

  std::shared_ptr<std::byte> storage_;
  int64_t offset_ = 0;  // elements from the start of the storage
  Shape shape_;
  Strides strides_{};
  Dtype dtype_ = Dtype::f32;
  Device device_ = Device::cpu;
  bool dtype_known_ = false;
};

// As numpy writes it, four digits, columns aligned, then shape and dtype; of more than 1000 elements the first and last
// three along each axis:
//   [[1, 2.5],
//    [3,   4]]  [2, 2] f32
std::ostream& operator<<(std::ostream& out, const Tensor& x);

// y = x for tensors of one shape, any strides; converts between dtypes and copies between devices.
void copy_into(const Tensor& y, const Tensor& x);
void fill(const Tensor& y, double value);

// Checks on pairs: hand-written checks per argument get copied wrong. Each checks the device too: DeviceError.
void require_same_device(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b);
void require_same_shape(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b);
void require_same_dtype(const char* op, const char* name_a, const Tensor& a, const char* name_b, const Tensor& b);

}  // namespace phasor
