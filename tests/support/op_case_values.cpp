// Values and gradients of an op: in both dtypes, in every layout, and for tensors of few elements or none.
#include <cmath>
#include <sstream>

#include "autograd/gradcheck.hpp"
#include "autograd/ops.hpp"
#include "core/simd.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_checks.hpp"

namespace phasor {
namespace {

Tensors wide(Tensors arguments) {
  for (Tensor& argument : arguments)
    if (is_float(argument.dtype())) argument = argument.to(Dtype::f64);
  return arguments;
}

bool is_finite(const Tensor& t) {
  if (!is_float(t.dtype())) return true;
  for (const double value : t.to(Dtype::f64).to_vector<double>())
    if (!std::isfinite(value)) return false;
  return true;
}

int64_t lanes(Dtype dtype) { return dtype == Dtype::f32 ? simd::lanes<float> : simd::lanes<double>; }

std::vector<int64_t> widths_around_lanes(Dtype dtype) {
  const int64_t n = lanes(dtype);
  return {1, n - 1, n, n + 1, 3 * n + 2, 4 * n - 1, 4 * n + 1};  // kernels unroll by four vectors
}

int64_t largest_size(const Tensors& arguments) {
  int64_t largest = 1;
  for (const Tensor& argument : arguments) largest = std::max(largest, argument.size());
  return largest;
}

// The op with the sum of every argument added. A single element may have a gradient of 0 that is a difference of terms
// which cancel (attention with one key): what rounding leaves of it has nothing of its own to be measured against. The
// slope of 1 gives it a size.
OpCase with_slope(const OpCase& op_case) {
  OpCase result = op_case;
  result.differentiable = [f = op_case.differentiable](const std::vector<Var>& x) {
    Var y = f(x);
    for (const Var& argument : x)
      if (is_float(argument.dtype())) y = y + sum(argument);
    return y;
  };
  return result;
}

class Values {
 public:
  explicit Values(const SampleCheck& check) : check_(check), case_(check.op_case), complaints_(check.complaints) {}

  void run() {
    const SmallExtents small = small_extents(case_, check_.sample);
    for (const Dtype dtype : {Dtype::f64, Dtype::f32}) {
      for (const int64_t width : widths_around_lanes(dtype)) {
        complaints_.attempt([&] { values({3, width}, dtype); });
        if (case_.differentiable) complaints_.attempt([&] { gradient_layouts(case_, {2, width}, dtype); });
      }
      for (const Extents extents : small.taken) {
        complaints_.attempt([&] { values(extents, dtype); });
        if (case_.differentiable)
          complaints_.attempt(
              [&] { gradient_layouts(extents.width == 1 ? with_slope(case_) : case_, extents, dtype); });
      }
    }
    if (!case_.differentiable) return;
    for (const int64_t width : {int64_t{1}, int64_t{3}, lanes(Dtype::f64) + 1})
      complaints_.attempt([&] { gradients(case_, {2, width}); });
    if (case_.takes_one_element) complaints_.attempt([&] { gradients(with_slope(case_), {1, 1}); });
  }

 private:
  double value_limit(const Tensors& arguments, Dtype dtype, const Tensor& expected) {
    const int64_t terms = longest_axis(arguments);
    if (dtype == Dtype::f64 || expected.size() == 0) return tolerance::f64(terms);
    return tolerance::f32(terms, relative_error(case_.reference(arguments), expected));
  }

  void values(Extents extents, Dtype dtype) {
    const Tensors arguments = check_.made(extents, dtype);
    const std::string where = describe(arguments);
    const Tensor expected = case_.reference(wide(arguments));
    const Dtype result = is_float(expected.dtype()) ? dtype : expected.dtype();  // comparisons, ids
    const double limit = value_limit(arguments, dtype, expected);
    // Placed before anything has run: an op that writes to its arguments would spoil the comparison too.
    const std::vector<Placed> guarded = all_placed(arguments, Placement::guarded);
    const std::vector<Placed> untouched = all_placed(arguments, Placement::guarded);
    const Tensor y = case_.run(arguments);
    complaints_.expect(mismatch(y, result, expected, limit), "values of" + where);
    if (!is_finite(y)) complaints_.add("values of", where, ": not finite");
    if (case_.differentiable)
      complaints_.expect(bit_mismatch(case_.differentiable({arguments.begin(), arguments.end()}).value(), y),
                         "the op of autograd, compared with the op of core, for" + where);

    complaints_.expect(bit_mismatch(case_.run(values_of(guarded)), y), "NaN around" + where);
    for (size_t i = 0; i < guarded.size(); ++i)
      complaints_.expect(bit_mismatch(guarded[i].block, untouched[i].block),
                         "argument " + std::to_string(i) + " was written to, of" + where);

    // All arguments placed alike, then each alone: a kernel may take its path from the first argument's strides.
    for (const Placement placement : strided_placements) {
      for (int only = arguments.size() > 1 ? -1 : 0; only < static_cast<int>(arguments.size()); ++only) {
        Tensors strided = values_of(all_placed(arguments, only < 0 ? placement : Placement::contiguous));
        if (only >= 0) strided[only] = placed(arguments[only], placement).value;
        std::ostringstream what;
        what << (only < 0 ? "all arguments " : "argument " + std::to_string(only) + ' ') << placement << ", of"
             << where;
        complaints_.expect(mismatch(case_.run(strided), result, expected, limit), what.str());
      }
    }
  }

  void gradients(const OpCase& op_case, Extents extents) {
    const Tensors arguments = check_.made(extents, Dtype::f64);
    const GradcheckResult result = gradcheck(op_case.differentiable, arguments);
    if (!(result.worst <= case_.gradient_limit))
      complaints_.add("gradient,", describe(arguments), ": ", result.message);
  }

  // Gradients of any layout, in either dtype, against the plain f64 ones, which gradients() holds against differences.
  void gradient_layouts(const OpCase& op_case, Extents extents, Dtype dtype) {
    const Tensors arguments = check_.made(extents, dtype);
    const Tensors expected = gradients_of(op_case, wide(arguments), cotangent);
    const int64_t terms = largest_size(arguments);
    const double limit = dtype == Dtype::f64 ? tolerance::f64(terms) : tolerance::f32_gradient(terms);
    const auto compare = [&](const Tensors& got, Placement placement) {
      for (size_t i = 0; i < got.size(); ++i) {
        if (!expected[i].defined()) continue;
        std::ostringstream what;
        what << "gradient of argument " << i << ", " << placement << ", of" << describe(arguments);
        complaints_.expect(mismatch(got[i], dtype, expected[i], limit), what.str());
        // Without elements in the result there is nothing to hold the plain gradients against but this.
        if (no_result(arguments))
          complaints_.expect(mismatch(got[i], dtype, Tensor::zeros(arguments[i].shape(), Dtype::f64), 0), what.str());
      }
    };
    compare(gradients_of(op_case, arguments, cotangent), Placement::contiguous);
    for (const Placement placement : strided_placements)
      compare(gradients_of(op_case, values_of(all_placed(arguments, placement)),
                           [&](const Tensor& output) { return placed(cotangent(output), placement).value; }),
              placement);
  }

  bool no_result(const Tensors& arguments) { return case_.reference(arguments).size() == 0; }

  const SampleCheck& check_;
  const OpCase& case_;
  Complaints& complaints_;
};

}  // namespace

void check_values(const SampleCheck& check) { Values(check).run(); }

}  // namespace phasor
