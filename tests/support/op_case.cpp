#include "tests/support/op_case.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>

#include "core/device.hpp"
#include "tests/support/op_checks.hpp"

namespace phasor {

Tensors SampleCheck::made(Extents extents, Dtype dtype) const {
  Random random{.seed = 7};
  Tensors arguments = sample.make(extents, random);
  for (Tensor& argument : arguments)
    if (is_float(argument.dtype())) argument = argument.to(dtype);
  return arguments;
}

SmallExtents small_extents(const OpCase& op_case, const Sample& sample) {
  const std::vector<Extents>& claimed = sample.empty ? *sample.empty : op_case.empty;
  const auto find = [&](Extents like) {
    return std::find_if(claimed.begin(), claimed.end(), [&](Extents extents) {
      return (extents.rows == 0) == (like.rows == 0) && (extents.width == 0) == (like.width == 0);
    });
  };
  SmallExtents small;
  for (const Extents extents : {Extents{0, 5}, Extents{3, 0}, Extents{0, 0}}) {
    if (const auto found = find(extents); found != claimed.end())
      small.taken.push_back(*found);
    else if (extents.rows == 0 && extents.width == 0 && small.refused.empty())
      small.taken.push_back(extents);
    else
      small.refused.push_back(extents);
  }
  (op_case.takes_one_element ? small.taken : small.refused).push_back({1, 1});
  return small;
}

std::string describe(const Tensors& arguments) {
  std::ostringstream out;
  for (const Tensor& argument : arguments) out << ' ' << argument.shape() << ' ' << argument.dtype();
  return out.str();
}

int64_t longest_axis(const Tensors& arguments) {
  int64_t longest = 1;
  for (const Tensor& argument : arguments)
    for (const int64_t extent : argument.shape()) longest = std::max(longest, extent);
  return longest;
}

Tensors gradients_of(const OpCase& op_case, const Tensors& arguments,
                     const std::function<Tensor(const Tensor& output)>& cotangent_for) {
  std::vector<Var> variables;
  for (const Tensor& argument : arguments)
    variables.push_back(is_float(argument.dtype()) ? Var::leaf(argument) : Var(argument));
  const Var output = op_case.differentiable(variables);
  const Gradients of = output.needs_gradient() ? backward(output, cotangent_for(output.value())) : Gradients();
  Tensors result;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!is_float(arguments[i].dtype()))
      result.emplace_back();
    else
      result.push_back(of.has(variables[i]) ? of[variables[i]]
                                            : Tensor::zeros(arguments[i].shape(), arguments[i].dtype()));
  }
  return result;
}

Tensor cotangent(const Tensor& output) {
  Random random{.seed = 11};
  return normal(output.shape(), 0, 1, Dtype::f32, random).to(output.dtype());
}

std::vector<std::string> complaints(const OpCase& op_case) {
  Complaints found(op_case.op);
  for (size_t i = 0; i < op_case.samples.size(); ++i) {
    found.set_context("sample " + std::to_string(i));
    const SampleCheck check{op_case, op_case.samples[i], found};
    if (has_device(Device::cuda)) {
      found.attempt([&] { check_on_gpu(check); });
      continue;
    }
    check_values(check);
    if (op_case.is_parallel) found.attempt([&] { check_threads(check); });
    found.attempt([&] { check_refusals(check); });
  }
  if (has_device(Device::cuda)) return found.take();
  found.set_context("refuses");
  if (op_case.samples.empty()) found.add("the case has no sample");
  for (const Refusal& refusal : op_case.refuses) found.must_throw(refusal.says, refusal.call, {refusal.says});
  return found.take();
}

void check_op(const OpCase& op_case) {
  const std::vector<std::string> wrong = complaints(op_case);
  for (const std::string& complaint : wrong) FAIL_CHECK(complaint);
  CHECK(wrong.empty());
}

Tensor random_tensor(const Shape& shape, Random& random) { return normal(shape, 0, 1, Dtype::f64, random); }

Tensor random_ids(const Shape& shape, int64_t bound, Random& random) {
  std::vector<int64_t> ids(static_cast<size_t>(shape.size()));
  for (int64_t& id : ids) id = random.below(bound);
  return Tensor::of<int64_t>(shape, ids);
}

Tensor random_booleans(const Shape& shape, Random& random) {
  const Tensor t = Tensor::empty(shape, Dtype::boolean);
  for (int64_t i = 0; i < t.size(); ++i) t.data<bool>()[i] = random.uniform() < 0.5;
  return t;
}

}  // namespace phasor
