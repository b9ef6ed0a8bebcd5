// Properties of sums and products: element by element, over axes, and of matrices, whatever the shapes and strides.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/matmul.hpp"
#include "core/ops/reduce.hpp"
#include "core/ops/softmax.hpp"
#include "core/ops/unary.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/property.hpp"
#include "tests/support/tolerance.hpp"

using namespace phasor;

namespace {

using Index = std::vector<int64_t>;

struct Pair {
  Tensor a, b;
};

Pair any_broadcasting_pair(Dtype dtype) {
  const Shape whole = *any_shape();
  return {*any_tensor(*any_shape_broadcasting_to(whole), dtype), *any_tensor(*any_shape_broadcasting_to(whole), dtype)};
}

// x at an index of the shape it is broadcast to: axes are aligned at the last.
double stretched(const Tensor& x, const Index& index) {
  Index place(static_cast<size_t>(x.rank()));
  for (int axis = 1; axis <= x.rank(); ++axis)
    place[x.rank() - axis] = x.extent(-axis) == 1 ? 0 : index[index.size() - axis];
  return element(x, place);
}

double limit_for(Dtype dtype, int64_t terms) {
  return dtype == Dtype::f64 ? tolerance::f64(terms) : tolerance::f32(terms, 0);
}

}  // namespace

TEST_CASE("properties of arithmetic: add and mul commute bit for bit") {
  check_property([] {
    const auto [a, b] = any_broadcasting_pair(*any_float());
    must_be_empty(bit_mismatch(add(a, b), add(b, a)));
    must_be_empty(bit_mismatch(mul(a, b), mul(b, a)));
  });
}

TEST_CASE("properties of arithmetic: any two shapes broadcast as numpy says, or not at all") {
  check_property([] {
    const auto [a, b] = any_broadcasting_pair(Dtype::f64);
    const Tensor y = sub(a, b);
    RC_ASSERT(y.rank() == std::max(a.rank(), b.rank()));
    for (int axis = 1; axis <= y.rank(); ++axis) {
      const int64_t of_a = axis <= a.rank() ? a.extent(-axis) : 1, of_b = axis <= b.rank() ? b.extent(-axis) : 1;
      RC_ASSERT(y.extent(-axis) == (of_a == 1 ? of_b : of_a));
    }
    for_each_index(y.shape(), [&](const Index& index) {
      RC_ASSERT(element(y, index) == stretched(a, index) - stretched(b, index));
    });
  });
  check_property([] {
    const Tensor a = *any_tensor(*any_shape(), Dtype::f64), b = *any_tensor(*any_shape(), Dtype::f64);
    bool fits = true;
    for (int axis = 1; axis <= std::min(a.rank(), b.rank()); ++axis)
      fits = fits && (a.extent(-axis) == b.extent(-axis) || a.extent(-axis) == 1 || b.extent(-axis) == 1);
    if (fits)
      RC_ASSERT(mul(a, b).rank() == std::max(a.rank(), b.rank()));
    else
      RC_ASSERT_THROWS_AS(mul(a, b), ShapeError);
  });
}

TEST_CASE("properties of arithmetic: a sum does not care where its axes stand") {
  check_property([] {
    const Dtype dtype = *any_float();
    const Tensor x = *any_tensor(*any_shape(1), dtype);
    const std::vector<int> axes = *any_axes(x.rank()), order = *any_order(x.rank());
    RC_PRE(!axes.empty());  // none given means all
    std::vector<int> moved;
    for (int axis = 0; axis < x.rank(); ++axis)
      if (std::find(axes.begin(), axes.end(), order[axis]) != axes.end()) moved.push_back(axis);
    const Tensor y = permuted(sum(x, axes), order), of_permuted = sum(permuted(x, order), moved);
    const Tensor magnitude = permuted(sum(sqrt(mul(x, x)), axes), order);
    RC_ASSERT(y.shape() == of_permuted.shape());
    for_each_index(y.shape(), [&](const Index& index) {
      const double limit = limit_for(dtype, x.size()) * element(magnitude, index);
      RC_ASSERT(std::abs(element(y, index) - element(of_permuted, index)) <= limit);
    });
  });
}

TEST_CASE("properties of arithmetic: a sum over axes is the sum of the slices") {
  check_property([] {
    const Tensor x = *any_tensor(*any_shape(1), Dtype::f64);
    const int axis = *from_to(0, x.rank() - 1);
    const Tensor y = sum(x, {axis});
    for_each_index(y.shape(), [&](Index index) {
      double total = 0, magnitude = 0;
      for (index[axis] = 0; index[axis] < x.extent(axis); ++index[axis]) {
        total += element(x, index);
        magnitude += std::abs(element(x, index));
      }
      index[axis] = 0;
      RC_ASSERT(std::abs(element(y, index) - total) <= tolerance::f64(x.extent(axis)) * magnitude);
    });
  });
}

TEST_CASE("properties of matmul: the naive sum, for any batch, shape and strides") {
  check_property([] {
    const Dtype dtype = *any_float();
    const Shape batch = *any_shape(0, max_rank - 2);
    const int64_t m = *from_to<int64_t>(0, 9), n = *from_to<int64_t>(0, 9), k = *from_to<int64_t>(0, 20);
    const auto operand = [&](int64_t rows, int64_t columns) {
      const Shape leading = *any_shape_broadcasting_to(batch);
      return *any_tensor(leading.insert(-1, rows).insert(-1, columns), dtype);
    };
    const Tensor a = operand(m, k), b = operand(k, n), y = matmul(a, b);
    const int last = y.rank() - 1;
    for_each_index(y.shape(), [&](const Index& index) {
      double total = 0, magnitude = 0;
      for (int64_t p = 0; p < k; ++p) {
        Index at_a = index, at_b = index;
        at_a[last] = p;
        at_b[last - 1] = p;
        const double term = stretched(a, at_a) * stretched(b, at_b);
        total += term;
        magnitude += std::abs(term);
      }
      RC_ASSERT(std::abs(element(y, index) - total) <= limit_for(dtype, k) * magnitude);
    });
  });
}

TEST_CASE("properties of softmax: a number added to a row changes nothing, and a row sums to 1") {
  check_property([] {
    const Tensor x = *any_tensor(*any_shape(1), Dtype::f64);
    RC_PRE(x.extent(-1) > 0);
    const Tensor shift = *any_tensor(x.shape().with(-1, 1), Dtype::f64), y = softmax(x);
    // x + shift is rounded, and e^x with it.
    must_be_empty(mismatch(softmax(add(x, shift)), Dtype::f64, y, tolerance::f64(16)));
    must_be_empty(mismatch(sum(y, {-1}), Dtype::f64, Tensor::full(shift.shape(), 1, Dtype::f64), tolerance::f64(8)));
  });
}
