// Choice by a condition, elements moved as they are.
#include "core/ops/where.hpp"

#include "core/dispatch.hpp"
#include "cuda/elementwise.cuh"

namespace phasor::cuda {
namespace {

struct Choose {
  template <class V>
  __device__ V operator()(bool condition, V a, V b) const {
    return condition ? a : b;
  }
};

}  // namespace

void where(const Tensor& y, const Tensor& condition, const Tensor& a, const Tensor& b) {
  with_any(y.dtype(), [&]<class T>() {
    map("where", y.shape(), Choose(), std::tuple(bits<T>(y)),
        std::tuple(elements<bool>(condition), bits<T>(a), bits<T>(b)));
  });
}

}  // namespace phasor::cuda
