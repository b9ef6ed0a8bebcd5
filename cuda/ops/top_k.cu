// The k largest of a row: every thread knows the best of its numbers, the team takes the best of these k times, and
// only the thread it came from looks through its numbers again. And the index of the largest along an axis, a
// reduction.
#include "core/ops/top_k.hpp"

#include "cuda/reduction.cuh"
#include "cuda/rows.cuh"

namespace phasor::cuda {
namespace {

// A number of a row and where it stands, in as many bits as the number.
template <class A>
struct Candidate {
  using Index = std::conditional_t<sizeof(A) == 8, int64_t, int32_t>;
  A value;
  Index index;

  // Stands behind every number of a row.
  static __device__ Candidate nothing() {
    return {-static_cast<A>(INFINITY), static_cast<Index>(sizeof(A) == 8 ? INT64_MAX : INT32_MAX)};
  }
  static __device__ bool exceeds(A a, A b) { return a > b || (a != a && b == b); }  // NaN exceeds every number
  __device__ bool stands_before(const Candidate& other) const {
    return exceeds(value, other.value) || (!exceeds(other.value, value) && index < other.index);
  }
};

struct Better {
  template <class A>
  __device__ Candidate<A> operator()(const Candidate<A>& a, const Candidate<A>& b) const {
    const bool is_b = b.stands_before(a);
    return {is_b ? b.value : a.value, is_b ? b.index : a.index};
  }
};

template <class Plan, class T>
__global__ void __launch_bounds__(Plan::threads)
    top_k_kernel(Places<3> rows, int width, int k, T* values, int64_t* indices, const T* x) {
  using A = Computed<T>;
  const int64_t number = Plan::row();
  if (number >= rows.size) return;
  int64_t at[3];
  rows.at(number, at);
  const T* const row = x + at[2];
  const int thread = Plan::thread();
  const auto candidate = [&](int i) {
    return Candidate<A>{static_cast<A>(row[i]), static_cast<typename Candidate<A>::Index>(i)};
  };
  Candidate<A> own = Candidate<A>::nothing();
#pragma unroll 4
  for (int i = thread; i < width; i += Plan::team) own = Better()(own, candidate(i));
  for (int place = 0; place < k; ++place) {
    const Candidate<A> best = Plan::reduced(own, Better());
    const int index = static_cast<int>(best.index);
    if (index % Plan::team != thread) continue;
    values[at[0] + place] = row[index];
    indices[at[1] + place] = index;
    own = Candidate<A>::nothing();
#pragma unroll 4
    for (int i = thread; i < width; i += Plan::team) {
      const Candidate<A> next = candidate(i);
      if (best.stands_before(next)) own = Better()(own, next);
    }
  }
}

template <class A>
struct ArgMax {
  using Summary = Candidate<A>;
  static __device__ Summary nothing() { return Summary::nothing(); }
  template <class Count, class Index>
  static __device__ Summary of(const A (&x)[batch], Count valid, const Index& index) {
    Summary best = nothing();
#pragma unroll
    for (int k = 0; k < batch; ++k)
      if (k < valid) best = merge(best, {x[k], static_cast<typename Summary::Index>(index(k))});
    return best;
  }
  static __device__ Summary merge(const Summary& a, const Summary& b) { return Better()(a, b); }
  static __device__ int64_t result(const Summary& best) { return best.index; }
};

}  // namespace

TopK top_k(const Tensor& x, int64_t k) {
  const Tensor from = dense_rows(x);
  const Shape shape = x.shape().with(-1, k);
  const TopK top{Tensor::empty(shape, x.dtype(), Device::cuda), Tensor::empty(shape, Dtype::i64, Device::cuda)};
  if (shape.size() == 0) return top;
  const int width = checked_width("top_k", x);
  with_any_float("top_k", x.dtype(), [&]<class T>() {
    const auto rows = places_of_rows(top.values, top.indices, from);
    const auto run = [&]<class Plan>() {
      launch("top_k", top_k_kernel<Plan, T>, Grid{pieces(rows.size, Plan::teams)}, row_block<Plan>(), 0, rows, width,
             static_cast<int>(k), top.values.data<T>(), top.indices.data<int64_t>(),
             static_cast<const T*>(from.data<T>()));
    };
    if (width <= 8 * warp)
      run.template operator()<RowPlan<1, 0, warp>>();
    else
      run.template operator()<RowPlan<1, 0, 512>>();
  });
  return top;
}

Tensor argmax(const Tensor& x, int axis) {
  checked_width("argmax", x.transpose(axis, -1));
  return reduced<ArgMax, int64_t>("argmax", x, x.shape().with(axis, 1)).squeeze(axis);
}

}  // namespace phasor::cuda
