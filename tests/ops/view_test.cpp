// The ops without arithmetic, as functions of Vars: their gradients move the numbers back.
#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

// y[index] = x[place(index)], in row-major order of y.
Tensor gathered(const Tensor& x, const Shape& shape, const std::function<int64_t(int64_t)>& place) {
  const std::vector<double> values = x.to(Dtype::f64).to_vector<double>();
  std::vector<double> y(static_cast<size_t>(shape.size()));
  for (int64_t i = 0; i < shape.size(); ++i) y[i] = values[place(i)];
  return Tensor::of<double>(shape, y).to(x.dtype());
}

Tensors matrix(Extents e, Random& random) { return {random_tensor({e.rows, e.width}, random)}; }

}  // namespace

TEST_CASE("reshape: op case") {
  check_op({.op = "reshape",
            .run = [](const Tensors& x) { return x[0].reshape({x[0].size()}); },
            .reference = [](const Tensors& x) { return gathered(x[0], {x[0].size()}, [](int64_t i) { return i; }); },
            .differentiable = [](const std::vector<Var>& x) { return reshape(x[0], {x[0].size()}); },
            .samples = {{matrix, {{0, any_axis}}}},
            .refuses = {{[] {
                           reshape(Tensor::zeros({2, 3}, Dtype::f32), {7});
                         },
                         "[7] has 7"}},
            .empty = {{0, 5}, {3, 0}},
            .takes_any_dtype = true,
            .is_parallel = false});
}

TEST_CASE("transpose: op case") {
  const auto reference = [](const Tensors& x) {
    const int64_t rows = x[0].extent(0), columns = x[0].extent(1);
    return gathered(x[0], {columns, rows}, [=](int64_t i) { return i % rows * columns + i / rows; });
  };
  check_op({.op = "transpose",
            .run = [](const Tensors& x) { return x[0].transpose(0, -1); },
            .reference = reference,
            .differentiable = [](const std::vector<Var>& x) { return transpose(x[0], 0, -1); },
            .samples = {{matrix, {{0, any_axis}}}},
            .refuses = {{[] {
                           transpose(Tensor::zeros({2, 3}, Dtype::f32), 0, 2);
                         },
                         "axis 2"}},
            .empty = {{0, 5}, {3, 0}},
            .takes_any_dtype = true,
            .is_parallel = false});
}

TEST_CASE("slice: op case") {
  const auto reference = [](const Tensors& x) {
    const int64_t columns = x[0].extent(1);
    return gathered(x[0], {1, columns}, [=](int64_t i) { return columns + i; });
  };
  check_op({.op = "slice",
            .run = [](const Tensors& x) { return x[0].slice(0, 1, 2); },
            .reference = reference,
            .differentiable = [](const std::vector<Var>& x) { return slice(x[0], 0, 1, 2); },
            .samples = {{matrix, {{0, any_axis}}}},
            .refuses = {{[] {
                           slice(Tensor::zeros({2, 3}, Dtype::f32), 1, 2, 4);
                         },
                         "outside axis 1"},
                        {[] {
                           slice(Tensor::zeros({2, 3}, Dtype::f32), 1, 2, 1);
                         },
                         "[2, 1)"},
                        {[] {
                           slice(Tensor::zeros({2, 3}, Dtype::f32), 1, -1, 1);
                         },
                         "[-1, 1)"}},
            .empty = {{3, 0}},
            .takes_one_element = false,
            .takes_any_dtype = true,
            .is_parallel = false});
}

TEST_CASE("broadcast_to: op case") {
  const auto sample = [](Extents e, Random& random) { return Tensors{random_tensor({e.rows, 1, e.width}, random)}; };
  const auto reference = [](const Tensors& x) {
    const int64_t rows = x[0].extent(0), columns = x[0].extent(2);
    return gathered(x[0], {2, rows, 4, columns},
                    [=](int64_t i) { return i / (4 * columns) % rows * columns + i % columns; });
  };
  check_op({.op = "broadcast_to",
            .run =
                [](const Tensors& x) {
                  return x[0].broadcast_to({2, x[0].extent(0), 4, x[0].extent(2)});
                },
            .reference = reference,
            .differentiable =
                [](const std::vector<Var>& x) {
                  return broadcast_to(x[0], {2, x[0].extent(0), 4, x[0].extent(2)});
                },
            .samples = {{sample, {{0, 0}, {0, 2}}}},
            .refuses = {{[] {
                           broadcast_to(Tensor::zeros({2, 3}, Dtype::f32), {3});
                         },
                         "does not broadcast"}},
            .empty = {{0, 5}, {3, 0}},
            .takes_any_dtype = true,
            .is_parallel = false});
}

TEST_CASE("cast: op case, to f64 and back") {
  const auto there_and_back = [](const Var& x) { return cast(cast(x, Dtype::f64), x.dtype()); };
  check_op({.op = "cast",
            .run = [=](const Tensors& x) { return there_and_back(x[0]).value(); },
            .reference = [](const Tensors& x) { return x[0]; },
            .differentiable = [=](const std::vector<Var>& x) { return there_and_back(x[0]); },
            .samples = {{matrix, {{0, any_axis}}}},
            .refuses = {{[] { cast(Tensor::zeros({2}, Dtype::f32), Dtype::i32); }, "asked for is i32"}},
            .empty = {{0, 5}, {3, 0}},
            .is_parallel = false});
}

TEST_CASE("cast: rounds once, and the gradient comes back in the dtype of the input") {
  const Var x = Var::leaf(Tensor::of<double>({2}, {1.0 / 3, 1 + 0x1p-30}));
  const Var y = cast(x, Dtype::f32);
  CHECK(y.value().to_vector<float>() == std::vector<float>{1.0f / 3, 1.0f});
  const Gradients gradients = backward(y, Tensor::of<float>({2}, {0.1f, 2}));
  CHECK(gradients[x].dtype() == Dtype::f64);
  CHECK(gradients[x].to_vector<double>() == std::vector<double>{0.1f, 2});
}

TEST_CASE("views: values share memory, and a gradient through overlapping slices adds up") {
  const Var x = Var::leaf(Tensor::of<double>({4}, {1, 2, 3, 4}));
  const Var low = slice(x, 0, 0, 3), high = slice(x, 0, 1, 4);
  CHECK(low.value().shares_storage(x.value()));
  CHECK(reshape(x, {2, 2}).value().shares_storage(x.value()));
  CHECK(backward(sum(low * high))[x].to_vector<double>() == std::vector<double>{2, 4, 6, 3});
}
