// Shapes: extents, overflow, broadcasting.
#include "core/shape.hpp"

#include <doctest/doctest.h>

#include <sstream>

#include "core/error.hpp"

using namespace phasor;

TEST_CASE("shape: extents, size and text") {
  const Shape shape{2, 3, 4};
  CHECK(shape.rank() == 3);
  CHECK(shape.size() == 24);
  CHECK(shape[-1] == 4);
  CHECK(shape[0] == 2);
  CHECK(Shape{}.size() == 1);
  CHECK(Shape{}.rank() == 0);
  CHECK(Shape{5, 0, 7}.size() == 0);
  CHECK(shape == Shape{2, 3, 4});
  CHECK_FALSE(shape == Shape{2, 3});
  CHECK_FALSE(Shape{1} == Shape{});
  std::ostringstream out;
  out << shape << Shape{};
  CHECK(out.str() == "[2, 3, 4][]");
}

TEST_CASE("shape: axes replaced, removed, added") {
  const Shape shape{2, 3, 4};
  CHECK(shape.with(-1, 9) == Shape{2, 3, 9});
  CHECK(shape.without(1) == Shape{2, 4});
  CHECK(shape.insert(0, 7) == Shape{7, 2, 3, 4});
  CHECK(shape.insert(-1, 7) == Shape{2, 3, 4, 7});
  CHECK(shape.insert(2, 7) == Shape{2, 3, 7, 4});
  CHECK_THROWS_AS(shape.with(3, 1), ShapeError);
  CHECK_THROWS_AS(shape.without(-4), ShapeError);
  CHECK_THROWS_AS((Shape{1, 1, 1, 1, 1, 1}.insert(0, 1)), ShapeError);
}

TEST_CASE("shape: refuses negative extents, too many axes, more elements than can be counted") {
  CHECK_THROWS_AS((Shape{2, -1}), ShapeError);
  CHECK_THROWS_AS((Shape{1, 1, 1, 1, 1, 1, 1}), ShapeError);
  const int64_t large = int64_t{1} << 32;
  CHECK_THROWS_AS((Shape{large, large}), ShapeError);
  CHECK_THROWS_AS((Shape{large, large, large, large}), ShapeError);
  CHECK((Shape{large, large / 4}.size()) == int64_t{1} << 62);
  CHECK_THROWS_AS((Shape{large, 0, large}), ShapeError);  // its strides would not fit
  CHECK((Shape{large, 0, 3}.size()) == 0);
}

TEST_CASE("shape: broadcasting follows numpy's rule") {
  CHECK(broadcast_shape("add", {4, 1, 3}, {2, 1}) == Shape{4, 2, 3});
  CHECK(broadcast_shape("add", {}, {2, 3}) == Shape{2, 3});
  CHECK(broadcast_shape("add", {1}, {0}) == Shape{0});
  CHECK_THROWS_WITH_AS(broadcast_shape("add", {4, 3}, {2, 3}),
                       doctest::Contains("add: cannot broadcast [4, 3] with [2, 3]: axis 0 is 4 and 2, neither is 1"),
                       ShapeError);
  CHECK_THROWS_AS(broadcast_shape("add", {2}, {0}), ShapeError);
}

TEST_CASE("shape: strides of a block, and axes counted from the end") {
  const Strides strides = contiguous_strides({2, 3, 4});
  CHECK(strides[0] == 12);
  CHECK(strides[1] == 4);
  CHECK(strides[2] == 1);
  CHECK(strides[3] == 0);
  CHECK(normalized_axis("sum", -1, 3) == 2);
  CHECK_THROWS_WITH_AS(normalized_axis("softmax", 3, 2),
                       doctest::Contains("softmax: axis 3 is outside a tensor of rank 2"), ShapeError);
}
