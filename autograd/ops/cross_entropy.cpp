// Cross-entropy of row n with target t: loss_n = log(sum_j e^(x_nj)) - x_nt.
//   dloss_n/dx_nj = e^(x_nj) / sum_k e^(x_nk) - [j = t] = softmax(x_n)_j - [j = t]
//   dx_nj = dloss_n (softmax(x_n)_j - [j = t]),   0 for ignored rows
// The mean over the N rows that count gives each of them dloss_n = dloss / N.
// The probabilities are computed again instead of kept: exponentials are cheaper than memory.
#include "core/ops/cross_entropy.hpp"

#include "autograd/device.hpp"
#include "autograd/ops.hpp"

namespace phasor {
namespace {

// dloss tells the two apart: the shape of targets, or a scalar.
Var record_loss(const char* op, Tensor loss, const Var& logits, const Tensor& targets, int64_t ignore) {
  return record(op, std::move(loss), {logits}, [logits = logits.value(), targets, ignore](const Tensor& dloss, Wanted) {
    return std::vector{cross_entropy_backward(logits, targets, ignore, dloss)};
  });
}

}  // namespace

Var cross_entropy_by_row(const Var& logits, const Tensor& given, int64_t ignore) {
  const Tensor targets = on(logits.device(), given);
  return record_loss("cross_entropy_by_row", cross_entropy_by_row(logits.value(), targets, ignore), logits, targets,
                     ignore);
}

Var cross_entropy(const Var& logits, const Tensor& given, int64_t ignore) {
  const Tensor targets = on(logits.device(), given);
  return record_loss("cross_entropy", cross_entropy(logits.value(), targets, ignore), logits, targets, ignore);
}

}  // namespace phasor
