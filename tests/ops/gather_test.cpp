// Choices by ids and the sums that are their gradients.
#include "core/ops/gather.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "core/parallel.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

Tensor zeros(const Shape& shape, Dtype dtype = Dtype::f32) { return Tensor::zeros(shape, dtype); }
Tensor ids_of(const Shape& shape, const std::vector<int64_t>& values) { return Tensor::of<int64_t>(shape, values); }

// No ids where there is nothing to choose from.
int64_t count_of(int64_t count, int64_t bound) { return bound == 0 ? 0 : count; }

// x [2, rows, width] and two more ids than there are elements along the axis, 1 or 2.
Sample gather_sample(int axis) {
  return {[axis](Extents e, Random& random) {
            const Shape shape{2, e.rows, e.width};
            const Shape ids = shape.with(axis, count_of(shape[axis] + 2, shape[axis]));
            return Tensors{random_tensor(shape, random), random_ids(ids, shape[axis], random)};
          },
          {{0, axis}, {1, axis}}};
}

// x, ids, and a source of the shape of ids.
Sample scatter_sample(int axis) {
  return {[axis](Extents e, Random& random) {
            Tensors sample = gather_sample(axis).make(e, random);
            sample.push_back(random_tensor(sample[1].shape(), random));
            return sample;
          },
          {{0, axis}}};
}

Sample select_sample(int axis) {
  std::vector<ArgumentAxis> free_axes = {{0, any_axis}, {1, 0}};
  return {[axis](Extents e, Random& random) {
            const Shape shape{2, e.rows, e.width};
            return Tensors{random_tensor(shape, random), random_ids({count_of(7, shape[axis])}, shape[axis], random)};
          },
          free_axes};
}

}  // namespace

TEST_CASE("gather: op case") {
  for (const int axis : {1, 2})
    check_op({.op = "gather",
              .run = [=](const Tensors& x) { return gather(x[0], axis, x[1]); },
              .reference = [=](const Tensors& x) { return reference::gather(x[0], axis, x[1]); },
              .differentiable = [=](const std::vector<Var>& x) { return gather(x[0], axis - 3, x[1].value()); },
              .samples = {gather_sample(axis)},
              .refuses = {{[] {
                             gather(zeros({2, 3}), 2, ids_of({2, 3}, {0, 0, 0, 0, 0, 0}));
                           },
                           "axis 2 is outside x, which is [2, 3]"},
                          {[] {
                             gather(zeros({2, 3}), 1, ids_of({2}, {0, 0}));
                           },
                           "ids is [2], x is [2, 3]"},
                          {[] {
                             gather(zeros({2, 3}), 1, ids_of({1, 3}, {0, 0, 0}));
                           },
                           "axis 0 must agree"},
                          {[] {
                             gather(zeros({2, 3}), 1, ids_of({2, 2}, {0, 2, 3, 9}));
                           },
                           "id 3 at index [1, 0] of [2, 2]"},
                          {[] {
                             gather(zeros({2, 3}), 0, ids_of({2, 3}, {0, 1, 0, 1, 0, -1}));
                           },
                           "id -1 at index [1, 2]"}},
              .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("scatter_add: op case") {
  for (const int axis : {1, 2})
    check_op(
        {.op = "scatter_add",
         .run = [=](const Tensors& x) { return scatter_add(x[0], axis, x[1], x[2]); },
         .reference = [=](const Tensors& x) { return reference::scatter_add(x[0], axis, x[1], x[2]); },
         .differentiable = [=](const std::vector<Var>& x) { return scatter_add(x[0], axis - 3, x[1].value(), x[2]); },
         .samples = {scatter_sample(axis)},
         .refuses = {{[] {
                        scatter_add(zeros({3}), 0, ids_of({2}, {0, 3}), zeros({2}));
                      },
                      "id 3 at index [1]"},
                     {[] {
                        scatter_add(zeros({3}), 0, ids_of({2}, {0, 1}), zeros({3}));
                      },
                      "ids is [2], source is [3]"},
                     {[] {
                        scatter_add(zeros({3}), 1, ids_of({2}, {0, 1}), zeros({2}));
                      },
                      "axis 1 is outside x, which is [3]"}},
         .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("index_select: op case") {
  for (const int axis : {0, 1, 2})
    check_op({.op = "index_select",
              .run = [=](const Tensors& x) { return index_select(x[0], axis, x[1]); },
              .reference = [=](const Tensors& x) { return reference::index_select(x[0], axis, x[1]); },
              .differentiable = [=](const std::vector<Var>& x) { return index_select(x[0], axis - 3, x[1].value()); },
              .samples = {select_sample(axis)},
              .refuses = {{[] {
                             index_select(zeros({2, 3}), -3, ids_of({1}, {0}));
                           },
                           "axis -3 is outside x"},
                          {[] {
                             index_select(zeros({2, 3}), 0, ids_of({1, 1}, {0}));
                           },
                           "ids is [1, 1]; needs [n]"},
                          {[] {
                             index_select(zeros({2, 3}), 0, ids_of({3}, {0, 1, 2}));
                           },
                           "id 2 at index [2]"}},
              .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("gather, scatter_add, index_select: by hand, with i32 ids") {
  const Tensor x = Tensor::of<float>({2, 3}, {0, 1, 2, 10, 11, 12});
  const Tensor ids = Tensor::of<int32_t>({2, 2}, {2, 0, 1, 1});
  CHECK(gather(x, 1, ids).to_vector<float>() == std::vector<float>{2, 0, 11, 11});
  CHECK(gather(x, 0, Tensor::of<int32_t>({1, 3}, {1, 0, 1})).to_vector<float>() == std::vector<float>{10, 1, 12});
  const Tensor source = Tensor::of<float>({2, 2}, {100, 200, 300, 400});
  CHECK(scatter_add(x, 1, ids, source).to_vector<float>() == std::vector<float>{200, 1, 102, 10, 711, 12});
  CHECK(x.to_vector<float>() == std::vector<float>{0, 1, 2, 10, 11, 12});
  CHECK(index_select(x, 1, Tensor::of<int32_t>({4}, {2, 2, 0, 1})).to_vector<float>() ==
        std::vector<float>{2, 2, 0, 1, 12, 12, 10, 11});
  CHECK(gather_backward(3, 1, ids, source).to_vector<float>() == std::vector<float>{200, 0, 100, 0, 700, 0});
  CHECK(index_select_backward(3, 0, Tensor::of<int32_t>({2}, {2, 2}), source).to_vector<float>() ==
        std::vector<float>{0, 0, 0, 0, 400, 600});
}

TEST_CASE("gather: ids of any strides, a broadcast id and a broadcast tensor") {
  const Tensor x = Tensor::of<double>({2, 3}, {0, 1, 2, 10, 11, 12});
  const Tensor one_id = ids_of({1, 1}, {2}).broadcast_to({2, 3});
  CHECK(gather(x, 1, one_id).to_vector<double>() == std::vector<double>{2, 2, 2, 12, 12, 12});
  CHECK(gather(x, 0, ids_of({1, 1}, {1}).broadcast_to({1, 3})).to_vector<double>() == std::vector<double>{10, 11, 12});
  CHECK(gather(x.slice(0, 1, 2).broadcast_to({4, 3}), 1, ids_of({4, 1}, {0, 1, 2, 0})).to_vector<double>() ==
        std::vector<double>{10, 11, 12, 10});
  const Tensor dy = Tensor::full({2, 3}, 1, Dtype::f64);
  CHECK(gather_backward(3, 1, one_id, dy).to_vector<double>() == std::vector<double>{0, 0, 3, 0, 0, 3});
}

TEST_CASE("scatter_add: additions come in the order of ids, after the element itself") {
  // In any other order the small numbers would survive, or the large ones not cancel.
  for (const int64_t inner : {int64_t{1}, int64_t{40}}) {
    const Tensor x = Tensor::full({1, inner}, 1, Dtype::f32);
    const Tensor column = Tensor::of<float>({4, 1}, {1e8f, 1, -1e8f, 1}).broadcast_to({4, inner});
    const Tensor ids = ids_of({4}, {0, 0, 0, 0});
    const Tensor wide_ids = ids.unsqueeze(1).broadcast_to({4, inner});
    for (const float y : scatter_add(x, 0, wide_ids, column).to_vector<float>()) CHECK(y == 1);
    for (const float y : gather_backward(1, 0, wide_ids, column).to_vector<float>()) CHECK(y == 1);
    for (const float y : index_select_backward(1, 0, ids, column).to_vector<float>()) CHECK(y == 1);
    for (const float y : index_select_backward(1, 1, ids, column.transpose(0, 1)).to_vector<float>()) CHECK(y == 1);
  }
}

TEST_CASE("index_select_backward: many rows for few ids and few for many, at every axis, as scatter_add") {
  Random random{.seed = 5};
  for (const int64_t extent : {int64_t{2}, int64_t{300}})
    for (const int axis : {0, 1, 2}) {
      const Tensor dy = random_tensor(Shape{9, 9, 70}.with(axis, 50), random);
      const Tensor ids = random_ids({50}, extent, random);
      Shape wide{1, 1, 1};
      wide = wide.with(axis, 50);
      const Tensor expected = reference::scatter_add(Tensor::zeros(dy.shape().with(axis, extent), Dtype::f64), axis,
                                                     ids.reshape(wide).broadcast_to(dy.shape()), dy);
      CHECK(bit_mismatch(index_select_backward(extent, axis, ids, dy), expected) == "");
    }
}

TEST_CASE("gather and scatter_add: NaN and infinity move alone") {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const Tensor x = Tensor::of<double>({3}, {nan, infinity, 1});
  const std::vector<double> y = gather(x, 0, ids_of({3}, {2, 1, 0})).to_vector<double>();
  CHECK((y[0] == 1 && y[1] == infinity && std::isnan(y[2])));
  const std::vector<double> sum = scatter_add(zeros({3}, Dtype::f64), 0, ids_of({3}, {2, 2, 0}), x).to_vector<double>();
  CHECK((sum[0] == 1 && sum[1] == 0 && std::isnan(sum[2])));
}

TEST_CASE("gather, index_select: the first bad id of many is named, for any number of threads") {
  constexpr int64_t many = 300000;
  std::vector<int64_t> values(many, 1);
  for (int64_t i = 150000; i < many; i += 7) values[i] = i;
  for (const int threads : {1, 8})
    with_threads(threads, [&] {
      CHECK_THROWS_WITH_AS(index_select(zeros({2, 1}), 0, ids_of({many}, values)),
                           doctest::Contains("index_select: id 150000 at index [150000] of [300000]"), ValueError);
    });
}

TEST_CASE("gather_backward, index_select_backward: refuse what does not fit") {
  const Tensor ids = ids_of({2}, {0, 2});
  CHECK_THROWS_AS(gather_backward(3, 1, ids, zeros({2})), ShapeError);
  CHECK_THROWS_AS(gather_backward(-1, 0, ids, zeros({2})), ShapeError);
  CHECK_THROWS_AS(gather_backward(3, 0, ids, zeros({3})), ShapeError);
  CHECK_THROWS_AS(gather_backward(2, 0, ids, zeros({2})), ValueError);
  CHECK_THROWS_AS(gather_backward(3, 0, ids, zeros({2}, Dtype::i64)), DtypeError);
  CHECK_THROWS_AS(index_select_backward(3, 1, ids, zeros({2})), ShapeError);
  CHECK_THROWS_AS(index_select_backward(-1, 0, ids, zeros({2})), ShapeError);
  CHECK_THROWS_AS(index_select_backward(3, 0, ids, zeros({3, 64})), ShapeError);
  CHECK_THROWS_AS(index_select_backward(3, 0, ids.unsqueeze(0), zeros({2, 64})), ShapeError);
  CHECK_THROWS_AS(index_select_backward(2, 0, ids, zeros({2, 64})), ValueError);
  CHECK_THROWS_AS(index_select_backward(2, 0, ids, zeros({2, 1})), ValueError);
  CHECK_THROWS_AS(index_select_backward(3, 0, ids, zeros({2, 64}, Dtype::i64)), DtypeError);
}

TEST_CASE("one_hot: a 1 at each id, of any dtype, ids of any strides, many rows, no rows") {
  CHECK(one_hot(ids_of({3}, {1, 0, 1}), 2, Dtype::f32).to_vector<float>() == std::vector<float>{0, 1, 1, 0, 0, 1});
  CHECK(one_hot(Tensor::of<int32_t>({}, {2}), 3, Dtype::boolean).to_vector<bool>() ==
        std::vector<bool>{false, false, true});
  const Tensor turned = ids_of({2, 3}, {0, 1, 2, 3, 4, 5}).transpose(0, 1);
  const Tensor y = one_hot(turned, 6, Dtype::i64);
  CHECK(y.shape() == Shape{3, 2, 6});
  const std::vector<int64_t> order = {0, 3, 1, 4, 2, 5};
  for (int64_t i = 0; i < 6; ++i)
    for (int64_t j = 0; j < 6; ++j) CHECK(y.reshape({6, 6}).view<int64_t>()(i, j) == (j == order[i] ? 1 : 0));
  CHECK(one_hot(ids_of({0}, {}), 4, Dtype::f64).shape() == Shape{0, 4});
  CHECK(one_hot(ids_of({0}, {}), 0, Dtype::f64).shape() == Shape{0, 0});

  Random random{.seed = 9};
  const Tensor many = random_ids({1000}, 90, random);
  const Tensor rows = one_hot(many, 90, Dtype::f64);
  const Tensor identity = one_hot(ids_of({2}, {0, 1}), 2, Dtype::f64);
  CHECK(identity.to_vector<double>() == std::vector<double>{1, 0, 0, 1});
  for (int64_t i = 0; i < 1000; ++i)
    for (int64_t j = 0; j < 90; ++j) REQUIRE(rows.view<double>()(i, j) == (j == many.view<int64_t>()(i) ? 1 : 0));
}

TEST_CASE("one_hot: refuses ids outside, a negative number of classes, and a rank that has no room") {
  CHECK_THROWS_WITH_AS(one_hot(ids_of({2}, {0, 2}), 2, Dtype::f32), doctest::Contains("one_hot: id 2 at index [1]"),
                       ValueError);
  CHECK_THROWS_AS(one_hot(ids_of({1}, {0}), -1, Dtype::f32), ValueError);
  CHECK_THROWS_AS(one_hot(ids_of({1, 1, 1, 1, 1, 1}, {0}), 1, Dtype::f32), ShapeError);
  CHECK_THROWS_AS(one_hot(zeros({2}), 2, Dtype::f32), DtypeError);
}
