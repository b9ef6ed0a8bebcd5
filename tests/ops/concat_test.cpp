// Joining along an axis and along a new one.
#include "core/ops/concat.hpp"

#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

// y[index] = the number that `pick` finds for the index [i, j, k] of a rank-3 result.
Tensor by_index(const Shape& shape, Dtype dtype, const std::function<double(int64_t, int64_t, int64_t)>& pick) {
  std::vector<double> values;
  for (int64_t i = 0; i < shape[0]; ++i)
    for (int64_t j = 0; j < shape[1]; ++j)
      for (int64_t k = 0; k < shape[2]; ++k) values.push_back(pick(i, j, k));
  return Tensor::of<double>(shape, values).to(dtype);
}

double at(const Tensor& x, int64_t i, int64_t j, int64_t k) {
  return x.select(0, i).select(0, j).select(0, k).to(Dtype::f64).item<double>();
}

// Rank 3, so that there is an axis before and one behind.
Tensors two_parts(Extents e, Random& random) {
  return {random_tensor({2, e.rows, e.width}, random), random_tensor({2, e.rows, e.width}, random)};
}

Tensors two_lengths(Extents e, Random& random) {
  return {random_tensor({2, e.rows, e.width}, random), random_tensor({2, 2, e.width}, random)};
}

Tensor zeros(const Shape& shape) { return Tensor::zeros(shape, Dtype::f32); }

// Leaves [1] of the numbers 1, 2, ...
std::vector<Var> numbered_leaves(int count) {
  std::vector<Var> leaves;
  for (int i = 1; i <= count; ++i) leaves.push_back(Var::leaf(Tensor::full({1}, i, Dtype::f64)));
  return leaves;
}

}  // namespace

TEST_CASE("concat: op case") {
  // The first part stands at both ends: its gradient comes from two places.
  const auto parts = [](const auto& x) { return std::vector{x[0], x[1], x[0]}; };
  check_op({.op = "concat",
            .run = [=](const Tensors& x) { return concat(parts(x), 1); },
            .reference =
                [](const Tensors& x) {
                  const int64_t n = x[0].extent(1), m = x[1].extent(1);
                  return by_index(x[0].shape().with(1, 2 * n + m), x[0].dtype(), [&](int64_t i, int64_t j, int64_t k) {
                    return j < n ? at(x[0], i, j, k) : j < n + m ? at(x[1], i, j - n, k) : at(x[0], i, j - n - m, k);
                  });
                },
            .differentiable = [=](const std::vector<Var>& x) { return concat(parts(x), -2); },
            .samples = {{two_lengths, {{0, 1}, {1, 1}}}},
            .refuses = {{[] { concat(Tensors{}, 0); }, "no parts"},
                        {[] { concat({Tensor::scalar(1, Dtype::f32)}, 0); }, "part 0 is a scalar"},
                        {[] {
                           concat({zeros({2, 3})}, 2);
                         },
                         "axis 2 is outside part 0, which is [2, 3]"},
                        {[] {
                           concat({zeros({2, 3})}, -3);
                         },
                         "axis -3 is outside part 0, which is [2, 3]"},
                        {[] {
                           concat({zeros({2, 3}), zeros({3, 3}), zeros({4, 2})}, 0);
                         },
                         "part 2 is [4, 2], part 0 is [2, 3]; axis 1"},
                        {[] {
                           concat({zeros({2, 3}), zeros({2, 3, 1})}, 0);
                         },
                         "part 1 is [2, 3, 1]"},
                        {[] {
                           concat({zeros({2}), Tensor::zeros({2}, Dtype::i32)}, 0);
                         },
                         "part 1 is i32"}},
            .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("stack: op case") {
  const auto parts = [](const auto& x) { return std::vector{x[0], x[1]}; };
  const auto reference = [](int axis) {
    return [axis](const Tensors& x) {
      const Tensor y = Tensor::empty(x[0].shape().insert(axis, 2), x[0].dtype());
      for (int i = 0; i < 2; ++i) copy_into(y.select(axis, i), x[i]);
      return y;
    };
  };
  for (const int axis : {0, 2, -1})
    check_op({.op = "stack",
              .run = [=](const Tensors& x) { return stack(parts(x), axis); },
              .reference = reference(axis),
              .differentiable = [=](const std::vector<Var>& x) { return stack(parts(x), axis); },
              .samples = {{two_parts}},
              .refuses = {{[] { stack(Tensors{}, 0); }, "no parts"},
                          {[] {
                             stack({zeros({2, 3})}, 3);
                           },
                           "axis 3 is outside the result of parts [2, 3]"},
                          {[] {
                             stack({zeros({2, 3})}, -4);
                           },
                           "axis -4"},
                          {[] {
                             stack({zeros({1, 1, 1, 1, 1, 1})}, 0);
                           },
                           "part 0 is [1, 1, 1, 1, 1, 1]"},
                          {[] {
                             stack({zeros({2, 3}), zeros({2, 4})}, 0);
                           },
                           "part 1 is [2, 4], part 0 is [2, 3]"}},
              .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("concat: one part gives a copy, and parts may be empty along the axis") {
  const Tensor x = Tensor::of<float>({2, 2}, {1, 2, 3, 4});
  const Tensor copy = concat({x}, 0);
  CHECK(bit_mismatch(copy, x) == "");
  CHECK_FALSE(copy.shares_storage(x));
  CHECK(bit_mismatch(concat({zeros({2, 0}), x, zeros({2, 0})}, -1), x) == "");
  CHECK(concat({zeros({0, 3}), zeros({0, 3})}, 0).shape() == Shape{0, 3});
  CHECK(concat({zeros({0, 3}), zeros({0, 3})}, 1).shape() == Shape{0, 6});

  const Var leaf = Var::leaf(zeros({2, 0})), other = Var::leaf(x);
  const Gradients gradients = backward(concat({leaf, other}, 1), x);
  CHECK(gradients[leaf].shape() == Shape{2, 0});
  CHECK(bit_mismatch(gradients[other], x) == "");
}

TEST_CASE("concat and stack: any dtype") {
  const Tensor yes = Tensor::of<bool>({2}, {true, false}), no = Tensor::of<bool>({1}, {false});
  CHECK(concat({yes, no, yes}, 0).to_vector<bool>() == std::vector<bool>{true, false, false, true, false});
  constexpr int64_t large = int64_t{1} << 62 | 1;  // no double holds it
  const Tensor ids = Tensor::of<int64_t>({2}, {large, -large});
  CHECK(stack({ids, ids}, 1).to_vector<int64_t>() == std::vector<int64_t>{large, large, -large, -large});
  const Tensor words = Tensor::of<int32_t>({1}, {7});
  CHECK(stack({words, words}, 0).to_vector<int32_t>() == std::vector<int32_t>{7, 7});
  CHECK(stack({Tensor::scalar(1, Dtype::f32), Tensor::scalar(2, Dtype::f32)}, -1).to_vector<float>() ==
        std::vector<float>{1, 2});
}

TEST_CASE("concat and stack: more than 64 parts, of which some are constants") {
  constexpr int count = 200;
  for (const bool stacked : {false, true}) {
    std::vector<Var> parts = numbered_leaves(count);
    for (int i = 0; i < count; i += 3) parts[i] = parts[i].value();
    const Var y = stacked ? stack(parts, 0) : concat(parts, 0);
    std::vector<double> cotangent;
    for (int i = 0; i < count; ++i) cotangent.push_back(1000 + i);
    const Gradients gradients = backward(y, Tensor::of<double>(y.shape(), cotangent));
    for (int i = 0; i < count; ++i) {
      CHECK(y.value().to_vector<double>()[i] == i + 1);
      if (i % 3 == 0) continue;
      CHECK(gradients[parts[i]].to_vector<double>() == std::vector<double>{1000.0 + i});
    }
  }
}

TEST_CASE("concat: one leaf many times gets the sum, and its gradients before it are not changed") {
  const Var x = Var::leaf(Tensor::of<double>({1}, {2}));
  const Var all = concat(std::vector<Var>(100, x), 0);
  std::vector<double> cotangent(100);
  for (int i = 0; i < 100; ++i) cotangent[i] = i;
  const Tensor given = Tensor::of<double>({100}, cotangent);
  CHECK(backward(all, given)[x].item<double>() == 4950);
  CHECK(given.to_vector<double>() == cotangent);
}
