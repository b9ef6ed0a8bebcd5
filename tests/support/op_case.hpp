// One OpCase per op drives everything that every op must satisfy. A test of an op is a record:
//
//   check_op({.op = "softmax",
//             .run = [](const Tensors& x) { return softmax(x[0]); },
//             .reference = [](const Tensors& x) { return reference::softmax(x[0]); },
//             .differentiable = [](const std::vector<Var>& x) { return softmax(x[0]); },
//             .samples = {{[](Extents e, Random& r) { return Tensors{random_tensor({e.rows, e.width}, r)}; },
//                          {{0, any_axis}}}},
//             .refuses = {{[] { softmax(Tensor::scalar(1, Dtype::f32)); }, "last axis"}}});
//
// It checks, in f64 and f32:
//   values      against the reference, with widths around the SIMD width
//   memory      permuted, gapped and spread inputs; NaN around inputs (same bits, finite, nothing written there)
//   threads     1, 2 and 8 give the same bits, for values and gradients, and more than two threads took part
//   gradients   f64 against central differences; f32 and strided ones against those
//   few elements   one, and none along the rows, the width and both: right values and gradients where the case says
//               that the op takes them, else an Error that names the op
//   the GPU     where there is one (or its emulator, in the programs of tests/cuda), that instead of all the above:
//               values and gradients in f64, f32 and bf16, in every layout, in several orders of threads with the same
//               bits, against the reference and the CPU's gradients
//   errors      every axis of every argument enlarged by one throws an Error that names the op and shows that
//               argument's whole shape, unless the sample says that it is legal (then the value must be right); wrong
//               dtypes throw, and the error says which came; so does what `refuses` lists
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "autograd/var.hpp"
#include "core/random.hpp"
#include "core/tensor.hpp"
#include "tests/support/placement.hpp"
#include "tests/support/tolerance.hpp"

namespace phasor {

// What a sample is made from: the checker chooses. Either may be 0 or 1.
struct Extents {
  int64_t rows, width;
};

struct ArgumentAxis {
  int argument, axis;
};
constexpr int any_axis = 99;

struct Sample {
  // f64 for numbers; ids are integers, conditions booleans. All results must be finite.
  std::function<Tensors(Extents, Random&)> make;
  std::vector<ArgumentAxis> free_axes = {};        // axes that may be enlarged alone; negative ones count from the end
  std::optional<std::vector<Extents>> empty = {};  // in place of the case's
};

struct Refusal {
  std::function<void()> call;
  std::string says;  // part of the message, beside the op's name
};

struct OpCase {
  std::string op;  // errors begin with `op:`
  std::function<Tensor(const Tensors&)> run;
  std::function<Tensor(const Tensors&)> reference;
  std::function<Var(const std::vector<Var>&)> differentiable;  // ids and booleans arrive as constants
  std::vector<Sample> samples;
  std::vector<Refusal> refuses = {};
  // Extents with a 0 that work. Of {0, width}, {rows, 0} and {0, 0} those that are not listed must be refused; {0, 0}
  // need not be listed where both others are.
  std::vector<Extents> empty = {{0, 5}};
  bool takes_one_element = true;  // extents {1, 1} work; else they must be refused
  Extents large = {1200, 150};    // several tiles, so that several threads have work
  double gradient_limit = tolerance::gradient;
  bool takes_any_dtype = false;  // views
  bool is_parallel = true;       // false where there is no arithmetic to share
  bool takes_bf16 = true;        // on the GPU
};

// Everything that is wrong, one sentence each; none if the op is right.
std::vector<std::string> complaints(const OpCase& op_case);

// Fails the running test with every complaint.
void check_op(const OpCase& op_case);

// Standard normal, f64.
Tensor random_tensor(const Shape& shape, Random& random);
// 0 .. bound-1, i64.
Tensor random_ids(const Shape& shape, int64_t bound, Random& random);
// False and true, one as likely as the other.
Tensor random_booleans(const Shape& shape, Random& random);

}  // namespace phasor
