// The reductions and their gradients; cuda/reduction.cuh walks.
#include "core/ops/reduce.hpp"

#include "core/ops/binary.hpp"
#include "cuda/reduction.cuh"

namespace phasor::cuda {
namespace {

template <class A>
constexpr __device__ A least_number() {
  return -static_cast<A>(INFINITY);
}

template <class A>
struct Sum {
  using Summary = A;
  static __device__ A nothing() { return 0; }
  template <class Count, class Index>
  static __device__ A of(const A (&x)[batch], Count valid, const Index&) {
    A sum = x[0];
#pragma unroll
    for (int k = 1; k < batch; ++k)
      if (k < valid) sum += x[k];
    return sum;
  }
  static __device__ A merge(A a, A b) { return a + b; }
  static __device__ A result(A sum) { return sum; }
};

template <class A>
struct Max {
  using Summary = A;
  static __device__ A nothing() { return least_number<A>(); }
  template <class Count, class Index>
  static __device__ A of(const A (&x)[batch], Count valid, const Index&) {
    A largest = x[0];
#pragma unroll
    for (int k = 1; k < batch; ++k)
      if (k < valid) largest = merge(largest, x[k]);
    return largest;
  }
  static __device__ A merge(A a, A b) { return a != a || a > b ? a : b; }  // a NaN on either side stays
  static __device__ A result(A largest) { return largest; }
};

// The largest number and the sum of e^(x - shift), where the shift is the largest; 0 if that is infinite, because
// inf - inf is NaN.
template <class A>
struct LogSumExp {
  using Summary = ScaledSum<A>;
  static __device__ Summary nothing() { return Summary::nothing(); }
  template <class Count, class Index>
  static __device__ Summary of(const A (&x)[batch], Count valid, const Index& index) {
    Summary s{Max<A>::of(x, valid, index), 0};
    const A shift = isfinite(s.largest) ? s.largest : A(0);
#pragma unroll
    for (int k = 0; k < batch; ++k)
      if (k < valid) s.sum += std::exp(x[k] - shift);
    return s;
  }
  static __device__ Summary merge(const Summary& a, const Summary& b) {
    // Numbers, not references, are chosen: those would have to lie in memory.
    const bool swaps = a.largest < b.largest;
    const A largest = swaps ? b.largest : a.largest, other = swaps ? a.largest : b.largest;
    const A of_largest = swaps ? b.sum : a.sum, of_other = swaps ? a.sum : b.sum;
    // Equal ones are taken apart because two infinities have no difference.
    const A factor = largest == other ? A(1) : std::exp(other - largest);
    return {largest, of_largest + of_other * factor};
  }
  static __device__ A result(const Summary& s) { return s.largest + std::log(s.sum); }
};

// How often the largest element stands there.
template <class A>
struct Ties {
  struct Summary {
    A largest, count;
  };
  static __device__ Summary nothing() { return {least_number<A>(), 0}; }
  template <class Count, class Index>
  static __device__ Summary of(const A (&x)[batch], Count valid, const Index& index) {
    Summary s{Max<A>::of(x, valid, index), 0};
#pragma unroll
    for (int k = 0; k < batch; ++k)
      if (k < valid && x[k] == s.largest) s.count += 1;
    return s;
  }
  static __device__ Summary merge(const Summary& a, const Summary& b) {
    if (a.largest < b.largest) return b;
    return {a.largest, a.largest == b.largest ? a.count + b.count : a.count};
  }
  static __device__ A result(const Summary& s) { return s.count; }
};

// Mean and sum of (x - mean)^2 of a few numbers in A, in two passes; merged in double (core/moments.hpp has the
// formulas), because a mean in f32 could be off by more than the numbers spread.
template <class A>
struct Variance {
  struct Summary {
    double count, mean, squares;
  };
  static __device__ Summary nothing() { return {0, 0, 0}; }
  template <class Count, class Index>
  static __device__ Summary of(const A (&x)[batch], Count valid, const Index&) {
    const A n = static_cast<A>(static_cast<int>(valid));
    A sum = 0;
#pragma unroll
    for (int k = 1; k < batch; ++k)
      if (k < valid) sum += x[k] - x[0];
    const A center = x[0] + sum / n;
    A rest = 0, squares = 0;
#pragma unroll
    for (int k = 0; k < batch; ++k) {
      if (k >= valid) continue;
      const A d = x[k] - center;
      rest += d;
      squares += d * d;
    }
    const A mean = rest / n, about_mean = squares - rest * mean;
    return {static_cast<double>(n), static_cast<double>(center) + static_cast<double>(mean),
            static_cast<double>(about_mean < 0 ? A(0) : about_mean)};
  }
  // Chan, Golub & LeVeque 1979. The mean of nothing has no distance from another: d^2 may overflow.
  static __device__ Summary merge(const Summary& a, const Summary& b) {
    if (a.count == 0) return b;
    if (b.count == 0) return a;
    const double count = a.count + b.count, d = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + d * share, a.squares + b.squares + d * d * a.count * share};
  }
  static __device__ double result(const Summary& s) { return s.squares / s.count; }
};

template <class A>
struct AccurateMean : Variance<A> {
  static __device__ double result(const typename Variance<A>::Summary& s) { return s.mean; }
};

struct MaxGradient {
  template <class V>
  __device__ V operator()(V x, V largest, V share) const {
    if (largest != largest) return largest;
    return x == largest ? share : V(0);
  }
};

struct LogSumExpGradient {
  // Where y is -inf all of x is: e^(-inf - 0) is the 0 that e^(-inf + inf) is not.
  template <class V>
  __device__ V operator()(V x, V y, V dy) const {
    return std::exp(x - (y == least_number<V>() ? V(0) : y)) * dy;
  }
};

// The mean comes in two parts: rounded to one it could be off by more than x spreads.
struct VarianceGradient {
  template <class V>
  __device__ V operator()(V x, V center, V rest, V factor) const {
    return (x - center - rest) * factor;
  }
};

// dx = f(x, of_line...): numbers of a line, in the type that T is computed in.
template <class F, class... OfLine>
Tensor gradient_of_lines(const char* op, const F& f, const Tensor& x, const OfLine&... of_line) {
  const Tensor dx = Tensor::empty_like(x);
  with_any_float(op, x.dtype(), [&]<class T>() {
    using A = Computed<T>;
    map(op, dx.shape(), f, std::tuple(elements<T>(dx)),
        std::tuple(elements<T>(x), elements<A>(of_line.to(dtype_of<A>).broadcast_to(x.shape()))...));
  });
  return dx;
}

Dtype computed_dtype(const Tensor& x) { return x.dtype() == Dtype::f64 ? Dtype::f64 : Dtype::f32; }

Tensor divided(const Tensor& x, double by) { return div(x, Tensor::scalar(by, x.dtype())); }

int64_t count_of(const Tensor& x, const Shape& kept) { return x.size() / std::max<int64_t>(kept.size(), 1); }

}  // namespace

Tensor sum(const Tensor& x, const Shape& kept) {
  if (x.size() == 0) return Tensor::zeros(kept, x.dtype(), Device::cuda);
  return reduced<Sum>("sum", x, kept);
}
Tensor mean(const Tensor& x, const Shape& kept) {
  const int64_t count = count_of(x, kept);
  return divided(reduced_exactly<Sum>("mean", x, kept), static_cast<double>(count)).to(x.dtype());
}
Tensor max(const Tensor& x, const Shape& kept) { return reduced<Max>("max", x, kept); }
Tensor logsumexp(const Tensor& x, const Shape& kept) { return reduced<LogSumExp>("logsumexp", x, kept); }
Tensor variance(const Tensor& x, const Shape& kept) { return reduced<Variance>("variance", x, kept); }

Tensor max_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  const Tensor share = div(dy.to(computed_dtype(x)), reduced_exactly<Ties>("max_backward", x, y.shape()));
  return gradient_of_lines("max_backward", MaxGradient(), x, y, share);
}

Tensor logsumexp_backward(const Tensor& x, const Tensor& y, const Tensor& dy) {
  // A logarithm that was rounded to bf16 has lost the digits that e^(x - y) needs.
  const Tensor exact = x.dtype() == Dtype::bf16 ? reduced_exactly<LogSumExp>("logsumexp_backward", x, y.shape()) : y;
  return gradient_of_lines("logsumexp_backward", LogSumExpGradient(), x, exact, dy);
}

Tensor variance_backward(const Tensor& x, const Tensor& dy) {
  const Dtype dtype = computed_dtype(x);
  const Tensor factor = divided(dy.to(dtype), static_cast<double>(count_of(x, dy.shape())) / 2);
  const Tensor mean = reduced<AccurateMean, double>("variance_backward", x, dy.shape());
  const Tensor center = mean.to(dtype), rest = sub(mean, center.to(Dtype::f64)).to(dtype);
  return gradient_of_lines("variance_backward", VarianceGradient(), x, center, rest, factor);
}

}  // namespace phasor::cuda
