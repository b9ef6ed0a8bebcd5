// Rows of a table by id.
#include "core/ops/embedding.hpp"

#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

const Tensor& table() {
  static const Tensor t = Tensor::of<float>({3, 2}, {0, 1, 10, 11, 20, 21});
  return t;
}

}  // namespace

TEST_CASE("embedding: op case") {
  check_op({.op = "embedding",
            .run = [](const Tensors& x) { return embedding(x[0], x[1]); },
            .reference = [](const Tensors& x) { return reference::embedding(x[0], x[1]); },
            .differentiable = [](const std::vector<Var>& x) { return embedding(x[0], x[1].value()); },
            .samples = {{[](Extents e, Random& random) {
                           return Tensors{random_tensor({7, e.width}, random), random_ids({e.rows, 2}, 7, random)};
                         },
                         {{0, any_axis}, {1, any_axis}}}},
            .refuses = {{[] {
                           embedding(table(), Tensor::of<int64_t>({2, 2}, {0, 1, 3, 0}));
                         },
                         "id 3 at index [1, 0]"},
                        {[] { embedding(table(), Tensor::of<int32_t>({1}, {-1})); }, "id -1"},
                        {[] { embedding(table().select(0, 0), Tensor::of<int32_t>({1}, {0})); }, "[rows, width]"}},
            .empty = {{0, 5}, {3, 0}}});
}

TEST_CASE("embedding: i32 ids, a single id, a repeated id") {
  CHECK(embedding(table(), Tensor::of<int32_t>({}, {2})).shape() == Shape{2});
  CHECK(embedding(table(), Tensor::of<int32_t>({3}, {2, 0, 2})).to_vector<float>() ==
        std::vector<float>{20, 21, 0, 1, 20, 21});
  const Tensor dy = Tensor::of<float>({3, 2}, {1, 2, 4, 8, 16, 32});
  CHECK(embedding_backward(3, Tensor::of<int32_t>({3}, {2, 0, 2}), dy).to_vector<float>() ==
        std::vector<float>{4, 8, 0, 0, 17, 34});
}

TEST_CASE("embedding_backward: refuses gradients that do not fit the ids") {
  const Tensor ids = Tensor::of<int32_t>({3}, {2, 0, 2});
  CHECK_THROWS_AS(embedding_backward(3, ids, Tensor::zeros({2, 2}, Dtype::f32)), ShapeError);
  CHECK_THROWS_AS(embedding_backward(2, ids, Tensor::zeros({3, 2}, Dtype::f32)), ValueError);
}
