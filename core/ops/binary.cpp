// Element-wise ops of two tensors with broadcasting: vectors for floating-point numbers, plain loops for integers.
#include "core/ops/binary.hpp"

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/elementwise.hpp"
#include "core/scalar_math.hpp"

namespace phasor {
namespace {

namespace hn = simd::hn;

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

enum class Extreme { smallest, largest };

template <Extreme extreme>
struct Choose {
  // Where y must give way to x.
  template <class V>
  static auto prefers(V x, V y) {
    return extreme == Extreme::smallest ? hn::Lt(x, y) : hn::Lt(y, x);
  }
  template <class V>
  V operator()(V a, V b) const {
    if constexpr (std::is_integral_v<V>)
      return extreme == Extreme::smallest ? std::min(a, b) : std::max(a, b);
    else
      return hn::IfThenElse(hn::Or(prefers(b, a), hn::IsNaN(b)), b, a);
  }
  template <class V>
  std::pair<V, V> gradients(V a, V b, V dy) const {
    const auto equal = hn::Eq(a, b);
    const V half = dy * scalar::constant<V>(0.5);
    return {hn::IfThenElse(equal, half, hn::IfThenZeroElse(prefers(b, a), dy)),
            hn::IfThenElse(equal, half, hn::IfThenZeroElse(prefers(a, b), dy))};
  }
};

// Exponents 0, 1 and 2, which a square and its derivative need, are arithmetic; all others go through the C library.
// Each lane takes the same way whatever its neighbours are.
struct Pow {
  template <class V>
  V operator()(V a, V b) const {
    using T = hn::TFromV<V>;
    const hn::DFromV<V> d;
    const V one = scalar::constant<V>(1);
    const auto is_zero = hn::Eq(b, scalar::constant<V>(0)), is_one = hn::Eq(b, one),
               is_two = hn::Eq(b, scalar::constant<V>(2)), is_small = hn::Or(hn::Or(is_zero, is_one), is_two);
    const V product = hn::IfThenElse(is_two, a * a, hn::IfThenElse(is_one, a, one));
    if (hn::AllTrue(d, is_small)) return product;
    alignas(64) T bases[hn::MaxLanes(d)], exponents[hn::MaxLanes(d)];
    hn::Store(a, d, bases);
    hn::Store(b, d, exponents);
    for (size_t i = 0; i < hn::MaxLanes(d); ++i) bases[i] = std::pow(bases[i], exponents[i]);
    return hn::IfThenElse(is_small, product, hn::Load(d, bases));
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

// For the backwards: dy must have the shape to which a and b broadcast.
void require_gradient(const char* op, const Tensor& a, const Tensor& b, const Tensor& dy) {
  require_same_dtype(op, "a", a, "b", b);
  require_same_dtype(op, "a", a, "dy", dy);
  require_float(op, "a", a);
  const Shape shape = broadcast_shape(op, a.shape(), b.shape());
  require(dy.shape() == shape, op, "dy is ", dy.shape(), ", a is ", a.shape(), ", b is ", b.shape(), "; dy must be ",
          shape);
}

template <Extreme extreme>
BinaryGradients choice_backward(const char* op, const Tensor& a, const Tensor& b, const Tensor& dy) {
  require_gradient(op, a, b, dy);
  return with_float(op, a.dtype(), [&]<class T>() -> BinaryGradients {
    const Tensor da = Tensor::empty_like(dy), db = Tensor::empty_like(dy);
    const auto gradients = [](auto x, auto y, auto d) { return Choose<extreme>().gradients(x, y, d); };
    for_each_run<T, 2, 3>(grain_for(4), {da, db}, {a.broadcast_to(dy.shape()), b.broadcast_to(dy.shape()), dy},
                          [&](int64_t n, const auto& to, const auto& from) {
                            simd::map_pair(n, to[0], to[1], gradients, from[0], from[1], from[2]);
                          });
    return {da, db};
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
  require_same_dtype("div", "a", a, "b", b);
  if (b.dtype() == Dtype::i32) require_no_zero<int32_t>(b);
  if (b.dtype() == Dtype::i64) require_no_zero<int64_t>(b);
  return apply<Div>("div", a, b);
}

Tensor minimum(const Tensor& a, const Tensor& b) { return apply<Choose<Extreme::smallest>>("minimum", a, b); }
Tensor maximum(const Tensor& a, const Tensor& b) { return apply<Choose<Extreme::largest>>("maximum", a, b); }

BinaryGradients minimum_backward(const Tensor& a, const Tensor& b, const Tensor& dy) {
  return choice_backward<Extreme::smallest>("minimum_backward", a, b, dy);
}
BinaryGradients maximum_backward(const Tensor& a, const Tensor& b, const Tensor& dy) {
  return choice_backward<Extreme::largest>("maximum_backward", a, b, dy);
}

Tensor pow(const Tensor& a, const Tensor& b) {
  require_float("pow", "a", a);
  require_same_dtype("pow", "a", a, "b", b);
  const Shape shape = broadcast_shape("pow", a.shape(), b.shape());
  return with_float("pow", a.dtype(), [&]<class T>() {
    const Tensor y = empty_result(shape, a, b);
    write<T, Pow>(y, a.broadcast_to(shape), b.broadcast_to(shape));
    return y;
  });
}

Tensor pow_base_backward(const Tensor& a, const Tensor& b, const Tensor& dy) {
  require_gradient("pow_base_backward", a, b, dy);
  return with_float("pow_base_backward", a.dtype(), [&]<class T>() {
    const Tensor da = Tensor::empty_like(dy);
    const auto gradient = [](auto x, auto exponent, auto d) {
      using V = decltype(x);
      const V slope = exponent * Pow()(x, exponent - scalar::constant<V>(1));
      return hn::IfThenZeroElse(hn::Eq(exponent, scalar::constant<V>(0)), d * slope);
    };
    for_each_run<T, 1, 3>(
        grain_for(32), {da}, {a.broadcast_to(dy.shape()), b.broadcast_to(dy.shape()), dy},
        [&](int64_t n, const auto& to, const auto& from) { simd::map(n, to[0], gradient, from[0], from[1], from[2]); });
    return da;
  });
}

Tensor pow_exponent_backward(const Tensor& a, const Tensor& b, const Tensor& y, const Tensor& dy) {
  require_gradient("pow_exponent_backward", a, b, dy);
  require_same_shape("pow_exponent_backward", "y", y, "dy", dy);
  require_same_dtype("pow_exponent_backward", "y", y, "dy", dy);
  return with_float("pow_exponent_backward", a.dtype(), [&]<class T>() {
    const Tensor db = Tensor::empty_like(dy);
    const auto gradient = [](auto base, auto exponent, auto power, auto d) {
      const auto zero = scalar::constant<decltype(base)>(0);
      const auto is_flat = hn::And(hn::Eq(base, zero), hn::Ge(exponent, zero));
      return d * hn::IfThenZeroElse(is_flat, power * scalar::Log::value(base));
    };
    for_each_run<T, 1, 4>(grain_for(32), {db}, {a.broadcast_to(dy.shape()), b.broadcast_to(dy.shape()), y, dy},
                          [&](int64_t n, const auto& to, const auto& from) {
                            simd::map(n, to[0], gradient, from[0], from[1], from[2], from[3]);
                          });
    return db;
  });
}

Tensor outer(const Tensor& a, const Tensor& b) {
  require_same_dtype("outer", "a", a, "b", b);
  require(a.rank() >= 1 && b.rank() >= 1, "outer", "needs vectors: a is ", a.shape(), ", b is ", b.shape(),
          "; the rank must be at least 1");
  require(std::max(a.rank(), b.rank()) < max_rank, "outer", "a is ", a.shape(), ", b is ", b.shape(),
          "; the result has an axis more, and at most ", max_rank);
  for (int axis = -2; axis >= -std::min(a.rank(), b.rank()); --axis)
    require(a.extent(axis) == b.extent(axis) || a.extent(axis) == 1 || b.extent(axis) == 1, "outer",
            "leading axes do not broadcast: a is ", a.shape(), ", b is ", b.shape(), "; axis ", axis, " is ",
            a.extent(axis), " and ", b.extent(axis), ", neither is 1");
  return apply<Mul>("outer", a.unsqueeze(-1), b.unsqueeze(-2));
}

void add_into(const Tensor& y, const Tensor& x) {
  require_same_dtype("add_into", "y", y, "x", x);
  require(broadcast_shape("add_into", y.shape(), x.shape()) == y.shape(), "add_into", "x is ", x.shape(), ", y is ",
          y.shape(), "; x must broadcast to y");
  with_number("add_into", y.dtype(), [&]<class T>() { write<T, Add>(y, y, x.broadcast_to(y.shape())); });
}

}  // namespace phasor
