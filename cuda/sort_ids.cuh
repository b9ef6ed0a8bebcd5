// Ids in order, and where each of them stood: what the sums of rows by id start from.
#pragma once

#include "core/tensor.hpp"

namespace phasor::cuda {

struct SortedIds {
  Tensor ids;     // [n], i32, ascending
  Tensor places;  // [n], i32: where each of them stood; equal ids keep their order
  Tensor starts;  // [bound + 1], i32: the places of id are those from starts[id] to starts[id + 1]
};

// ids [n] on the GPU, i32 or i64, each in 0 .. bound-1. Equal for any order of threads, and nothing is read back.
SortedIds sorted_ids(const char* op, const Tensor& ids, int64_t bound);

}  // namespace phasor::cuda
