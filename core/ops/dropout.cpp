// Dropout: a tile draws the Philox words of its elements as vectors and compares them with the threshold at once, so
// neither words nor choices are ever stored.
#include "core/ops/dropout.hpp"

#include <cmath>

#include "core/arguments.hpp"
#include "core/dispatch.hpp"
#include "core/rows.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace {

namespace hn = simd::hn;

// Words below it drop their element; 2^32 drops all.
uint64_t threshold_of(double probability) { return static_cast<uint64_t>(std::round(probability * 0x1p32)); }

}  // namespace

namespace reference {

Tensor dropout(const Tensor& x, double probability, const Random& random) {
  std::vector<double> values = x.to(Dtype::f64).to_vector<double>();
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t block = random.counter + i / 4;
    const std::array<uint32_t, 4> words =
        philox4x32_10({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                       static_cast<uint32_t>(random.stream), static_cast<uint32_t>(random.stream >> 32)},
                      {static_cast<uint32_t>(random.seed), static_cast<uint32_t>(random.seed >> 32)});
    values[i] = words[i % 4] < threshold_of(probability) ? 0 : values[i] / (1 - probability);
  }
  return Tensor::of<double>(x.shape(), values).to(x.dtype());
}

}  // namespace reference

namespace {

constexpr int64_t chunk = 1024;  // words drawn at a time: they stay in the cache

// The first `count` words, at most a chunk, of the blocks from `first` on. Writes whole vectors, within the chunk.
// Each block has a 64-bit lane in which a word of the state is the lower half. The upper half holds what is left of
// earlier products; the 32 x 32 bit product does not read it.
void draw(const Random& random, uint64_t first, int64_t count, uint32_t* words) {
  using D = hn::ScalableTag<uint64_t>;
  const D d;
  const hn::Repartition<uint32_t, D> d32;
  using V = hn::Vec<D>;
  const auto product = [&](V a, V b) { return hn::MulEven(hn::BitCast(d32, a), hn::BitCast(d32, b)); };
  const auto pair = [&](V low, V high) {
    return hn::BitCast(d, hn::OddEven(hn::BitCast(d32, hn::ShiftLeft<32>(high)), hn::BitCast(d32, low)));
  };
  const V multiplier_0 = hn::Set(d, 0xD2511F53), multiplier_1 = hn::Set(d, 0xCD9E8D57);
  constexpr int rounds = 10, side = 2;  // two states side by side hide the latency of the products
  V key_0[rounds], key_1[rounds];
  for (uint32_t round = 0; round < rounds; ++round) {
    key_0[round] = hn::Set(d, static_cast<uint32_t>(random.seed) + round * 0x9E3779B9);
    key_1[round] = hn::Set(d, static_cast<uint32_t>(random.seed >> 32) + round * 0xBB67AE85);
  }
  const int64_t blocks = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t word = 0; word < count; word += side * 4 * blocks) {
    V c0[side], c1[side], c2[side], c3[side];
    for (int s = 0; s < side; ++s) {
      c0[s] = hn::Iota(d, first + static_cast<uint64_t>(word / 4 + s * blocks));  // wraps round after 2^64 blocks
      c1[s] = hn::ShiftRight<32>(c0[s]);
      c2[s] = hn::Set(d, random.stream);
      c3[s] = hn::Set(d, random.stream >> 32);
    }
    for (int round = 0; round < rounds; ++round)
      for (int s = 0; s < side; ++s) {
        const V product_0 = product(multiplier_0, c0[s]), product_1 = product(multiplier_1, c2[s]);
        c0[s] = hn::Xor(hn::ShiftRight<32>(product_1), hn::Xor(c1[s], key_0[round]));
        c2[s] = hn::Xor(hn::ShiftRight<32>(product_0), hn::Xor(c3[s], key_1[round]));
        c1[s] = product_1;
        c3[s] = product_0;
      }
    for (int s = 0; s < side; ++s)
      hn::StoreInterleaved2(pair(c0[s], c1[s]), pair(c2[s], c3[s]), d,
                            reinterpret_cast<uint64_t*>(words + word + s * 4 * blocks));
  }
}

// y[i] = words[i] < threshold ? 0 : x[i] scale, for neighbouring elements. Reads whole vectors of words.
template <class T>
void choose(int64_t count, T* y, const T* x, const uint32_t* words, uint32_t threshold, T scale) {
  using Bits = hn::RebindToUnsigned<simd::Tag<T>>;
  const Bits bits;
  const auto limit = hn::Set(bits, threshold);
  const auto factor = simd::set<T>(scale);
  const auto chosen = [&](auto v, const uint32_t* of) {
    const auto dropped = [&] {
      const auto word = hn::LoadU(hn::Rebind<uint32_t, Bits>(), of);
      if constexpr (sizeof(T) == 4)
        return hn::Lt(word, limit);
      else
        return hn::Lt(hn::PromoteTo(bits, word), limit);
    }();
    return hn::IfThenZeroElse(hn::RebindMask(simd::Tag<T>(), dropped), v * factor);
  };
  const int64_t lanes = simd::lanes<T>;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) simd::store<T>(chosen(simd::load<T>(x + i), words + i), y + i);
  if (i < count) simd::store_first<T>(count - i, chosen(simd::load_first<T>(count - i, x + i), words + i), y + i);
}

// Where the row-major row number `row` of x begins; a row runs along the last axis.
int64_t offset_of_row(const Tensor& x, int64_t row) {
  int64_t offset = 0;
  for (int axis = x.rank() - 2; axis >= 0; --axis) {
    offset += row % x.extent(axis) * x.stride(axis);
    row /= x.extent(axis);
  }
  return offset;
}

// The rows of x and y lie without gaps.
template <class T>
void dropout_kernel(const Tensor& y, const Tensor& x, uint32_t threshold, T scale, const Random& random) {
  const bool flat = x.is_contiguous() && y.is_contiguous();
  const int64_t width = flat ? x.size() : x.extent(-1);
  parallel_for(x.size(), 8 * chunk, [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[chunk + simd::hn::MaxLanes(simd::Tag<uint32_t>())];
    for (int64_t start = begin; start < end; start += chunk) {
      const int64_t stop = std::min(start + chunk, end);
      draw(random, random.counter + static_cast<uint64_t>(start / 4), stop - start, words);
      for (int64_t i = start, count = 0; i < stop; i += count) {
        const int64_t row = i / width, column = i % width;
        count = std::min(width - column, stop - i);
        choose(count, y.data<T>() + (flat ? 0 : offset_of_row(y, row)) + column,
               x.data<T>() + (flat ? 0 : offset_of_row(x, row)) + column, words + (i - start), threshold, scale);
      }
    }
  });
}

}  // namespace

Tensor dropout(const Tensor& x, double probability, const Random& random) {
  require_float("dropout", "x", x);
  require<ValueError>(probability >= 0 && probability < 1, "dropout", "probability is ", probability,
                      "; needs 0 <= probability < 1");
  if (probability == 0) return x;
  const uint64_t threshold = threshold_of(probability);
  if constexpr (kHasCuda)
    if (x.is_on(Device::cuda)) {
      if (threshold > UINT32_MAX) return Tensor::zeros(x.shape(), x.dtype(), Device::cuda);
      return cuda::dropout(x, static_cast<uint32_t>(threshold), 1 / (1 - probability), random);
    }
  return with_float("dropout", x.dtype(), [&]<class T>() {
    const Tensor from = x.is_contiguous() ? x : dense_rows(x);
    const Tensor y = Tensor::empty_like(from);
    if (threshold > UINT32_MAX)
      fill(y, 0);
    else
      dropout_kernel(y, from, static_cast<uint32_t>(threshold), static_cast<T>(1 / (1 - probability)), random);
    return y;
  });
}

}  // namespace phasor
