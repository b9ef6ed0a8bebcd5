// Cross-entropy of logits against target classes, in nats.
//   logits  [..., classes] f32 or f64 (on the GPU bf16 too)      targets [...] i32 or i64
//   loss    of each row: log(sum e^logits) - logits[target]; rows whose target is `ignore` cost 0 and are not counted
// Errors: ShapeError, DtypeError, ValueError naming the first target outside 0 .. classes-1 that is not `ignore`,
// and a mean over no row at all. While a graph is recorded targets on the GPU are not checked: there one outside, and a
// mean over no row, give NaN.
#pragma once

#include "core/tensor.hpp"

namespace phasor {

constexpr int64_t no_ignored_target = -1;

// The loss of each row, shape of targets: the loss by position.
Tensor cross_entropy_by_row(const Tensor& logits, const Tensor& targets, int64_t ignore = no_ignored_target);
// The mean over the rows that are not ignored: a scalar (summed in double).
Tensor cross_entropy(const Tensor& logits, const Tensor& targets, int64_t ignore = no_ignored_target);
// dlogits = (softmax(logits) - onehot(target)) dloss, [..., classes]; 0 for ignored rows. `dloss` has the shape of
// targets, or is a scalar: the gradient of the mean.
Tensor cross_entropy_backward(const Tensor& logits, const Tensor& targets, int64_t ignore, const Tensor& dloss);

namespace cuda {
// What the functions above call on the GPU, after their checks; targets are i64, row-major.
Tensor cross_entropy_by_row(const Tensor& logits, const Tensor& targets, int64_t ignore);
Tensor cross_entropy(const Tensor& logits, const Tensor& targets, int64_t ignore);
Tensor cross_entropy_backward(const Tensor& logits, const Tensor& targets, int64_t ignore, const Tensor& dloss);
}  // namespace cuda

namespace reference {
Tensor cross_entropy_by_row(const Tensor& logits, const Tensor& targets, int64_t ignore = no_ignored_target);
}

}  // namespace phasor
