// Embedding: y[i, :] = table[ids[i], :] is linear in the table, so
//   dtable[r, :] = sum over i with ids[i] = r of dy[i, :]
// Ids are no variables.
#include "core/ops/embedding.hpp"

#include "autograd/device.hpp"
#include "autograd/ops.hpp"

namespace phasor {

Var embedding(const Var& table, const Tensor& given) {
  const Tensor ids = on(table.device(), given);
  return record("embedding", embedding(table.value(), ids), {table},
                [rows = table.extent(0), ids](const Tensor& dy, Wanted) {
                  return std::vector{embedding_backward(rows, ids, dy)};
                });
}

}  // namespace phasor
