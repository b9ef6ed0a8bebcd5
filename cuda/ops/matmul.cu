// Matrix products: what cuBLASLt is asked for. The twin of core/ops/matmul.cpp.
#include "core/ops/matmul.hpp"

#include "core/dispatch.hpp"
#include "core/loops.hpp"
#include "core/matrices.hpp"
#include "cuda/blas.cuh"
#include "cuda/launch.cuh"

namespace phasor::cuda {
namespace {

std::byte* address(const Tensor& x) {
  std::byte* first = nullptr;
  with_any_float("matmul", x.dtype(), [&]<class T>() { first = reinterpret_cast<std::byte*>(x.data<T>()); });
  return first;
}

Matrices matrices(const Tensor& x) { return {address(x), is_row_major(x), leading_step(x), 0}; }

const void* after(const void* data, int64_t bytes) { return data ? static_cast<const std::byte*>(data) + bytes : data; }

// The leading axes of y, a and b, merged where they step alike. A call of the library takes one of them.
struct Batches {
  int rank = 0;
  int64_t extents[max_rank] = {}, y[max_rank] = {}, a[max_rank] = {}, b[max_rank] = {};

  Batches(const Tensor& of_y, const Tensor& of_a, const Tensor& of_b) {
    const StridedLoop<3> loop(of_y.shape().without(-1).without(-1), {of_y.strides(), of_a.strides(), of_b.strides()});
    for (int axis = 0; axis < loop.rank(); ++axis) {
      if (loop.extent(axis) == 1) continue;
      extents[rank] = loop.extent(axis);
      y[rank] = loop.step_along(axis, 0);
      a[rank] = loop.step_along(axis, 1);
      b[rank] = loop.step_along(axis, 2);
      ++rank;
    }
  }
  void remove(int axis) {
    for (int i = axis; i + 1 < rank; ++i)
      extents[i] = extents[i + 1], y[i] = y[i + 1], a[i] = a[i + 1], b[i] = b[i + 1];
    --rank;
  }
};

// One matrix b for all of the innermost axis: the matrices of a are more rows of one, if they lie like it.
void fold_into_rows(Batches& batches, Product& p) {
  const int last = batches.rank - 1;
  if (last < 0 || batches.b[last] != 0 || !p.a.is_row_major || batches.y[last] != p.m * p.n) return;
  if (p.m == 1 && batches.a[last] >= p.k) p.a.leading_step = batches.a[last];
  if (batches.a[last] != p.m * p.a.leading_step) return;
  p.m *= batches.extents[last];
  batches.remove(last);
}

// The products of all indices of the axes that no call takes, one after the other.
template <class F>
void for_each_index(const Batches& batches, const Product& p, int64_t bytes, int axis, const F& f) {
  if (axis == batches.rank) return f(p);
  for (int64_t i = 0; i < batches.extents[axis]; ++i) {
    Product at = p;
    at.a.data = after(p.a.data, i * batches.a[axis] * bytes);
    at.b.data = after(p.b.data, i * batches.b[axis] * bytes);
    at.addend = after(p.addend, i * batches.y[axis] * bytes);
    at.y = static_cast<std::byte*>(p.y) + i * batches.y[axis] * bytes;
    for_each_index(batches, at, bytes, axis + 1, f);
  }
}

bool multiply_all(Product p, Batches batches, int64_t bytes) {
  fold_into_rows(batches, p);
  // The longest axis is the batch of a call.
  int longest = -1;
  for (int axis = 0; axis < batches.rank; ++axis)
    if (longest < 0 || batches.extents[axis] > batches.extents[longest]) longest = axis;
  int64_t count = 1;
  if (longest >= 0) {
    count = batches.extents[longest];
    p.a.batch_step = batches.a[longest];
    p.b.batch_step = batches.b[longest];
    p.y_step = batches.y[longest];
    batches.remove(longest);
  }
  constexpr int64_t most = 65535;  // kernels have their batches on an axis of the grid that is no longer
  bool done = true;
  for (int64_t start = 0; start < count && done; start += most) {
    Product part = p;
    part.batches = std::min(most, count - start);
    part.a.data = after(p.a.data, start * p.a.batch_step * bytes);
    part.b.data = after(p.b.data, start * p.b.batch_step * bytes);
    part.addend = after(p.addend, start * p.y_step * bytes);
    part.y = static_cast<std::byte*>(p.y) + start * p.y_step * bytes;
    for_each_index(batches, part, bytes, 0, [&](const Product& one) { done = done && multiply("matmul", one); });
  }
  return done;
}

}  // namespace

void matmul(const Tensor& y, const Tensor& of_a, const Tensor& of_b, const Tensor& of_addend) {
  const Shape batch = y.shape().without(-1).without(-1);
  const Tensor a = readable(of_a), b = readable(of_b);
  Product p{y.dtype(),   1,           y.extent(-2), y.extent(-1), a.extent(-1),
            matrices(a), matrices(b), nullptr,      nullptr,      address(y)};
  const Batches batches(y, a.broadcast_to(batch.insert(-1, p.m).insert(-1, p.k)),
                        b.broadcast_to(batch.insert(-1, p.k).insert(-1, p.n)));
  const int64_t bytes = static_cast<int64_t>(bytes_per_element(y.dtype()));
  Tensor addend;
  if (of_addend.defined()) {
    addend = of_addend.to(y.dtype()).contiguous();
    // The library has no products in f64 that add a bias, and reads one 16 bytes at a time.
    if (addend.rank() == 1 && y.rank() > 1 && y.dtype() != Dtype::f64) {
      if (reinterpret_cast<uintptr_t>(address(addend)) % 16 != 0) addend = addend.clone();
      p.bias = address(addend);
      if (multiply_all(p, batches, bytes)) return;
      p.bias = nullptr;
    }
    addend = addend.broadcast_to(y.shape()).contiguous();
    p.addend = address(addend);
  }
  multiply_all(p, batches, bytes);
}

}  // namespace phasor::cuda
