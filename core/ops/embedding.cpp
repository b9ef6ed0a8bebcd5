// Rows of a table by id, and the sum of gradients that share an id.
#include "core/ops/embedding.hpp"

#include <algorithm>

#include "core/dispatch.hpp"
#include "core/ids.hpp"
#include "core/rows.hpp"
#include "core/simd.hpp"

namespace phasor {
namespace reference {

Tensor embedding(const Tensor& table, const Tensor& ids) {
  const Tensor y = Tensor::empty(ids.shape().insert(-1, table.extent(1)), table.dtype());
  const std::vector<int64_t> rows = ids.to(Dtype::i64).to_vector<int64_t>();
  const Tensor flat = y.reshape({ids.size(), table.extent(1)});
  for (int64_t i = 0; i < ids.size(); ++i) copy_into(flat.select(0, i), table.select(0, rows[i]));
  return y;
}

}  // namespace reference

Tensor embedding(const Tensor& table, const Tensor& ids) {
  require(table.rank() == 2, "embedding", "table is ", table.shape(), "; needs [rows, width]");
  require(ids.rank() < max_rank, "embedding", "ids is ", ids.shape(), "; needs a rank below ", max_rank);
  return with_float("embedding", table.dtype(), [&]<class T>() {
    const std::vector<int64_t> rows = checked_ids("embedding", "id", ids, table.extent(0));
    const Tensor from = dense_rows(table);
    const int64_t width = table.extent(1);
    const Tensor y = Tensor::empty(ids.shape().insert(-1, width), table.dtype());
    parallel_for(ids.size(), RowLoop<1>::grain(width), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        std::copy_n(from.data<T>() + rows[i] * from.stride(0), width, y.data<T>() + i * width);
    });
    return y;
  });
}

namespace {

// The places of each id, in order: those of `row` are places[starts[row]] .. places[starts[row + 1] - 1].
struct Places {
  std::vector<int64_t> starts, places;

  Places(int64_t rows, const std::vector<int64_t>& ids) : starts(rows + 1), places(ids.size()) {
    for (const int64_t id : ids) ++starts[id + 1];
    for (int64_t row = 0; row < rows; ++row) starts[row + 1] += starts[row];
    std::vector<int64_t> next = starts;
    for (size_t i = 0; i < ids.size(); ++i) places[next[ids[i]]++] = static_cast<int64_t>(i);
  }
};

// y[column] = sum of x[place * width + column] over `places` in order, for `count` columns, at most 4 vectors of them:
// the sums stay in registers.
template <class T>
void sum_rows(int64_t count, T* y, const T* x, int64_t width, const int64_t* places, int64_t places_count) {
  const int64_t lanes = simd::lanes<T>;
  if (count == 4 * lanes) {
    simd::Vec<T> s0 = simd::set<T>(0), s1 = s0, s2 = s0, s3 = s0;
    for (int64_t i = 0; i < places_count; ++i) {
      const T* const row = x + places[i] * width;
      s0 = s0 + simd::load<T>(row);
      s1 = s1 + simd::load<T>(row + lanes);
      s2 = s2 + simd::load<T>(row + 2 * lanes);
      s3 = s3 + simd::load<T>(row + 3 * lanes);
    }
    simd::store<T>(s0, y);
    simd::store<T>(s1, y + lanes);
    simd::store<T>(s2, y + 2 * lanes);
    simd::store<T>(s3, y + 3 * lanes);
    return;
  }
  for (int64_t start = 0; start < count; start += lanes) {
    const int64_t n = std::min(lanes, count - start);
    simd::Vec<T> s = simd::set<T>(0);
    for (int64_t i = 0; i < places_count; ++i) s = s + simd::load_first<T>(n, x + places[i] * width + start);
    simd::store_first<T>(n, s, y + start);
  }
}

}  // namespace

Tensor embedding_backward(int64_t rows, const Tensor& ids, const Tensor& dy) {
  require(rows >= 0, "embedding_backward", "the table has ", rows, " rows; needs 0 or more");
  require(dy.rank() >= 1 && dy.shape().without(-1) == ids.shape(), "embedding_backward", "dy is ", dy.shape(),
          ", ids is ", ids.shape(), "; dy must be the shape of ids and one more axis");
  return with_float("embedding_backward", dy.dtype(), [&]<class T>() {
    const Places places(rows, checked_ids("embedding_backward", "id", ids, rows));
    const Tensor from = dy.contiguous();
    const int64_t width = dy.extent(-1), block = 4 * simd::lanes<T>, blocks = (width + block - 1) / block;
    const Tensor dtable = Tensor::empty({rows, width}, dy.dtype());
    // Every cell has one owner, which adds in the order of ids. Blocks of columns share the work of a frequent id.
    const int64_t mean_places = 1 + ids.size() / std::max<int64_t>(rows, 1);
    parallel_for(rows * blocks, grain_for(mean_places * block), [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t row = task / blocks, column = task % blocks * block, first = places.starts[row];
        sum_rows(std::min(block, width - column), dtable.data<T>() + row * width + column, from.data<T>() + column,
                 width, places.places.data() + first, places.starts[row + 1] - first);
      }
    });
    return dtable;
  });
}

}  // namespace phasor
