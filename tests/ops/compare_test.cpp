// Comparisons: values, NaN, broadcasting, strides, threads, errors. check_op is for ops that return their own dtype.
#include "core/ops/compare.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/parallel.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

using Comparison = Tensor (*)(const Tensor&, const Tensor&);
using Flags = std::vector<bool>;

struct Named {
  const char* op;
  Comparison run;
  bool (*holds)(double, double);
};
const Named comparisons[] = {
    {"equal", equal, [](double a, double b) { return a == b; }},
    {"not_equal", not_equal, [](double a, double b) { return a != b; }},
    {"less", less, [](double a, double b) { return a < b; }},
    {"less_equal", less_equal, [](double a, double b) { return a <= b; }},
    {"greater", greater, [](double a, double b) { return a > b; }},
    {"greater_equal", greater_equal, [](double a, double b) { return a >= b; }},
};
constexpr Dtype number_dtypes[] = {Dtype::f32, Dtype::f64, Dtype::i32, Dtype::i64};

// -3 .. 3, so that equal pairs are frequent.
Tensor small_integers(const Shape& shape, Dtype dtype, uint64_t seed) {
  Random random{.seed = seed};
  const std::vector<int64_t> ids = random_ids(shape, 7, random).to_vector<int64_t>();
  std::vector<double> values(ids.begin(), ids.end());
  for (double& value : values) value -= 3;
  return Tensor::of<double>(shape, values).to(dtype);
}

Flags flags_of(const Tensor& t) {
  CHECK(t.dtype() == Dtype::boolean);
  return t.to_vector<bool>();
}

// Compares the row-major elements, for operands of one shape.
Flags expected(const Named& comparison, const Tensor& a, const Tensor& b) {
  const std::vector<double> va = a.to(Dtype::f64).to_vector<double>(), vb = b.to(Dtype::f64).to_vector<double>();
  Flags flags;
  for (size_t i = 0; i < va.size(); ++i) flags.push_back(comparison.holds(va[i], vb[i]));
  return flags;
}

}  // namespace

TEST_CASE("compare: every comparison, dtype and width around the vectors") {
  for (const Named& comparison : comparisons)
    for (const Dtype dtype : number_dtypes)
      for (const int64_t width : {0, 1, 7, 8, 15, 16, 17, 31, 33, 64, 67, 200}) {
        CAPTURE(comparison.op);
        CAPTURE(static_cast<int>(dtype));
        CAPTURE(width);
        const Tensor a = small_integers({3, width}, dtype, 1), b = small_integers({3, width}, dtype, 2);
        const Tensor y = comparison.run(a, b);
        CHECK(y.shape() == Shape{3, width});
        CHECK(flags_of(y) == expected(comparison, a, b));
      }
}

TEST_CASE("compare: NaN is unequal to everything and neither less nor greater; infinities; zeros of both signs") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    const Tensor a = Tensor::of<double>({6}, {not_a_number, not_a_number, 1, infinity, -infinity, -0.0}).to(dtype);
    const Tensor b = Tensor::of<double>({6}, {not_a_number, 1, not_a_number, infinity, infinity, 0}).to(dtype);
    CHECK(flags_of(equal(a, b)) == Flags{false, false, false, true, false, true});
    CHECK(flags_of(not_equal(a, b)) == Flags{true, true, true, false, true, false});
    CHECK(flags_of(less(a, b)) == Flags{false, false, false, false, true, false});
    CHECK(flags_of(less_equal(a, b)) == Flags{false, false, false, true, true, true});
    CHECK(flags_of(greater(a, b)) == Flags{false, false, false, false, false, false});
    CHECK(flags_of(greater_equal(a, b)) == Flags{false, false, false, true, false, true});
  }
}

TEST_CASE("compare: 64-bit integers are compared as they are") {
  const int64_t large = int64_t{1} << 60;
  const Tensor a = Tensor::of<int64_t>({2}, {large, large + 1}), b = Tensor::of<int64_t>({1}, {large + 1});
  CHECK(flags_of(less(a, b)) == Flags{true, false});
  CHECK(flags_of(equal(a, b)) == Flags{false, true});
}

TEST_CASE("compare: broadcasting, also of one number on either side") {
  for (const Named& comparison : comparisons) {
    CAPTURE(comparison.op);
    const Tensor matrix = small_integers({5, 37}, Dtype::f32, 1), row = small_integers({37}, Dtype::f32, 2),
                 column = small_integers({5, 1}, Dtype::f32, 3), number = Tensor::scalar(1, Dtype::f32);
    const std::vector<std::pair<Tensor, Tensor>> pairs = {{matrix, row},    {row, matrix},    {matrix, column},
                                                          {column, matrix}, {matrix, number}, {number, matrix},
                                                          {row, column},    {column, row}};
    for (const auto& [a, b] : pairs) {
      const Tensor y = comparison.run(a, b);
      CHECK(y.shape() == Shape{5, 37});
      const Tensor whole_a = a.broadcast_to({5, 37}).clone(), whole_b = b.broadcast_to({5, 37}).clone();
      CHECK(flags_of(y) == expected(comparison, whole_a, whole_b));
    }
    CHECK(comparison.run(number, number).shape() == Shape{});
    CHECK(comparison.run(Tensor::zeros({0, 3}, Dtype::i32), Tensor::zeros({3}, Dtype::i32)).shape() == Shape{0, 3});
  }
}

TEST_CASE("compare: permuted, gapped and spread operands") {
  const Tensor a = small_integers({9, 11, 8}, Dtype::f32, 1), b = small_integers({8, 11, 9}, Dtype::f32, 2);
  const std::vector<std::pair<Tensor, Tensor>> pairs = {
      {a.transpose(0, 2), b},
      {a, b.transpose(0, 2)},
      {a.transpose(0, 2), a.transpose(0, 2).slice(0, 0, 1)},
      {a.slice(1, 2, 9).slice(2, 1, 7), b.transpose(0, 2).slice(1, 0, 7).slice(2, 2, 8)},
      {a.select(2, 3), b.select(0, 5).transpose(0, 1)},
  };
  for (const Named& comparison : comparisons)
    for (const auto& [x, y] : pairs) {
      CAPTURE(comparison.op);
      const Tensor result = comparison.run(x, y);
      CHECK(result.shape() == x.shape());
      CHECK(flags_of(result) == expected(comparison, x, y.broadcast_to(x.shape())));
    }
}

TEST_CASE("compare: any number of threads gives the same") {
  const Tensor a = small_integers({700, 301}, Dtype::f32, 1), b = small_integers({700, 301}, Dtype::f32, 2);
  const Flags flags = expected(comparisons[2], a, b);
  for (const int threads : {1, 2, 8})
    with_threads(threads, [&] {
      CHECK(flags_of(less(a, b)) == flags);
      CHECK(flags_of(less(a.transpose(0, 1), b.transpose(0, 1)).transpose(0, 1)) == flags);
    });
}

TEST_CASE("compare: refuses other dtypes and shapes that do not broadcast, naming the op") {
  const Tensor x = Tensor::zeros({4, 3}, Dtype::f32);
  for (const Named& comparison : comparisons) {
    const auto message = [&](const Tensor& a, const Tensor& b) -> std::string {
      try {
        comparison.run(a, b);
      } catch (const Error& error) {
        return error.what();
      }
      return "accepted";
    };
    const std::string op = comparison.op;
    CHECK(message(x, Tensor::zeros({2, 3}, Dtype::f32)).starts_with(op + ": cannot broadcast [4, 3] with [2, 3]"));
    CHECK(message(x, Tensor::zeros({4, 3}, Dtype::f64)).starts_with(op + ": a is f32, b is f64"));
    const Tensor flags = Tensor::zeros({4, 3}, Dtype::boolean);
    CHECK(message(flags, flags).starts_with(op + ": needs numbers, got boolean"));
    CHECK_THROWS_AS(comparison.run(x, Tensor::zeros({4, 3}, Dtype::i64)), DtypeError);
    CHECK_THROWS_AS(comparison.run(x, Tensor::zeros({2, 3}, Dtype::f32)), ShapeError);
  }
}
