// Turning components by given angles, and the gradients of the tables: the twin of core/ops/rotary.cpp.
//
// A thread turns a pack of components, 16 bytes of each of their two channels, in several heads where these share a row
// of the tables: that is then read once for all of them. The inverse turn is the same kernel with s -> -s.
#include "core/ops/rotary.hpp"

#include "core/dispatch.hpp"
#include "cuda/elementwise.cuh"
#include "cuda/ops/rotary.cuh"
#include "cuda/partial_sums.cuh"

namespace phasor::cuda {
namespace {

constexpr int threads = 256;

// Steps along batch, heads and positions; 0 where there is nothing to step over.
struct Steps {
  int64_t values[3] = {};

  Steps() = default;
  explicit Steps(const Tensor& x) {
    for (int axis = 0; axis < 3; ++axis) values[axis] = x.extent(axis) == 1 ? 0 : x.stride(axis);
  }
  bool are_multiples_of(int count) const {
    return values[0] % count == 0 && values[1] % count == 0 && values[2] % count == 0;
  }
};

// Whether packs of `count` elements lie at multiples of their size, or of 16 bytes if they are larger.
bool takes_packs(const Tensor& x, int count) {
  const size_t bytes = std::min<size_t>(16, static_cast<size_t>(count) * bytes_per_element(x.dtype()));
  uintptr_t address = 0;
  with_any_float("rotary", x.dtype(), [&]<class T>() { address = reinterpret_cast<uintptr_t>(x.data<T>()); });
  return address % bytes == 0 && Steps(x).are_multiples_of(count);
}

template <class T>
constexpr int pack_size = 16 / static_cast<int>(sizeof(T));

// f.template operator()<layout>()
template <class F>
void with_layout(RotaryLayout layout, F f) {
  if (layout == RotaryLayout::interleaved)
    f.template operator()<RotaryLayout::interleaved>();
  else
    f.template operator()<RotaryLayout::half_split>();
}

// f.template operator()<T, C>() with the types of x and of the tables, which may be f32 beside bf16.
template <class F>
void with_types(Dtype x, Dtype table, F f) {
  with_any_float("rotary", x, [&]<class T>() {
    if (x == Dtype::bf16 && table == Dtype::f32)
      f.template operator()<T, Computed<T>>();
    else
      f.template operator()<T, T>();
  });
}

// The two channels of `count` components from p on, as numbers.
template <class A, int count>
struct Pairs {
  A first[count], second[count];
};

template <RotaryLayout layout, int count, class T>
struct PackedPairs {
  Pack<T, count> low, high;  // interleaved: as they lie; half_split: first and second channels

  __device__ void load(const T* x, int components, int p) {
    const bool is_interleaved = layout == RotaryLayout::interleaved;
    low = load_pack<count>(x + (is_interleaved ? 2 * p : p));
    high = load_pack<count>(x + (is_interleaved ? 2 * p + count : p + components));
  }
  __device__ void store(T* y, int components, int p) const {
    const bool is_interleaved = layout == RotaryLayout::interleaved;
    store_pack(y + (is_interleaved ? 2 * p : p), low);
    store_pack(y + (is_interleaved ? 2 * p + count : p + components), high);
  }
  __device__ T& channel(int i) { return i < count ? low.values[i] : high.values[i - count]; }
  __device__ Pairs<Computed<T>, count> numbers() {
    Pairs<Computed<T>, count> x;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      x.first[i] = static_cast<Computed<T>>(channel(layout == RotaryLayout::interleaved ? 2 * i : i));
      x.second[i] = static_cast<Computed<T>>(channel(layout == RotaryLayout::interleaved ? 2 * i + 1 : count + i));
    }
    return x;
  }
  __device__ void set(const Pairs<Computed<T>, count>& x) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      channel(layout == RotaryLayout::interleaved ? 2 * i : i) = static_cast<T>(x.first[i]);
      channel(layout == RotaryLayout::interleaved ? 2 * i + 1 : count + i) = static_cast<T>(x.second[i]);
    }
  }
};

template <class A, int count, class C>
__device__ void load_table(A (&to)[count], const C* table) {
  constexpr int piece = count < pack_size<C> ? count : pack_size<C>;
#pragma unroll
  for (int start = 0; start < count; start += piece) {
    const Pack<C, piece> pack = load_pack<piece>(table + start);
#pragma unroll
    for (int i = 0; i < piece; ++i) to[start + i] = static_cast<A>(pack.values[i]);
  }
}

struct Turning {
  // batch, heads in groups and positions in the order in which y lies in memory, then packs of a row; of y, x, cos,
  // sin, the number of the pack and the first head.
  Places<6> places;
  int heads, components;
  int turning_packs;  // those behind them pass through
  int64_t y_head_step, x_head_step;
  int sign;  // of the sines
};

// Heads of one thread: `group`, all of one row of the tables.
template <RotaryLayout layout, int count, int group, class T, class C>
__global__ void __launch_bounds__(threads) turn_kernel(Turning plan, T* y, const T* x, const C* cos, const C* sin) {
  using A = Computed<T>;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= plan.places.size) return;
  int64_t at[6];
  plan.places.at(i, at);
  T* const to = y + at[0];
  const T* const from = x + at[1];
  const int pack = static_cast<int>(at[4]), first_head = static_cast<int>(at[5]);
  if (pack >= plan.turning_packs) {
    const int channel = 2 * plan.components + (pack - plan.turning_packs) * count;
#pragma unroll
    for (int h = 0; h < group; ++h)
      if (first_head + h < plan.heads)
        store_pack(to + h * plan.y_head_step + channel, load_pack<count>(from + h * plan.x_head_step + channel));
    return;
  }
  const int p = pack * count;
  A c[count], s[count];
  load_table(c, cos + at[2] + p);
  load_table(s, sin + at[3] + p);
  PackedPairs<layout, count, T> packs[group];
#pragma unroll
  for (int h = 0; h < group; ++h)
    if (first_head + h < plan.heads) packs[h].load(from + h * plan.x_head_step, plan.components, p);
#pragma unroll
  for (int k = 0; k < count; ++k) s[k] *= static_cast<A>(plan.sign);
#pragma unroll
  for (int h = 0; h < group; ++h) {
    if (first_head + h >= plan.heads) continue;
    Pairs<A, count> numbers = packs[h].numbers();
#pragma unroll
    for (int k = 0; k < count; ++k) turn_component(numbers.first[k], numbers.second[k], c[k], s[k]);
    packs[h].set(numbers);
    packs[h].store(to + h * plan.y_head_step, plan.components, p);
  }
}

template <RotaryLayout layout, int count, int group, class T, class C>
void launch_turn(const Tensor& y, const Tensor& x, const Tensor& cos, const Tensor& sin, int sign) {
  const int64_t components = cos.extent(-1), heads = x.extent(1);
  const Steps steps[4] = {Steps(y), Steps(x), Steps(cos), Steps(sin)};
  Turning plan;
  plan.heads = static_cast<int>(heads);
  plan.components = static_cast<int>(components);
  plan.turning_packs = static_cast<int>(pieces(components, count));
  plan.y_head_step = steps[0].values[1];
  plan.x_head_step = steps[1].values[1];
  plan.sign = sign;
  Places<6>& places = plan.places;
  places.rank = 4;
  const int inner = steps[0].values[1] < steps[0].values[2] ? 1 : 2;
  const int axes[3] = {0, 3 - inner, inner};
  for (int place = 0; place < 3; ++place) {
    const int axis = axes[place], each = axis == 1 ? group : 1;
    places.extents[place] = pieces(x.extent(axis), each);
    for (int n = 0; n < 4; ++n) places.steps[place][n] = steps[n].values[axis] * each;
    places.steps[place][5] = axis == 1 ? group : 0;
  }
  places.extents[3] = plan.turning_packs + pieces(x.extent(3) - 2 * components, count);
  places.steps[3][4] = 1;
  places.prepare();
  launch("rotary", turn_kernel<layout, count, group, T, C>, Grid{pieces(places.size, threads)}, threads, 0, plan,
         y.data<T>(), static_cast<const T*>(x.data<T>()), static_cast<const C*>(cos.data<C>()),
         static_cast<const C*>(sin.data<C>()));
}

void turn(const Tensor& y, const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryLayout layout, int sign) {
  const int64_t components = cos.extent(-1), head_dim = x.extent(-1);
  with_types(x.dtype(), cos.dtype(), [&]<class T, class C>() {
    constexpr int count = pack_size<T>;
    const bool packed = components % count == 0 && head_dim % count == 0 && takes_packs(y, count) &&
                        takes_packs(x, count) && takes_packs(cos, count) && takes_packs(sin, count);
    // Heads are taken together where threads enough are left to hide the memory's latency.
    const bool grouped = packed && Steps(cos).values[1] == 0 && Steps(sin).values[1] == 0 && x.extent(1) > 1 &&
                         x.size() / count >= int64_t{4096} * processors();
    with_layout(layout, [&]<RotaryLayout known>() {
      if (grouped)
        launch_turn<known, count, 4, T, C>(y, x, cos, sin, sign);
      else if (packed)
        launch_turn<known, count, 1, T, C>(y, x, cos, sin, sign);
      else
        launch_turn<known, 1, 1, T, C>(y, x, cos, sin, sign);
    });
  });
}

// The rows of x that one row of the tables turned, and a part of them for each of `parts`.
struct Uses {
  // parts, the table's batch, heads and positions, packs of a row; of x, dy, the sums and the number of the part and
  // the pack.
  Places<5> places;
  int components;
  int parts;
  int64_t count;            // rows of x for one of the table
  int64_t shared[3];        // their batches, heads, positions
  Steps x_steps, dy_steps;  // along these
};

// Goes through the uses in row-major order.
struct Walk {
  int64_t index[3], x = 0, dy = 0;

  __device__ Walk(const Uses& uses, int64_t use) {
    index[0] = use / (uses.shared[1] * uses.shared[2]);
    index[1] = use / uses.shared[2] % uses.shared[1];
    index[2] = use % uses.shared[2];
    for (int axis = 0; axis < 3; ++axis) {
      x += index[axis] * uses.x_steps.values[axis];
      dy += index[axis] * uses.dy_steps.values[axis];
    }
  }
  __device__ void next(const Uses& uses) {
#pragma unroll
    for (int axis = 2; axis >= 0; --axis) {
      ++index[axis];
      x += uses.x_steps.values[axis];
      dy += uses.dy_steps.values[axis];
      if (index[axis] < uses.shared[axis]) return;
      x -= index[axis] * uses.x_steps.values[axis];
      dy -= index[axis] * uses.dy_steps.values[axis];
      index[axis] = 0;
    }
  }
};

// dc = sum of dy0 x0 + dy1 x1, ds = sum of dy1 x0 - dy0 x1, over a part of the uses in their order.
template <RotaryLayout layout, int count, class T, class C>
__global__ void __launch_bounds__(threads) table_kernel(Uses uses, C* dcos, C* dsin, const T* x, const T* dy) {
  using A = Computed<T>;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= uses.places.size) return;
  int64_t at[5];
  uses.places.at(i, at);
  const int p = static_cast<int>(at[4]) * count;
  const T *const x_row = x + at[0], *const dy_row = dy + at[1];
  const int64_t begin = uses.count * at[3] / uses.parts, end = uses.count * (at[3] + 1) / uses.parts;
  A dc[count], ds[count];
#pragma unroll
  for (int k = 0; k < count; ++k) dc[k] = ds[k] = 0;
  Walk walk(uses, begin);
  // That many rows are on their way at once; the last ones come one by one.
  const auto add_rows = [&]<int together>() {
    PackedPairs<layout, count, T> from[together], gradient[together];
#pragma unroll
    for (int j = 0; j < together; ++j) {
      from[j].load(x_row + walk.x, uses.components, p);
      gradient[j].load(dy_row + walk.dy, uses.components, p);
      walk.next(uses);
    }
#pragma unroll
    for (int j = 0; j < together; ++j) {
      const Pairs<A, count> value = from[j].numbers(), d = gradient[j].numbers();
#pragma unroll
      for (int k = 0; k < count; ++k) {
        dc[k] += d.first[k] * value.first[k] + d.second[k] * value.second[k];
        ds[k] += d.second[k] * value.first[k] - d.first[k] * value.second[k];
      }
    }
  };
  int64_t use = begin;
  for (; use + 4 <= end; use += 4) add_rows.template operator()<4>();
  for (; use < end; ++use) add_rows.template operator()<1>();
#pragma unroll
  for (int k = 0; k < count; ++k) {
    dcos[at[2] + p + k] = static_cast<C>(dc[k]);
    dsin[at[2] + p + k] = static_cast<C>(ds[k]);
  }
}

// Parts enough for the threads of the GPU, of at least 4 rows; their sums are added by one thread.
int parts_for(int64_t uses, int64_t sums) {
  const int64_t wanted = pieces(int64_t{1024} * processors(), std::max<int64_t>(sums, 1));
  return static_cast<int>(std::clamp<int64_t>(std::min(wanted, uses / 4), 1, 256));
}

template <RotaryLayout layout, int count, class T, class C>
void launch_tables(Uses& uses, const std::array<int64_t, 3>& own, const RotaryTableGradients& gradients,
                   const Tensor& x, const Tensor& dy) {
  using A = Computed<T>;
  const int64_t size = gradients.dcos.size(), packs = pieces(uses.components, count);
  uses.parts = parts_for(uses.count, own[0] * own[1] * own[2] * packs);
  Places<5>& places = uses.places;
  places = {};
  places.rank = 5;
  places.extents[0] = uses.parts;
  places.steps[0][2] = size;
  places.steps[0][3] = 1;
  int64_t row = uses.components;
  for (int axis = 2; axis >= 0; --axis) {
    places.extents[axis + 1] = own[axis];
    places.steps[axis + 1][0] = own[axis] == 1 ? 0 : x.stride(axis);
    places.steps[axis + 1][1] = own[axis] == 1 ? 0 : dy.stride(axis);
    places.steps[axis + 1][2] = row;
    row *= own[axis];
  }
  places.extents[4] = packs;
  places.steps[4][4] = 1;
  places.prepare();
  const auto run = [&]<class Sum>(Sum* dcos, Sum* dsin) {
    launch("rotary_table_backward", table_kernel<layout, count, T, Sum>, Grid{pieces(places.size, threads)}, threads, 0,
           uses, dcos, dsin, static_cast<const T*>(x.data<T>()), static_cast<const T*>(dy.data<T>()));
  };
  if (uses.parts == 1) return run(gradients.dcos.data<C>(), gradients.dsin.data<C>());
  const Tensor sums = Tensor::empty({2, uses.parts, size}, dtype_of<A>, Device::cuda);
  const Tensor halves[2] = {sums.select(0, 0), sums.select(0, 1)};
  run(halves[0].data<A>(), halves[1].data<A>());
  add_parts<C, A>("rotary_table_backward", gradients.dcos, halves[0]);
  add_parts<C, A>("rotary_table_backward", gradients.dsin, halves[1]);
}

}  // namespace

void rotary(const Tensor& y, const Tensor& x, const Tensor& cos, const Tensor& sin, RotaryLayout layout) {
  turn(y, x, cos, sin, layout, 1);
}

void rotary_transposed(const Tensor& y, const Tensor& dy, const Tensor& cos, const Tensor& sin, RotaryLayout layout) {
  turn(y, dy, cos, sin, layout, -1);
}

void rotary_table_backward(const RotaryTableGradients& gradients, const Tensor& x, const std::array<int64_t, 3>& own,
                           RotaryLayout layout, const Tensor& dy) {
  Uses uses;
  uses.components = static_cast<int>(gradients.dcos.extent(-1));
  uses.count = 1;
  for (int axis = 0; axis < 3; ++axis) {
    uses.shared[axis] = own[axis] == 1 ? x.extent(axis) : 1;
    uses.count *= uses.shared[axis];
    uses.x_steps.values[axis] = uses.shared[axis] == 1 ? 0 : x.stride(axis);
    uses.dy_steps.values[axis] = uses.shared[axis] == 1 ? 0 : dy.stride(axis);
  }
  with_types(x.dtype(), gradients.dcos.dtype(), [&]<class T, class C>() {
    constexpr int count = pack_size<T>;
    const bool packed = uses.components % count == 0 && takes_packs(x, count) && takes_packs(dy, count);
    with_layout(layout, [&]<RotaryLayout known>() {
      if (packed)
        launch_tables<known, count, T, C>(uses, own, gradients, x, dy);
      else
        launch_tables<known, 1, T, C>(uses, own, gradients, x, dy);
    });
  });
}

}  // namespace phasor::cuda
