// The checks behind check_op, for one sample of a case each.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/complaints.hpp"
#include "tests/support/op_case.hpp"

namespace phasor {

struct SampleCheck {
  const OpCase& op_case;
  const Sample& sample;
  Complaints& complaints;

  Tensors made(Extents extents, Dtype dtype) const;  // the same numbers every time
};

// What an op makes of few elements: {1, 1}, {0, width}, {rows, 0}, {0, 0}. The case says which it takes; it must refuse
// the others.
struct SmallExtents {
  std::vector<Extents> taken = {}, refused = {};
};
SmallExtents small_extents(const OpCase& op_case, const Sample& sample);

void check_values(const SampleCheck& check);    // values and gradients, in every layout
void check_threads(const SampleCheck& check);   // bits for 1, 2 and 8 threads
void check_on_gpu(const SampleCheck& check);    // the same of the twin in cuda/ops
void check_refusals(const SampleCheck& check);  // shapes and dtypes that do not fit

// The orders in which the emulator runs threads and blocks; a GPU has one of its own. Empty unless a program of
// tests/cuda sets it.
inline std::vector<std::function<void()>> thread_orders;

std::string describe(const Tensors& arguments);  // " [2, 3] f32 [3] f32"
int64_t longest_axis(const Tensors& arguments);
// The gradient of each argument; undefined for ids and booleans. An op that does not record gives zeros.
Tensors gradients_of(const OpCase& op_case, const Tensors& arguments,
                     const std::function<Tensor(const Tensor& output)>& cotangent_for);
Tensor cotangent(const Tensor& output);

}  // namespace phasor
