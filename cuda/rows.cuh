// Kernels that take a row at a time: neighbouring numbers along the last axis, of several tensors that agree in the
// other axes.
//
// A team of threads has a row: a warp, or a block where rows are long. Each thread holds its part of the row in
// registers, so that all passes over the row read it from memory once; of rows that are too long for that, each pass
// reads it again.
#pragma once

#include "core/rows.hpp"
#include "cuda/elementwise.cuh"
#include "cuda/reduce.cuh"

namespace phasor::cuda {
namespace {

// How a row is shared: `count` neighbours in a pack, `packs` of these in each of `team` threads (0: as many as there
// are, read again in each pass).
template <int count_, int packs_, int team_>
struct RowPlan {
  static constexpr int count = count_, packs = packs_, team = team_;
  // A team that is a warp shares its block with others.
  static constexpr int teams = team == warp ? 8 : 1, threads = team * teams;

  static __device__ int thread() { return static_cast<int>(threadIdx.x); }  // of the team
  static __device__ int64_t row() { return static_cast<int64_t>(blockIdx.x) * teams + threadIdx.y; }

  template <class S, class Merge>
  static __device__ S reduced(const S& value, const Merge& merge) {
    return block_reduced<team>(value, thread(), merge);
  }
  template <class A>
  static __device__ A sum(A value) {
    return reduced(value, Add());
  }
};

// A row of operands X: each(f) calls f(i, x...) for the elements i of this thread, map(y, f) sets y[i] = f(i, x...).
template <class Plan, class... X>
class Row {
 public:
  static constexpr int count = Plan::count, packs = Plan::packs;

  __device__ Row(int width, const X*... from) : width_(width), from_{from...} {
    if constexpr (packs > 0) {
#pragma unroll
      for (int p = 0; p < packs; ++p)
        if (at(p) < width_) kept_[p] = load(at(p));
    }
  }

  // f(p, i, x...) with arrays of the neighbours i .. i + count - 1. They are number p of the packs of this thread; 0
  // where packs are not kept.
  template <class F>
  __device__ void each_numbered_pack(const F& f) const {
    if constexpr (packs > 0) {
#pragma unroll
      for (int p = 0; p < packs; ++p)
        if (at(p) < width_)
          with(kept_[p], std::index_sequence_for<X...>(), [&](const auto&... x) { f(p, at(p), x...); });
    } else {
#pragma unroll 4
      for (int i = at(0); i < width_; i += Plan::team * count)
        with(load(i), std::index_sequence_for<X...>(), [&](const auto&... x) { f(0, i, x...); });
    }
  }
  template <class F>
  __device__ void each_pack(const F& f) const {
    each_numbered_pack([&](int, int i, const auto&... x) { f(i, x...); });
  }
  template <class F>
  __device__ void each(const F& f) const {
    each_pack([&](int i, const auto&... x) {
#pragma unroll
      for (int k = 0; k < count; ++k) f(i + k, x[k]...);
    });
  }
  template <class Y, class F>
  __device__ void map(Y* y, const F& f) const {
    each_pack([&](int i, const auto&... x) {
      Pack<Y, count> to;
#pragma unroll
      for (int k = 0; k < count; ++k) to.values[k] = static_cast<Y>(f(i + k, x[k]...));
      store_pack<count>(y + i, to);
    });
  }

 private:
  using Packs = Tuple<Pack<X, count>...>;

  static __device__ int at(int pack) { return (pack * Plan::team + Plan::thread()) * count; }
  __device__ Packs load(int i) const { return load(i, std::index_sequence_for<X...>()); }
  template <size_t... n>
  __device__ Packs load(int i, std::index_sequence<n...>) const {
    Packs packs_of_all;
    ((get<n>(packs_of_all) = load_pack<count>(get<n>(from_) + i)), ...);
    return packs_of_all;
  }
  template <class T>
  struct Numbers {
    Computed<T> values[count];
    __device__ explicit Numbers(const Pack<T, count>& pack) {
#pragma unroll
      for (int k = 0; k < count; ++k) values[k] = static_cast<Computed<T>>(pack.values[k]);
    }
  };
  template <size_t... n, class F>
  static __device__ void with(const Packs& packs_of_all, std::index_sequence<n...>, const F& f) {
    f(Numbers<X>(get<n>(packs_of_all)).values...);
  }

  int width_;
  Tuple<const X*...> from_;
  Packs kept_[packs > 0 ? packs : 1];
};

// The largest element of a row and the sum of e^(x - largest), in every thread of the team.
template <class Plan, class A, class T>
__device__ ScaledSum<A> scaled_sum(const Row<Plan, T>& row) {
  ScaledSum<A> own = ScaledSum<A>::nothing();
  if constexpr (Plan::packs > 0) {
    row.each([&](int, A x) { own.largest = std::fmax(own.largest, x); });
    row.each([&](int, A x) { own.sum += ScaledSum<A>::scaled(x, own.largest); });
  } else {
    row.each_pack([&](int, const A(&x)[Plan::count]) { own.add(x); });
  }
  return Plan::reduced(own, MergeScaledSums());
}

// The plan for rows of `width` elements of T; f is a template over it. `whole_packs`: rows consist of packs of 16 bytes
// at addresses that suit them.
template <class T, class F>
void with_row_plan(int64_t width, bool whole_packs, const F& f) {
  constexpr int pack = 16 / sizeof(T);
  if constexpr (sizeof(T) == 8) {  // f64 is for tests: few kernels
    if (width <= 4 * warp) return f.template operator()<RowPlan<1, 4, warp>>();
    return f.template operator()<RowPlan<1, 0, 512>>();
  } else if (whole_packs) {
    if (width <= warp * pack) return f.template operator()<RowPlan<pack, 1, warp>>();
    if (width <= 4 * warp * pack) return f.template operator()<RowPlan<pack, 4, warp>>();
    if (width <= 4 * 128 * pack) return f.template operator()<RowPlan<pack, 4, 128>>();
    if (width <= 4 * 512 * pack) return f.template operator()<RowPlan<pack, 4, 512>>();
    return f.template operator()<RowPlan<pack, 0, 512>>();
  } else {
    if (width <= 4 * warp) return f.template operator()<RowPlan<1, 4, warp>>();
    if (width <= 16 * warp) return f.template operator()<RowPlan<1, 16, warp>>();
    if (width <= 16 * 128) return f.template operator()<RowPlan<1, 16, 128>>();
    return f.template operator()<RowPlan<1, 0, 512>>();
  }
}

// Whether rows along the last axis consist of packs of 16 bytes, all at addresses that are multiples of 16.
template <class T>
bool has_whole_packs(const Tensor& x) {
  constexpr int64_t pack = 16 / sizeof(T);
  if (x.extent(-1) % pack != 0 || reinterpret_cast<uintptr_t>(x.data<T>()) % 16 != 0) return false;
  for (int axis = 0; axis < x.rank() - 1; ++axis)
    if (x.extent(axis) > 1 && x.stride(axis) % pack != 0) return false;
  return true;
}

// Where the rows of tensors of one shape begin. The last axis has no gaps in any of them.
template <class... Tensors>
auto places_of_rows(const Tensor& first, const Tensors&... others) {
  return places_of<1 + sizeof...(Tensors)>(first.shape().without(-1), {first.strides(), others.strides()...});
}

inline int checked_width(const char* op, const Tensor& x) {
  require<ResourceError>(x.extent(-1) < int64_t{1} << 30, op, "rows of ", x.extent(-1),
                         " elements are too long for the GPU");
  return static_cast<int>(x.extent(-1));
}

template <class Plan>
Block row_block() {
  return Block(Plan::team, Plan::teams);
}

}  // namespace
}  // namespace phasor::cuda
