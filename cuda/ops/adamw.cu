// AdamW over all parameters in one launch, and the norms of their gradients in two: a table says where the tensors lie,
// and blocks take pieces of them, whatever their sizes.
#include "core/ops/adamw.hpp"

#include <cmath>
#include <cstring>

#include "core/dispatch.hpp"
#include "core/scalar_math.hpp"
#include "cuda/elementwise.cuh"
#include "cuda/reduce.cuh"

namespace phasor::cuda {
namespace {

constexpr int threads = 256, norm_threads = 1024;
constexpr int64_t piece_size = 4096;  // elements of a block: small models too occupy the GPU

// A parameter, or one tensor of a list of which only the gradient is there.
struct Entry {
  void *weight, *first, *second;
  const void* gradient;
  int64_t size, first_piece, pieces;
  bool is_f64, is_aligned;  // aligned: all at multiples of 16 bytes
  double rate_factor, decay, gradient_clip, minimum, maximum;
};
struct Piece {
  int entry, number;  // of the tensor's pieces
};
struct Table {
  const Entry* entries;
  const Piece* pieces;
  int entry_count, piece_count;
};

// What is to be done to a parameter in this step.
struct Change {
  double clip, scale, keep, rate, inverse2;
};

struct Range {
  int64_t begin, end;
};
__device__ Range range_of(const Entry& entry, const Piece& piece) {
  const int64_t begin = piece.number * piece_size, end = begin + piece_size;
  return {begin, end < entry.size ? end : entry.size};
}

// f(i) for elements i, i + 1, ... i + count - 1 where packs lie well, f1(i) for single ones.
template <int count, class F, class F1>
__device__ void each_in(const Range& range, bool is_aligned, const F& f, const F1& f1) {
  int64_t i = range.begin;  // a multiple of every pack
  if (is_aligned) {
    const int64_t end = range.end - (range.end - range.begin) % count;
#pragma unroll 2
    for (i += threadIdx.x * count; i < end; i += threads * count) f(i);
    i = end;
  }
  for (i += threadIdx.x; i < range.end; i += threads) f1(i);
}

template <class T>
__device__ double squares_of(const Entry& entry, const Range& range) {
  constexpr int count = 16 / sizeof(T);
  const T* const g = static_cast<const T*>(entry.gradient);
  double sum = 0;
  const auto add = [&](T value) { sum += static_cast<double>(value) * static_cast<double>(value); };
  each_in<count>(
      range, entry.is_aligned,
      [&](int64_t i) {
        const Pack<T, count> pack = load_pack<count>(g + i);
#pragma unroll
        for (int k = 0; k < count; ++k) add(pack.values[k]);
      },
      [&](int64_t i) { add(g[i]); });
  return sum;
}

// squares[piece], in double: finite for all finite f32.
__global__ void __launch_bounds__(threads) squares_kernel(Table table, double* squares) {
  const Piece piece = table.pieces[blockIdx.x];
  const Entry& entry = table.entries[piece.entry];
  const Range range = range_of(entry, piece);
  const double own = entry.is_f64 ? squares_of<double>(entry, range) : squares_of<float>(entry, range);
  const double all = block_reduced<threads>(own, static_cast<int>(threadIdx.x), Add());
  if (threadIdx.x == 0) squares[blockIdx.x] = all;
}

// min(1, limit / norm), and 1 for a norm that is not finite: others must see it.
__device__ double clip_of(double norm, double limit) {
  return limit > 0 && norm > limit && std::isfinite(norm) ? limit / norm : 1;
}

__host__ __device__ Change change_of(const Entry& entry, double clip, double scale, const AdamWStep& step) {
  const double rate = step.learning_rate * entry.rate_factor;
  return {clip, scale, 1 - rate * entry.decay, rate / step.correction1, 1 / std::sqrt(step.correction2)};
}

// From the squares of all pieces the norms, and from these what is to be done. One block: a warp adds up a tensor.
__global__ void __launch_bounds__(norm_threads)
    norms_kernel(Table table, const double* squares, double clip_norm, const double* step, const double* loss,
                 double* results, int* stopped, Change* changes) {
  __shared__ double scale;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % warp;
  double* const norms = results + 2;
  for (int i = thread / warp; i < table.entry_count; i += norm_threads / warp) {
    const Entry& entry = table.entries[i];
    const double* const from = squares + entry.first_piece;
    double own = 0;
#pragma unroll 8
    for (int64_t piece = lane; piece < entry.pieces; piece += warp) own += from[piece];
    const double norm = std::sqrt(warp_reduced(own, lane, Add()));
    if (lane != 0) continue;
    const double clip = clip_of(norm, entry.gradient_clip);
    norms[i] = norm * clip;
    changes[i].clip = clip;
  }
  __syncthreads();
  if (thread < warp) {
    double own = 0;
    for (int i = lane; i < table.entry_count; i += warp) own += norms[i] * norms[i];
    const double norm = std::sqrt(warp_reduced(own, lane, Add()));
    if (thread == 0) {
      results[0] = *loss;
      results[1] = norm;
      scale = clip_of(norm, clip_norm);
      if (!(std::isfinite(norm) && std::isfinite(results[0]))) *stopped = 1;
    }
  }
  __syncthreads();
  for (int i = thread; i < table.entry_count; i += norm_threads)
    changes[i] = change_of(table.entries[i], changes[i].clip, scale, {step[0], step[1], step[2]});
}

// The numbers of a step for one parameter, in its type; the letters as in the header.
template <class T>
struct Update {
  T clip, scale, beta1, rest1, beta2, rest2, keep, rate, inverse2, epsilon, minimum, maximum;

  __device__ Update(const Entry& entry, const Change& change, const AdamWNumbers& numbers)
      : clip(static_cast<T>(change.clip)),
        scale(static_cast<T>(change.scale)),
        beta1(static_cast<T>(numbers.beta1)),
        rest1(static_cast<T>(1 - numbers.beta1)),
        beta2(static_cast<T>(numbers.beta2)),
        rest2(static_cast<T>(1 - numbers.beta2)),
        keep(static_cast<T>(change.keep)),
        rate(static_cast<T>(change.rate)),
        inverse2(static_cast<T>(change.inverse2)),
        epsilon(static_cast<T>(numbers.epsilon)),
        minimum(static_cast<T>(entry.minimum)),
        maximum(static_cast<T>(entry.maximum)) {}

  __device__ void operator()(T& w, T& m, T& v, T g) const {
    const T gradient = g * clip * scale;
    m = beta1 * m + rest1 * gradient;
    v = beta2 * v + rest2 * gradient * gradient;
    w = scalar::bounded(w * keep - rate * m / (std::sqrt(v) * inverse2 + epsilon), minimum, maximum);
  }
};

template <class T>
__device__ void update_piece(const Entry& entry, const Range& range, const Update<T>& update) {
  constexpr int count = 16 / sizeof(T);
  T *const w = static_cast<T*>(entry.weight), *const m = static_cast<T*>(entry.first),
           *const v = static_cast<T*>(entry.second);
  const T* const g = static_cast<const T*>(entry.gradient);
  each_in<count>(
      range, entry.is_aligned,
      [&](int64_t i) {
        Pack<T, count> weights = load_pack<count>(w + i), first = load_pack<count>(m + i),
                       second = load_pack<count>(v + i);
        const Pack<T, count> gradients = load_pack<count>(g + i);
#pragma unroll
        for (int k = 0; k < count; ++k)
          update(weights.values[k], first.values[k], second.values[k], gradients.values[k]);
        store_pack<count>(w + i, weights);
        store_pack<count>(m + i, first);
        store_pack<count>(v + i, second);
      },
      [&](int64_t i) { update(w[i], m[i], v[i], g[i]); });
}

__global__ void __launch_bounds__(threads)
    update_kernel(Table table, AdamWNumbers numbers, const Change* changes, const int* stopped) {
  if (stopped && *stopped != 0) return;
  const Piece piece = table.pieces[blockIdx.x];
  const Entry& entry = table.entries[piece.entry];
  const Change& change = changes[piece.entry];
  const Range range = range_of(entry, piece);
  if (entry.is_f64)
    update_piece<double>(entry, range, Update<double>(entry, change, numbers));
  else
    update_piece<float>(entry, range, Update<float>(entry, change, numbers));
}

// A table on the GPU, and the block that holds it.
struct TableOnGpu {
  std::shared_ptr<std::byte> block;
  Table table;
};

bool is_good_address(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

// Of which only the gradient is there.
Entry entry_of(const Tensor& gradient) {
  Entry entry = {};
  entry.size = gradient.size();
  entry.is_f64 = gradient.dtype() == Dtype::f64;
  with_float("adamw", gradient.dtype(), [&]<class T>() { entry.gradient = gradient.data<T>(); });
  entry.is_aligned = is_good_address(entry.gradient);
  return entry;
}

TableOnGpu uploaded_table(const char* op, std::vector<Entry> entries) {
  std::vector<Piece> all;
  for (size_t i = 0; i < entries.size(); ++i) {
    entries[i].first_piece = std::ssize(all);
    entries[i].pieces = pieces(entries[i].size, piece_size);
    require<ResourceError>(std::ssize(all) + entries[i].pieces < int64_t{1} << 31, op,
                           "too many parameters for the GPU");
    for (int64_t number = 0; number < entries[i].pieces; ++number)
      all.push_back({static_cast<int>(i), static_cast<int>(number)});
  }
  const size_t bytes_of_entries = entries.size() * sizeof(Entry), bytes_of_pieces = all.size() * sizeof(Piece);
  std::vector<std::byte> bytes(bytes_of_entries + bytes_of_pieces);
  if (!entries.empty()) std::memcpy(bytes.data(), entries.data(), bytes_of_entries);
  if (!all.empty()) std::memcpy(bytes.data() + bytes_of_entries, all.data(), bytes_of_pieces);
  auto block = uploaded(bytes.data(), bytes.size());
  const auto* const at = block.get();
  return {block,
          {reinterpret_cast<const Entry*>(at), reinterpret_cast<const Piece*>(at + bytes_of_entries),
           static_cast<int>(entries.size()), static_cast<int>(all.size())}};
}

std::vector<Entry> entries_of(const std::vector<AdamWParameter>& parameters, const std::vector<Tensor>& gradients) {
  std::vector<Entry> entries;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const AdamWParameter& p = parameters[i];
    Entry entry = entry_of(gradients[i]);
    with_float("adamw", p.weight.dtype(), [&]<class T>() {
      entry.weight = p.weight.data<T>();
      entry.first = p.first.data<T>();
      entry.second = p.second.data<T>();
    });
    entry.is_aligned = entry.is_aligned && is_good_address(entry.weight) && is_good_address(entry.first) &&
                       is_good_address(entry.second);
    entry.rate_factor = p.rate_factor;
    entry.decay = p.decay;
    entry.gradient_clip = p.gradient_clip;
    entry.minimum = p.minimum;
    entry.maximum = p.maximum;
    entries.push_back(entry);
  }
  return entries;
}

void launch_squares(const char* op, const Table& table, const Tensor& squares) {
  launch(op, squares_kernel, Grid{table.piece_count}, threads, 0, table, squares.data<double>());
}

}  // namespace

void adamw(const std::vector<AdamWParameter>& parameters, const std::vector<Tensor>& gradients,
           const AdamWNumbers& numbers, const AdamWStep& step, double gradient_scale) {
  const std::vector<Entry> entries = entries_of(parameters, gradients);
  const TableOnGpu on_gpu = uploaded_table("adamw", entries);
  std::vector<Change> changes;
  for (const Entry& entry : entries) changes.push_back(change_of(entry, 1, gradient_scale, step));
  const auto block = uploaded(reinterpret_cast<const std::byte*>(changes.data()), changes.size() * sizeof(Change));
  launch("adamw", update_kernel, Grid{on_gpu.table.piece_count}, threads, 0, on_gpu.table, numbers,
         reinterpret_cast<const Change*>(block.get()), static_cast<const int*>(nullptr));
}

void adamw(const std::vector<AdamWParameter>& parameters, const std::vector<Tensor>& gradients,
           const AdamWNumbers& numbers, double clip_norm, const Tensor& loss, const AdamWBuffers& buffers) {
  const TableOnGpu on_gpu = uploaded_table("adamw", entries_of(parameters, gradients));
  const Tensor squares = Tensor::empty({on_gpu.table.piece_count}, Dtype::f64, Device::cuda);
  const auto block = allocate(parameters.size() * sizeof(Change));
  auto* const changes = reinterpret_cast<Change*>(block.get());
  launch_squares("adamw", on_gpu.table, squares);
  launch("adamw", norms_kernel, Grid{1}, norm_threads, 0, on_gpu.table,
         static_cast<const double*>(squares.data<double>()), clip_norm,
         static_cast<const double*>(buffers.step.data<double>()), static_cast<const double*>(loss.data<double>()),
         buffers.results.data<double>(), buffers.stopped.data<int32_t>(), changes);
  launch("adamw", update_kernel, Grid{on_gpu.table.piece_count}, threads, 0, on_gpu.table, numbers,
         static_cast<const Change*>(changes), static_cast<const int*>(buffers.stopped.data<int32_t>()));
}

double sum_of_squares(const std::vector<Tensor>& tensors) {
  const char* const op = "sum_of_squares";
  std::vector<Entry> entries;
  for (const Tensor& t : tensors) entries.push_back(entry_of(t));
  const TableOnGpu on_gpu = uploaded_table(op, entries);
  const Tensor squares = Tensor::empty({on_gpu.table.piece_count}, Dtype::f64, Device::cuda);
  launch_squares(op, on_gpu.table, squares);
  double sum = 0;
  for (const double of_piece : squares.to_vector<double>()) sum += of_piece;
  return sum;
}

}  // namespace phasor::cuda
