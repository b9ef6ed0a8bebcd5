// Rows of a table by id: index_select along axis 0, with ids of any shape.
#include "core/ops/embedding.hpp"

#include "core/arguments.hpp"
#include "core/error.hpp"
#include "core/ids.hpp"
#include "core/ops/gather.hpp"

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
  require_float("embedding", "table", table);
  require_defined("embedding", "ids", ids);
  require(table.rank() == 2, "embedding", "table is ", table.shape(), "; needs [rows, width]");
  require(ids.rank() < max_rank, "embedding", "ids is ", ids.shape(), "; needs a rank below ", max_rank);
  require_ids("embedding", "id", ids, table.extent(0));
  if constexpr (kHasCuda)
    if (table.is_on(Device::cuda)) {
      require_same_device("embedding", "table", table, "ids", ids);
      const Tensor y = Tensor::empty({ids.size(), table.extent(1)}, table.dtype(), Device::cuda);
      cuda::gather("embedding", y, table, 0, ids.reshape({ids.size(), 1}).broadcast_to(y.shape()));
      return y.reshape(ids.shape().insert(-1, table.extent(1)));
    }
  const Tensor y = index_select(table, 0, ids.reshape({ids.size()}));
  return y.reshape(ids.shape().insert(-1, table.extent(1)));
}

Tensor embedding_backward(int64_t rows, const Tensor& ids, const Tensor& dy) {
  require_float("embedding_backward", "dy", dy);
  require_defined("embedding_backward", "ids", ids);
  require(rows >= 0, "embedding_backward", "the table has ", rows, " rows; needs 0 or more");
  require(dy.rank() >= 1 && dy.shape().without(-1) == ids.shape(), "embedding_backward", "dy is ", dy.shape(),
          ", ids is ", ids.shape(), "; dy must be the shape of ids and one more axis");
  require_ids("embedding_backward", "id", ids, rows);
  if constexpr (kHasCuda)
    if (dy.is_on(Device::cuda)) {
      require_same_device("embedding_backward", "dy", dy, "ids", ids);
      return cuda::index_select_backward(rows, 0, ids.reshape({ids.size()}), dy.reshape({ids.size(), dy.extent(-1)}));
    }
  return index_select_backward(rows, 0, ids.reshape({ids.size()}), dy.reshape({ids.size(), dy.extent(-1)}));
}

}  // namespace phasor
