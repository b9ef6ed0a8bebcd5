// Element-wise ops of two tensors with broadcasting: vectors for floating-point numbers, plain loops for integers.
#include "core/ops/binary.hpp"

#include "core/dispatch.hpp"
#include "core/elementwise.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace {

// Integers go through the unsigned type, where an overflow wraps instead of being undefined.
template <class T>
using Wrapping = std::make_unsigned_t<T>;

struct Add {
  template <class V>
  V operator()(V a, V b) const {
    if constexpr (std::is_integral_v<V>)
      return static_cast<V>(Wrapping<V>(a) + Wrapping<V>(b));
    else
      return a + b;
  }
};
struct Sub {
  template <class V>
  V operator()(V a, V b) const {
    if constexpr (std::is_integral_v<V>)
      return static_cast<V>(Wrapping<V>(a) - Wrapping<V>(b));
    else
      return a - b;
  }
};
struct Mul {
  template <class V>
  V operator()(V a, V b) const {
    if constexpr (std::is_integral_v<V>)
      return static_cast<V>(Wrapping<V>(a) * Wrapping<V>(b));
    else
      return a * b;
  }
};
struct Div {
  template <class V>
  V operator()(V a, V b) const {
    if constexpr (std::is_integral_v<V>) {
      if (b == -1) return static_cast<V>(Wrapping<V>(0) - Wrapping<V>(a));  // the smallest integer / -1 would trap
    }
    return a / b;
  }
};

template <class T, class F>
void write(const Tensor& y, const Tensor& a, const Tensor& b) {
  for_each_run<T, 1, 2>(grain_for(1), {y}, {a, b}, [](int64_t n, const auto& to, const auto& from) {
    if constexpr (std::is_floating_point_v<T>) {
      simd::map(n, to[0], F(), from[0], from[1]);
    } else {
      for (int64_t i = 0; i < n; ++i) to[0][i] = F()(from[0][i], from[1][i]);
    }
  });
}

// The result lies in memory like the first operand of its own shape that is not a broadcast view itself.
Tensor empty_result(const Shape& shape, const Tensor& a, const Tensor& b) {
  const auto spans = [&](const Tensor& x) {
    bool whole = x.shape() == shape;
    for (int axis = 0; whole && axis < x.rank(); ++axis) whole = x.extent(axis) == 1 || x.stride(axis) != 0;
    return whole;
  };
  if (spans(a)) return Tensor::empty_like(a);
  if (spans(b)) return Tensor::empty_like(b);
  return Tensor::empty(shape, a.dtype());
}

template <class F>
Tensor apply(const char* op, const Tensor& a, const Tensor& b) {
  require_same_dtype(op, "a", a, "b", b);
  const Shape shape = broadcast_shape(op, a.shape(), b.shape());
  return with_number(op, a.dtype(), [&]<class T>() {
    const Tensor y = empty_result(shape, a, b);
    write<T, F>(y, a.broadcast_to(shape), b.broadcast_to(shape));
    return y;
  });
}

template <class T>
void require_no_zero(const Tensor& divisors) {
  const std::vector<T> values = divisors.to_vector<T>();
  const auto zero = std::find(values.begin(), values.end(), T(0));
  require<ValueError>(zero == values.end(), "div", "integer division by zero: element ", zero - values.begin(),
                      " of b ", divisors.shape(), " is 0");
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) { return apply<Add>("add", a, b); }
Tensor sub(const Tensor& a, const Tensor& b) { return apply<Sub>("sub", a, b); }
Tensor mul(const Tensor& a, const Tensor& b) { return apply<Mul>("mul", a, b); }
Tensor div(const Tensor& a, const Tensor& b) {
  if (b.dtype() == Dtype::i32) require_no_zero<int32_t>(b);
  if (b.dtype() == Dtype::i64) require_no_zero<int64_t>(b);
  return apply<Div>("div", a, b);
}

void add_into(const Tensor& y, const Tensor& x) {
  require_same_dtype("add_into", "y", y, "x", x);
  require(broadcast_shape("add_into", y.shape(), x.shape()) == y.shape(), "add_into", "x is ", x.shape(), ", y is ",
          y.shape(), "; x must broadcast to y");
  with_number("add_into", y.dtype(), [&]<class T>() { write<T, Add>(y, y, x.broadcast_to(y.shape())); });
}

}  // namespace phasor
