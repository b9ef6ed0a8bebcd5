// Ids as numbers to index with, checked before any work: token ids and target classes.
#pragma once

#include <optional>
#include <vector>

#include "core/tensor.hpp"

namespace phasor {

// The elements in row-major order. ids: i32 or i64, each in 0 .. bound-1 or equal to `ignore`; `name` says what one is.
// Throws DtypeError, and ValueError naming the first one outside, its index and the range.
std::vector<int64_t> checked_ids(const char* op, const char* name, const Tensor& ids, int64_t bound,
                                 std::optional<int64_t> ignore = {});

// The same check without the copy, in parallel, for kernels that read ids where they lie. While a graph is recorded,
// ids on the GPU pass unchecked: whoever records checks them on the host.
void require_ids(const char* op, const char* name, const Tensor& ids, int64_t bound);

}  // namespace phasor
