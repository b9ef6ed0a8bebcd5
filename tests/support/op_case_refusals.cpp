// Arguments that do not fit: each must be refused by an error that names the op and shows what came.
#include <sstream>

#include "tests/support/comparison.hpp"
#include "tests/support/op_checks.hpp"

namespace phasor {
namespace {

template <class T>
std::string printed(const T& value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

bool is_free(const Sample& sample, int argument, int axis, int rank) {
  for (const ArgumentAxis& free : sample.free_axes)
    if (free.argument == argument && (free.axis == any_axis || (free.axis + rank) % rank == axis)) return true;
  return false;
}

// x with its first slice along `axis` once more behind its last.
Tensor enlarged(const Tensor& x, int axis) {
  const int64_t extent = x.extent(axis);
  const Tensor y = Tensor::empty(x.shape().with(axis, extent + 1), x.dtype());
  copy_into(y.slice(axis, 0, extent), x);
  copy_into(y.slice(axis, extent, extent + 1), x.slice(axis, 0, 1));
  return y;
}

// Both the op of core and that of autograd.
void must_refuse(const SampleCheck& check, const std::string& what, const Tensors& arguments,
                 const std::vector<std::string>& says) {
  check.complaints.must_throw(
      what, [&] { check.op_case.run(arguments); }, says);
  if (check.op_case.differentiable)
    check.complaints.must_throw(
        "autograd, " + what,
        [&] {
          check.op_case.differentiable({arguments.begin(), arguments.end()});
        },
        says);
}

void check_enlarged(const SampleCheck& check) {
  const Tensors arguments = check.made({4, 5}, Dtype::f64);
  for (int argument = 0; argument < static_cast<int>(arguments.size()); ++argument) {
    const Tensor& x = arguments[argument];
    for (int axis = 0; axis < x.rank(); ++axis) {
      Tensors changed = arguments;
      changed[argument] = enlarged(x, axis);
      const std::string what = "argument " + std::to_string(argument) + " enlarged on axis " + std::to_string(axis) +
                               "," + describe(changed);
      if (is_free(check.sample, argument, axis, x.rank()))
        check.complaints.attempt([&] {
          const Tensor expected = check.op_case.reference(changed);
          check.complaints.expect(
              mismatch(check.op_case.run(changed), expected.dtype(), expected, tolerance::f64(longest_axis(changed))),
              what);
        });
      else
        must_refuse(check, what, changed, {printed(changed[argument].shape())});
    }
  }
}

// An error says what came as `got i64` or `x is i64`; that f32 or f64 is needed is not enough.
void check_wrong_dtypes(const SampleCheck& check) {
  const Tensors arguments = check.made({4, 5}, Dtype::f64);
  int floats = 0;
  for (const Tensor& argument : arguments) floats += is_float(argument.dtype());
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Dtype own = arguments[i].dtype();
    std::vector<Dtype> wrong = {own == Dtype::boolean ? Dtype::i64 : Dtype::boolean,
                                is_float(own) ? Dtype::i64 : Dtype::f64};
    if (is_float(own) && floats > 1) wrong.push_back(Dtype::f32);
    for (const Dtype dtype : wrong) {
      Tensors changed = arguments;
      changed[i] = changed[i].to(dtype);
      must_refuse(check, "dtypes" + describe(changed), changed, {"got " + printed(dtype), "is " + printed(dtype)});
    }
  }
}

// Extents of 0 and 1 that the case does not claim to take.
void check_small(const SampleCheck& check) {
  for (const Extents extents : small_extents(check.op_case, check.sample).refused) {
    const Tensors arguments = check.made(extents, Dtype::f64);
    must_refuse(check, "few elements," + describe(arguments) + ", which the case does not claim to take", arguments,
                {""});
  }
}

}  // namespace

void check_refusals(const SampleCheck& check) {
  check.complaints.attempt([&] { check_enlarged(check); });
  check.complaints.attempt([&] { check_small(check); });
  if (!check.op_case.takes_any_dtype) check.complaints.attempt([&] { check_wrong_dtypes(check); });
}

}  // namespace phasor
