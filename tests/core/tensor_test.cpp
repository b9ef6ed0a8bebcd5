// Tensors: what is a view, what is a copy, and what is refused.
#include "core/tensor.hpp"

#include <doctest/doctest.h>

#include "core/error.hpp"
#include "core/random.hpp"

using namespace phasor;

namespace {

// 0 1 2 ... in row-major order.
Tensor counting(const Shape& shape) {
  std::vector<int64_t> values(static_cast<size_t>(shape.size()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int64_t>(i);
  return Tensor::of<int64_t>(shape, values);
}

std::vector<int64_t> values(const Tensor& t) { return t.to_vector<int64_t>(); }

using Values = std::vector<int64_t>;

}  // namespace

TEST_CASE("tensor: new blocks hold what their name says") {
  CHECK_FALSE(Tensor().defined());
  CHECK(Tensor::zeros({2, 2}, Dtype::i64).to_vector<int64_t>() == Values{0, 0, 0, 0});
  CHECK(Tensor::full({2}, 2.5, Dtype::f32).to_vector<float>() == std::vector<float>{2.5f, 2.5f});
  CHECK(Tensor::scalar(3, Dtype::f64).item<double>() == 3);
  CHECK(Tensor::of<bool>({2}, {true, false}).to_vector<bool>() == std::vector<bool>{true, false});
  CHECK(Tensor::of<int32_t>({0, 3}, {}).size() == 0);
  CHECK_THROWS_AS(Tensor::of<float>({2, 2}, {1, 2, 3}), ShapeError);
  CHECK_THROWS_AS(Tensor::empty({2}, Dtype::f32, Device::cuda), DeviceError);
  CHECK_THROWS_AS(Tensor::empty({int64_t{1} << 62}, Dtype::f64), ResourceError);
}

TEST_CASE("tensor: views share memory, and writes through one reach the others") {
  const Tensor x = counting({2, 3, 4});
  const Tensor turned = x.transpose(0, -1), part = x.slice(1, 1, 3), row = x.select(1, -1 + 3);
  CHECK(turned.shape() == Shape{4, 3, 2});
  CHECK(values(turned.slice(0, 0, 1)) == Values{0, 12, 4, 16, 8, 20});
  CHECK(values(part) == Values{4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 20, 21, 22, 23});
  CHECK(values(row) == Values{8, 9, 10, 11, 20, 21, 22, 23});
  for (const Tensor& view : {turned, part, row}) CHECK(view.shares_storage(x));
  fill(x.select(0, 1).select(0, 2), -1);
  CHECK(values(row) == Values{8, 9, 10, 11, -1, -1, -1, -1});
  CHECK(values(turned.select(2, 1).select(1, 2)) == Values{-1, -1, -1, -1});
}

TEST_CASE("tensor: permute, squeeze, unsqueeze") {
  const Tensor x = counting({2, 3, 4});
  const Tensor p = x.permute({2, 0, -2});
  CHECK(p.shape() == Shape{4, 2, 3});
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 2; ++j)
      for (int64_t k = 0; k < 3; ++k) CHECK(p.view<int64_t>()(i, j, k) == x.view<int64_t>()(j, k, i));
  CHECK(x.unsqueeze(1).shape() == Shape{2, 1, 3, 4});
  CHECK(x.unsqueeze(-1).shape() == Shape{2, 3, 4, 1});
  CHECK(values(x.unsqueeze(-1).squeeze(3)) == values(x));
  CHECK_THROWS_AS(x.squeeze(0), ShapeError);
  CHECK_THROWS_AS(x.permute({0, 1}), ShapeError);
  CHECK_THROWS_AS(x.permute({0, 1, 1}), ShapeError);
  CHECK_THROWS_AS(x.permute({0, 1, -2}), ShapeError);
  CHECK_THROWS_AS(x.unsqueeze(4), ShapeError);
}

TEST_CASE("tensor: broadcast_to repeats without memory") {
  const Tensor x = counting({3, 1});
  const Tensor y = x.broadcast_to({2, 3, 2});
  CHECK(values(y) == Values{0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2});
  CHECK(y.shares_storage(x));
  CHECK(y.strides()[0] == 0);
  CHECK(y.stride(-1) == 0);
  CHECK_FALSE(y.is_contiguous());
  CHECK(values(y.clone()) == values(y));
  CHECK_THROWS_AS(x.broadcast_to({2, 2}), ShapeError);
  CHECK_THROWS_AS(x.broadcast_to({3}), ShapeError);
}

TEST_CASE("tensor: reshape is a view exactly where strides can say it") {
  struct Case {
    Tensor x;
    Shape shape;
    bool is_view;
  };
  const Tensor x = counting({4, 6});
  const std::vector<Case> cases = {
      {x, {24}, true},
      {x, {2, 2, 3, 2}, true},
      {x, {1, 24, 1}, true},
      {x, {3, 8}, true},
      {x.transpose(0, 1), {24}, false},
      {x.transpose(0, 1), {2, 3, 2, 2}, true},  // each axis is cut on its own
      {x.transpose(0, 1), {6, 1, 4}, true},
      {x.transpose(0, 1), {3, 8}, false},
      {x.slice(1, 0, 4), {16}, false},  // a gap between the rows
      {x.slice(1, 0, 4), {4, 2, 2}, true},
      {x.slice(1, 0, 4), {2, 2, 4}, true},
      {x.slice(0, 1, 3), {12}, true},
      {x.slice(1, 2, 3), {4}, true},  // one column
      {x.slice(1, 2, 3), {2, 2}, true},
      {x.slice(0, 1, 2), {6}, true},
      {counting({6}).broadcast_to({4, 6}), {24}, false},
      {counting({6}).broadcast_to({4, 6}), {2, 2, 6}, true},
      {counting({2, 3, 4}).transpose(0, 1), {3, 8}, false},
      {counting({2, 3, 4}).transpose(1, 2), {8, 3}, false},
      {counting({2, 3, 4}).transpose(1, 2), {2, 2, 2, 3}, true},
      {counting({}), {1, 1}, true},
      {counting({1, 1}), {}, true},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    const Tensor y = cases[i].x.reshape(cases[i].shape);
    CHECK(y.shape() == cases[i].shape);
    CHECK(values(y) == values(cases[i].x));
    CHECK(y.shares_storage(cases[i].x) == cases[i].is_view);
  }
  CHECK(counting({0, 3}).reshape({5, 0}).shape() == Shape{5, 0});
  CHECK_THROWS_AS(x.reshape({5, 5}), ShapeError);
}

TEST_CASE("tensor: random reshapes of random views keep the elements") {
  Random random{.seed = 2};
  const std::vector<Shape> shapes = {{24},      {2, 12},      {12, 2},      {2, 3, 4},         {4, 3, 2},
                                     {1, 6, 4}, {2, 2, 3, 2}, {3, 1, 2, 4}, {2, 1, 2, 1, 3, 2}};
  for (int round = 0; round < 300; ++round) {
    Tensor x = counting(shapes[random.below(static_cast<int64_t>(shapes.size()))]);
    for (int step = 0; step < 3; ++step) {
      x = x.transpose(static_cast<int>(random.below(x.rank())), static_cast<int>(random.below(x.rank())));
      const std::vector<int64_t> before = values(x);
      x = x.reshape(shapes[random.below(static_cast<int64_t>(shapes.size()))]);
      REQUIRE(values(x) == before);
    }
  }
}

TEST_CASE("tensor: contiguous, clone and to copy only when they must") {
  const Tensor x = counting({2, 3});
  CHECK(x.contiguous().shares_storage(x));
  CHECK_FALSE(x.clone().shares_storage(x));
  const Tensor turned = x.transpose(0, 1).contiguous();
  CHECK_FALSE(turned.shares_storage(x));
  CHECK(turned.is_contiguous());
  CHECK(values(turned) == Values{0, 3, 1, 4, 2, 5});
  CHECK(x.to(Dtype::i64).shares_storage(x));
  CHECK(x.transpose(0, 1).to(Dtype::f32).to_vector<float>() == std::vector<float>{0, 3, 1, 4, 2, 5});
  CHECK(Tensor::of<double>({3}, {1.9, -1.9, 0.0}).to(Dtype::i32).to_vector<int32_t>() ==
        std::vector<int32_t>{1, -1, 0});
  CHECK(counting({1, 3}).transpose(0, 1).is_contiguous());
  CHECK(counting({0, 3}).transpose(0, 1).is_contiguous());
}

TEST_CASE("tensor: empty_like keeps the order of axes without gaps") {
  const Tensor x = counting({2, 3, 5}).transpose(0, 2).slice(0, 1, 4);
  const Tensor y = Tensor::empty_like(x);
  CHECK(y.shape() == Shape{3, 3, 2});
  CHECK(y.stride(0) == 1);
  CHECK(y.stride(1) == 3);
  CHECK(y.stride(2) == 9);
  CHECK_FALSE(y.shares_storage(x));
}

TEST_CASE("tensor: access checks dtype, axes and counts") {
  const Tensor x = counting({2, 3});
  CHECK_THROWS_AS(x.data<float>(), DtypeError);
  CHECK_THROWS_AS(Tensor().data<float>(), DtypeError);
  CHECK_THROWS_AS(x.item<int64_t>(), ShapeError);
  CHECK(x.select(0, 1).select(0, 2).item<int64_t>() == 5);
  CHECK_THROWS_AS(x.slice(2, 0, 1), ShapeError);
  CHECK_THROWS_AS(x.slice(1, 2, 1), ShapeError);
  CHECK_THROWS_AS(x.slice(1, 0, 4), ShapeError);
  CHECK_THROWS_AS(x.select(0, 2), ShapeError);
  CHECK_THROWS_AS(x.transpose(0, 2), ShapeError);
  CHECK_THROWS_AS(copy_into(x, counting({3, 2})), ShapeError);
  CHECK_THROWS_WITH_AS(x.slice(1, 2, 5), doctest::Contains("slice: [2, 5) is outside axis 1 of [2, 3]"), ShapeError);
}

TEST_CASE("tensor: copy_into between layouts and dtypes, on more than one tile") {
  const int64_t rows = 300, columns = 257;
  const Tensor x = counting({rows, columns}), y = Tensor::empty({columns, rows}, Dtype::f64);
  copy_into(y.transpose(0, 1), x);
  for (const auto& [i, j] : {std::pair<int64_t, int64_t>{0, 0}, {299, 256}, {17, 201}, {256, 3}})
    CHECK(y.view<double>()(j, i) == static_cast<double>(i * columns + j));
  CHECK(y.transpose(0, 1).to(Dtype::i64).to_vector<int64_t>() == values(x));
}
