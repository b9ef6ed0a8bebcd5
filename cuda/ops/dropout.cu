// Dropout: a thread draws the Philox words of its elements and compares them with the threshold at once, so that
// neither words nor choices are ever stored.
#include "core/ops/dropout.hpp"

#include "core/dispatch.hpp"
#include "core/philox.hpp"
#include "cuda/elementwise.cuh"

namespace phasor::cuda {
namespace {

constexpr int threads = 256;
constexpr int block_words = 4;  // of a block of Philox

struct Choice {
  Random random;
  const uint64_t* blocks;  // added to the counter; nullptr for 0
  uint32_t threshold;

  __device__ uint64_t counter() const { return random.counter + (blocks ? *blocks : 0); }
  // Of a block: the words of elements 4 block .. 4 block + 3.
  __device__ std::array<uint32_t, block_words> words(uint64_t block) const {
    return philox4x32_10({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                          static_cast<uint32_t>(random.stream), static_cast<uint32_t>(random.stream >> 32)},
                         {static_cast<uint32_t>(random.seed), static_cast<uint32_t>(random.seed >> 32)});
  }
};

template <class T>
constexpr int elements_of_thread = sizeof(T) == 2 ? 8 : 4;

// x and y lie row-major without gaps, at addresses that whole packs need.
template <class T>
__global__ void __launch_bounds__(threads)
    dense_kernel(int64_t size, T* y, const T* x, Computed<T> factor, Choice choice) {
  constexpr int count = elements_of_thread<T>;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x) * count;
  if (first >= size) return;
  const bool is_whole = first + count <= size;
  Pack<T, count> pack = {};
  if (is_whole)
    pack = load_pack<count>(x + first);
  else
    for (int k = 0; k < count; ++k)
      if (first + k < size) pack.values[k] = x[first + k];
  const uint64_t block = choice.counter() + static_cast<uint64_t>(first / block_words);
#pragma unroll
  for (int b = 0; b < count / block_words; ++b) {
    const std::array<uint32_t, block_words> words = choice.words(block + b);
#pragma unroll
    for (int k = 0; k < block_words; ++k) {
      T& value = pack.values[b * block_words + k];
      value = static_cast<T>(words[k] < choice.threshold ? Computed<T>(0) : static_cast<Computed<T>>(value) * factor);
    }
  }
  if (is_whole)
    store_pack<count>(y + first, pack);
  else
    for (int k = 0; k < count; ++k)
      if (first + k < size) y[first + k] = pack.values[k];
}

// Places of y and x in row-major order. A thread has the elements of one block.
template <class T>
__global__ void __launch_bounds__(threads)
    strided_kernel(Places<3> places, T* y, const T* x, Computed<T> factor, Choice choice) {
  const int64_t block = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (block * block_words >= places.size) return;
  const std::array<uint32_t, block_words> words = choice.words(choice.counter() + static_cast<uint64_t>(block));
#pragma unroll
  for (int k = 0; k < block_words; ++k) {
    const int64_t i = block * block_words + k;
    if (i >= places.size) break;
    int64_t at[3];
    places.at(i, at);
    y[at[1]] =
        static_cast<T>(words[k] < choice.threshold ? Computed<T>(0) : static_cast<Computed<T>>(x[at[2]]) * factor);
  }
}

}  // namespace

Tensor dropout(const Tensor& x, uint32_t threshold, double factor, const Random& random, const uint64_t* blocks) {
  const Tensor y = Tensor::empty_like(x);
  const Choice choice{random, blocks, threshold};
  with_any_float("dropout", x.dtype(), [&]<class T>() {
    constexpr int count = elements_of_thread<T>;
    const bool is_aligned = reinterpret_cast<uintptr_t>(x.data<T>()) % alignof(Pack<T, count>) == 0;
    if (x.is_contiguous() && y.is_contiguous() && is_aligned)
      return launch("dropout", dense_kernel<T>, Grid{pieces(x.size(), threads * count)}, threads, 0, x.size(),
                    y.data<T>(), x.data<T>(), static_cast<Computed<T>>(factor), choice);
    // Axes are ordered by the first strides: those of a row-major tensor.
    const Places<3> places = places_of<3>(x.shape(), {contiguous_strides(x.shape()), y.strides(), x.strides()});
    launch("dropout", strided_kernel<T>, Grid{pieces(places.size, threads * block_words)}, threads, 0, places,
           y.data<T>(), x.data<T>(), static_cast<Computed<T>>(factor), choice);
  });
  return y;
}

Tensor dropout(const Tensor& x, uint32_t threshold, double factor, const Random& random) {
  return dropout(x, threshold, factor, random, nullptr);
}

}  // namespace phasor::cuda
