// Choice by a condition.
#include "core/ops/where.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/ops.hpp"
#include "core/ops/compare.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// A sample's condition arrives as ids: 0 is false.
Tensor condition_of(const Tensor& ids) { return not_equal(ids, Tensor::scalar(0, ids.dtype())); }

Tensor flags(const Shape& shape, uint64_t seed) {
  Random random{.seed = seed};
  return condition_of(random_ids(shape, 2, random));
}

}  // namespace

TEST_CASE("where: op case") {
  const Tensor x = Tensor::zeros({4, 3}, Dtype::f32), narrow = Tensor::zeros({2, 3}, Dtype::f32);
  const Tensor yes = Tensor::full({4, 3}, 1, Dtype::boolean);
  check_op(
      {.op = "where",
       .run = [](const Tensors& in) { return where(condition_of(in[0]), in[1], in[2]); },
       .reference = [](const Tensors& in) { return reference::where(condition_of(in[0]), in[1], in[2]); },
       .differentiable = [](const std::vector<Var>& in) { return where(condition_of(in[0].value()), in[1], in[2]); },
       .samples =
           {{[](Extents e, Random& random) {
              const Shape shape{e.rows, e.width};
              return Tensors{random_ids(shape, 2, random), random_tensor(shape, random), random_tensor(shape, random)};
            }},
            {[](Extents e, Random& random) {
               return Tensors{random_ids({e.width}, 2, random), random_tensor({e.rows, 1}, random),
                              random_tensor({2, 1, e.width}, random)};
             },
             {{1, 0}, {2, 0}}},
            {[](Extents e, Random& random) {
               return Tensors{random_ids({e.rows, 1}, 2, random), random_tensor({}, random),
                              random_tensor({e.rows, e.width}, random)};
             },
             {{2, 1}}},
            {[](Extents e, Random& random) {
              return Tensors{random_ids({e.rows, e.width}, 2, random), random_tensor({e.rows, e.width}, random),
                             random_tensor({}, random)};
            }}},
       .refuses = {{[=] { where(x, x, x); }, "condition is f32; needs boolean"},
                   {[=] {
                      where(yes, x, Tensor::zeros({4, 3}, Dtype::f64));
                    },
                    "a is f32, b is f64"},
                   {[=] { where(yes, x, narrow); },
                    "condition is [4, 3], a is [4, 3], b is [2, 3]; axis -2 is 4 and 2"},
                   {[=] { where(yes, narrow, x); }, "a is [2, 3]"},
                   {[=] { where(yes, Tensor::scalar(0, Dtype::f32), narrow); }, "b is [2, 3]"}},
       .empty = {{0, 5}, {3, 0}},
       .takes_any_dtype = true});  // of a and b; the condition's dtype is refused above
}

TEST_CASE("where: every dtype of the branches, bit by bit") {
  const Tensor condition = flags({4, 19}, 1);
  for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::i32, Dtype::i64, Dtype::boolean}) {
    CAPTURE(static_cast<int>(dtype));
    Random random{.seed = 3};
    const Tensor a = random_ids({4, 19}, 2, random).to(dtype), b = random_ids({4, 19}, 2, random).to(dtype);
    CHECK(bit_mismatch(where(condition, a, b), reference::where(condition, a, b)) == "");
    CHECK(bit_mismatch(where(condition, a, b.select(0, 0)), reference::where(condition, a, b.select(0, 0))) == "");
  }
  const int64_t large = (int64_t{1} << 60) + 1;
  const Tensor chosen = where(Tensor::of<bool>({2}, {true, false}), Tensor::of<int64_t>({1}, {large}),
                              Tensor::of<int64_t>({1}, {-large}));
  CHECK(chosen.to_vector<int64_t>() == std::vector<int64_t>{large, -large});
  CHECK(
      std::signbit(where(Tensor::of<bool>({}, {true}), Tensor::scalar(-0.0, Dtype::f64), Tensor::scalar(1, Dtype::f64))
                       .item<double>()));
}

TEST_CASE("where: the condition may be permuted, gapped, spread or broadcast") {
  Random random{.seed = 5};
  const Tensor a = random_tensor({6, 35}, random), b = random_tensor({6, 35}, random);
  const Tensor block = flags({40, 9, 2}, 2);
  const std::vector<Tensor> conditions = {
      block.slice(0, 3, 38).slice(1, 1, 7).select(2, 1).transpose(0, 1),
      block.reshape({9, 80}).slice(0, 2, 8).slice(1, 5, 40), block.select(1, 0).select(1, 0).slice(0, 0, 35),
      block.select(0, 0).select(1, 1).slice(0, 0, 6).unsqueeze(1), block.select(0, 0).select(0, 0).select(0, 0)};
  for (const Tensor& condition : conditions) {
    const Tensor plain = reference::where(condition.broadcast_to({6, 35}).clone(), a, b);
    CHECK(bit_mismatch(where(condition, a, b).contiguous(), plain) == "");
    const Tensor turned = a.transpose(0, 1).clone().transpose(0, 1);
    CHECK(bit_mismatch(where(condition, turned, b).contiguous(), plain) == "");
    CHECK(bit_mismatch(where(condition.broadcast_to({6, 35}).transpose(0, 1), a.transpose(0, 1), b.transpose(0, 1))
                           .transpose(0, 1)
                           .contiguous(),
                       plain) == "");
  }
}

TEST_CASE("where: the result keeps the order of axes in memory") {
  Random random;
  const Tensor x = random_tensor({4, 6}, random).transpose(0, 1);
  const Tensor number = Tensor::scalar(0, Dtype::f64), condition = Tensor::full({6, 4}, 1, Dtype::boolean);
  CHECK(where(condition, x, number).stride(0) == 1);
  CHECK(where(condition, number, x).stride(0) == 1);
}

TEST_CASE("where: what is not chosen reaches neither value nor gradient") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    const auto values = [](const Tensor& t) { return t.to(Dtype::f64).to_vector<double>(); };
    const Tensor condition = Tensor::of<bool>({4}, {true, false, true, false});
    const Var a = Var::leaf(Tensor::of<double>({4}, {1, not_a_number, 3, infinity}).to(dtype));
    const Var b = Var::leaf(Tensor::of<double>({4}, {not_a_number, 6, -infinity, 8}).to(dtype));
    const Var y = where(condition, a, b);
    CHECK(values(y.value()) == std::vector<double>{1, 6, 3, 8});
    const Gradients gradients = backward(sum(y * y));
    CHECK(values(gradients[a]) == std::vector<double>{2, 0, 6, 0});
    CHECK(values(gradients[b]) == std::vector<double>{0, 12, 0, 16});
    // An infinite gradient stays on its side.
    const Tensor dy = Tensor::of<double>({4}, {infinity, 1, not_a_number, infinity}).to(dtype);
    const Gradients wild = backward(where(condition, a, b), dy);
    CHECK(values(wild[b]) == std::vector<double>{0, 1, 0, infinity});
    CHECK(values(wild[a])[3] == 0);
  }
}

TEST_CASE("where: one number as a branch, and a branch that needs no gradient") {
  const Var x = Var::leaf(Tensor::of<double>({5}, {-2, -1, 0, 1, 2}));
  const Var zero = Tensor::scalar(0, Dtype::f64), number = Var::leaf(Tensor::scalar(7, Dtype::f64));
  const Tensor positive = greater(x.value(), zero.value());
  CHECK(backward(sum(where(positive, x, zero)))[x].to_vector<double>() == std::vector<double>{0, 0, 0, 1, 1});
  const Gradients gradients = backward(sum(where(positive, x, number)));
  CHECK(gradients[x].to_vector<double>() == std::vector<double>{0, 0, 0, 1, 1});
  CHECK(gradients[number].item<double>() == 3);
}
