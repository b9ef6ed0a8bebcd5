// y = f(a, b, ...) element by element, for any number of operands, one or two results, and any strides: one kernel
// under all element-wise ops.
//
//   map("where", y.shape(), Choose(), std::tuple(elements<T>(y)),
//       std::tuple(elements<bool>(condition), elements<T>(a), elements<T>(b)));
//
// f is called with numbers (f32 for bf16) and returns one, or a std::pair for two results.
//
// Where every tensor's rows lie without gaps, or are one number repeated, and their bytes allow it, a thread loads and
// stores 16 bytes of each at a time: dense tensors, slices, rows that are broadcast over rows. Everything else goes
// element by element, in the memory order of the first result.
#pragma once

#include <bit>
#include <tuple>

#include "core/tensor.hpp"
#include "cuda/strided.cuh"

namespace phasor::cuda {
namespace {

constexpr int map_threads = 256;

// What arithmetic on T is done in.
template <class T>
using Computed = std::conditional_t<std::is_same_v<T, bf16>, float, T>;

// The unsigned integer of as many bytes as T.
template <class T>
using Bits = std::conditional_t<
    sizeof(T) == 8, uint64_t,
    std::conditional_t<sizeof(T) == 4, uint32_t, std::conditional_t<sizeof(T) == 2, uint16_t, uint8_t>>>;

template <class T, int count>
struct alignas(sizeof(T) * count) Pack {
  T values[count];
};
// A pack moves with as few instructions as it can only if the compiler sees words.
template <size_t count>
struct LargeWord {
  uint4 words[count];
};
template <size_t bytes>
using Word = std::conditional_t<
    bytes >= 16, std::conditional_t<bytes == 16, uint4, LargeWord<bytes / 16>>,
    std::conditional_t<bytes == 8, uint2,
                       std::conditional_t<bytes == 4, uint32_t, std::conditional_t<bytes == 2, uint16_t, uint8_t>>>>;

template <int count, class T>
__device__ Pack<T, count> load_pack(const T* from) {
  if constexpr (count == 1)
    return {{*from}};
  else
    return std::bit_cast<Pack<T, count>>(*reinterpret_cast<const Word<sizeof(T) * count>*>(from));
}
template <int count, class T>
__device__ void store_pack(T* to, const Pack<T, count>& pack) {
  if constexpr (count == 1)
    *to = pack.values[0];
  else
    *reinterpret_cast<Word<sizeof(T) * count>*>(to) = std::bit_cast<Word<sizeof(T) * count>>(pack);
}

// The f of ops that move elements.
struct Same {
  template <class V>
  __device__ V operator()(V x) const {
    return x;
  }
};

// Elements of a tensor, or one number where `first` is nullptr.
template <class T>
struct Elements {
  T* first = nullptr;
  T number = {};
};

// One value of each type; unlike a std::tuple it can be a kernel's parameter.
template <class... T>
struct Tuple {
  static constexpr int count = 0;
};
template <class T>
struct Tuple<T> {
  static constexpr int count = 1;
  T head;
};
template <class T, class... Rest>
struct Tuple<T, Rest...> {
  static constexpr int count = 1 + sizeof...(Rest);
  T head;
  Tuple<Rest...> tail;
};
template <size_t i, class T, class... Rest>
__host__ __device__ auto& get(Tuple<T, Rest...>& tuple) {
  if constexpr (i == 0)
    return tuple.head;
  else
    return get<i - 1>(tuple.tail);
}
template <size_t i, class T, class... Rest>
__host__ __device__ const auto& get(const Tuple<T, Rest...>& tuple) {
  if constexpr (i == 0)
    return tuple.head;
  else
    return get<i - 1>(tuple.tail);
}

// Packs of a thread: enough bytes on their way to hide the memory's latency, few enough registers to keep all threads.
template <int count, int operand_count>
constexpr int packs_of_thread = operand_count >= 3 ? (count == 1 ? 2 : 1)
                                : count == 1       ? 4
                                                   : 2;

template <int count, class X>
__device__ void load_operand(Pack<X, count>& pack, const Elements<X>& x, int32_t at, bool is_repeated) {
  if (x.first && !is_repeated) {
    pack = load_pack<count>(x.first + at);
    return;
  }
  const X number = x.first ? x.first[at] : x.number;
#pragma unroll
  for (int k = 0; k < count; ++k) pack.values[k] = number;
}

template <class... Y, int count, class Value>
__device__ void set_results(Tuple<Pack<Y, count>...>& to, int k, const Value& value) {
  if constexpr (sizeof...(Y) == 1) {
    get<0>(to).values[k] = (static_cast<Y>(value), ...);
  } else {
    using First = decltype(get<0>(to).values[0]);
    using Second = decltype(get<1>(to).values[0]);
    get<0>(to).values[k] = static_cast<std::remove_cvref_t<First>>(value.first);
    get<1>(to).values[k] = static_cast<std::remove_cvref_t<Second>>(value.second);
  }
}

// Places: of the results, then of the operands. Bit n of `repeated`: operand n has one number for all of a pack.
template <int count, int all, class F, class... Y, class... X, size_t... r, size_t... n>
__device__ void map_packs(const Places<all>& places, unsigned repeated, const F& f, const Tuple<Elements<Y>...>& y,
                          const Tuple<Elements<X>...>& x, std::index_sequence<r...>, std::index_sequence<n...>) {
  constexpr int results = sizeof...(Y), packs = packs_of_thread<count, sizeof...(X)>;
  const uint32_t first = blockIdx.x * (map_threads * packs) + threadIdx.x, size = static_cast<uint32_t>(places.size);
  int32_t at[packs][all];
  Tuple<Pack<X, count>...> from[packs];
#pragma unroll
  for (int p = 0; p < packs; ++p) {
    const uint32_t i = first + p * map_threads;
    if (i >= size) continue;
    places.at(i, at[p]);
    (load_operand<count>(get<n>(from[p]), get<n>(x), at[p][results + n], repeated >> n & 1), ...);
  }
#pragma unroll
  for (int p = 0; p < packs; ++p) {
    if (first + p * map_threads >= size) continue;
    Tuple<Pack<Y, count>...> to;
#pragma unroll
    for (int k = 0; k < count; ++k) set_results<Y...>(to, k, f(static_cast<Computed<X>>(get<n>(from[p]).values[k])...));
    (store_pack<count>(get<r>(y).first + at[p][r], get<r>(to)), ...);
  }
}

template <int count, int all, class F, class... Y, class... X>
__device__ void map_packs(const Places<all>& places, unsigned repeated, const F& f, const Tuple<Elements<Y>...>& y,
                          const Tuple<Elements<X>...>& x) {
  map_packs<count>(places, repeated, f, y, x, std::index_sequence_for<Y...>(), std::index_sequence_for<X...>());
}

template <int count, int all, class F, class Y, class X>
__global__ void __launch_bounds__(map_threads) map_kernel(Places<all> places, unsigned repeated, F f, Y y, X x) {
  map_packs<count>(places, repeated, f, y, x);
}

// A tensor's elements and their strides, on the host.
template <class T>
struct Strided {
  Elements<T> elements;
  Strides strides = {};
};

template <class T>
Strided<T> elements(const Tensor& x) {
  if (x.is_on(Device::cuda)) return {{x.data<T>()}, x.strides()};
  return {{nullptr, *x.data<T>()}};  // of the CPU only numbers come here
}

// The same as integers, for ops that move elements as they are.
template <class T>
Strided<Bits<T>> bits(const Tensor& x) {
  if (x.is_on(Device::cuda)) return {{reinterpret_cast<Bits<T>*>(x.data<T>())}, x.strides()};
  return {{nullptr, std::bit_cast<Bits<T>>(*x.data<T>())}};
}

// The places of elements, of whole packs if that can be: every row a number of packs long, each tensor's row without
// gaps or one number repeated, every pack at an address that is a multiple of its size. False if not.
template <int all>
bool pack(Places<all>& places, unsigned& repeated, int count, int result_count,
          const std::array<uintptr_t, all>& addresses, const std::array<size_t, all>& bytes) {
  const int last = places.rank - 1;
  if (places.extents[last] == 0 || places.extents[last] % count != 0) return false;
  repeated = 0;
  for (int n = 0; n < all; ++n) {
    const int64_t step = places.steps[last][n];
    if (step == 0 && n >= result_count) {
      repeated |= 1u << (n - result_count);
      continue;
    }
    bool whole = step == 1 && addresses[n] % (count * bytes[n]) == 0;
    for (int axis = 0; axis < last; ++axis) whole = whole && places.steps[axis][n] % count == 0;
    if (!whole) return false;
  }
  places.extents[last] /= count;
  for (int n = 0; n < all; ++n) places.steps[last][n] *= count;
  places.prepare();
  return true;
}

template <int count, int all, class F, class Y, class X>
void launch_map(const char* op, const Places<all>& places, unsigned repeated, const F& f, const Y& y, const X& x) {
  constexpr int packs = packs_of_thread<count, X::count>;
  launch(op, map_kernel<count, all, F, Y, X>, Grid{pieces(places.size, map_threads * packs)}, map_threads, 0, places,
         repeated, f, y, x);
}

template <class T>
void advance(Elements<T>& x, int64_t elements) {
  if (x.first) x.first += elements;
}

template <int all, class F, class... Y, class... X, size_t... r, size_t... n>
void map_places(const char* op, const Places<all>& places, const F& f, Tuple<Elements<Y>...> y, Tuple<Elements<X>...> x,
                std::index_sequence<r...> of_y, std::index_sequence<n...> of_x) {
  constexpr int result_count = sizeof...(Y);
  constexpr int count = static_cast<int>(16 / std::max({sizeof(Y)..., sizeof(X)...}));
  const auto begin_at = [&](const int64_t(&from)[all]) {
    (advance(get<r>(y), from[r]), ...);
    (advance(get<n>(x), from[result_count + n]), ...);
  };
  if (places.size == 0) return;
  if (!places.is_small) {
    const auto halves = places.halves();
    map_places(op, halves.first, f, y, x, of_y, of_x);
    begin_at(halves.from);
    return map_places(op, halves.second, f, y, x, of_y, of_x);
  }
  if constexpr (count > 1) {
    // What is left of one long row goes element by element.
    constexpr int64_t long_row = 4096;
    const int64_t row = places.extents[0], rest = places.rank == 1 && row >= long_row ? row % count : 0;
    Places<all> packs = places;
    packs.extents[0] -= rest;
    unsigned repeated = 0;
    if (pack<all>(packs, repeated, count, result_count,
                  {reinterpret_cast<uintptr_t>(get<r>(y).first)..., reinterpret_cast<uintptr_t>(get<n>(x).first)...},
                  {sizeof(Y)..., sizeof(X)...})) {
      launch_map<count>(op, packs, repeated, f, y, x);
      if (rest == 0) return;
      Places<all> last = places;
      int64_t from[all];
      for (int k = 0; k < all; ++k) from[k] = (row - rest) * places.steps[0][k];
      begin_at(from);
      last.extents[0] = rest;
      last.prepare();
      return launch_map<1>(op, last, 0, f, y, x);
    }
  }
  launch_map<1>(op, places, 0, f, y, x);
}

template <class F, class... Y, class... X>
void map(const char* op, const Shape& shape, const F& f, const std::tuple<Strided<Y>...>& results,
         const std::tuple<Strided<X>...>& operands) {
  constexpr int all = sizeof...(Y) + sizeof...(X);
  const auto strides = std::apply([](const auto&... each) { return std::array<Strides, all>{each.strides...}; },
                                  std::tuple_cat(results, operands));
  const auto joined = [](const auto&... each) {
    return Tuple<std::remove_cvref_t<decltype(each.elements)>...>{each.elements...};
  };
  map_places(op, places_of<all>(shape, strides), f, std::apply(joined, results), std::apply(joined, operands),
             std::index_sequence_for<Y...>(), std::index_sequence_for<X...>());
}

}  // namespace
}  // namespace phasor::cuda
