// gradcheck: compares a derivative rule with central differences. For whoever writes an op or an encoding.
//
//   const GradcheckResult result = gradcheck([](const std::vector<Var>& x) { return softmax(x[0]); }, {points});
//   CHECK_MESSAGE(result.worst <= 1e-8, result.message);
//
// The loss is sum(output * cotangent) with a random cotangent. sum(output) would not do: the sum of a softmax is
// constant, so a rule that returns zero would pass.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/var.hpp"

namespace phasor {

struct GradcheckOptions {
  uint64_t seed = 1;   // of the cotangents and directions
  int cotangents = 2;  // how many random cotangents are tried
  // Of inputs of at most this many elements every element is moved; larger ones: random directions.
  int64_t elementwise_up_to = 512;
  int directions = 8;  // per cotangent, for larger inputs
};

struct GradcheckResult {
  // Largest |numeric - analytic| / scale, where scale is the largest gradient of that input (elements that should be 0
  // are measured against their neighbours). A difference within the rounding of the outputs counts as 0; NaN or
  // infinity anywhere gives infinity.
  double worst = 0;
  std::string message;  // which input and element, got, expected
};

// Inputs that are f64 are checked; others (f32, ids) are passed as constants. The step is cbrt(epsilon) * max(1, |x|).
GradcheckResult gradcheck(const std::function<Var(const std::vector<Var>&)>& f, const std::vector<Tensor>& inputs,
                          const GradcheckOptions& options = {});

// The same for leaves that f reads, such as a model's parameters (f64): they are moved, and hold their values again
// afterwards.
//   gradcheck([&] { return model.logits(ids); }, {parameters["encoding.slope"]});
GradcheckResult gradcheck(const std::function<Var()>& f, const std::vector<Var>& leaves,
                          const GradcheckOptions& options = {});

}  // namespace phasor
