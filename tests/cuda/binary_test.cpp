// Element-wise ops of two and three tensors on the GPU: integers, numbers of the CPU, broadcasting, NaN.
#include "core/ops/binary.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "core/ops/compare.hpp"
#include "core/ops/where.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

using Function = Tensor (*)(const Tensor&, const Tensor&);

// What differs in bits between f on the GPU and on the CPU, but for what a NaN holds.
std::string unlike(const std::function<Tensor(const Tensors&)>& f, const Tensors& arguments) {
  Tensors there;
  for (const Tensor& argument : arguments) there.push_back(argument.to(Device::cuda));
  const Tensor got = f(there), expected = f(arguments);
  if (!got.is_on(Device::cuda)) return "the result is on the CPU";
  if (!is_float(expected.dtype())) return bit_mismatch(got, expected);
  const auto without_nan = [](const Tensor& x) {
    const Tensor here = x.to(Device::cpu);
    return where(equal(here, here), here, Tensor::scalar(12345, here.dtype()));
  };
  return bit_mismatch(without_nan(got), without_nan(expected));
}
std::string unlike(Function f, const Tensor& a, const Tensor& b) {
  return unlike([f](const Tensors& x) { return f(x[0], x[1]); }, {a, b});
}

}  // namespace

TEST_CASE("cuda: binary: integers wrap, truncate, and refuse to divide by zero") {
  const Tensor a = Tensor::of<int32_t>({5}, {7, -7, INT32_MAX, INT32_MIN, INT32_MIN}),
               b = Tensor::of<int32_t>({5}, {2, 2, 1, -1, 3});
  const int64_t large = (int64_t{1} << 60) + 1;
  const Tensor wide = Tensor::of<int64_t>({2, 1}, {large, -5}), few = Tensor::of<int64_t>({2}, {3, INT64_MAX});
  for (const Function f : {Function(add), Function(sub), Function(mul), Function(div), Function(minimum),
                           Function(maximum), Function(outer), Function(less), Function(equal)}) {
    CHECK(unlike(f, a, b) == "");
    CHECK(unlike(f, wide, few) == "");
  }
  const Tensor zero = Tensor::of<int32_t>({5}, {1, 1, 0, 1, 1}).to(Device::cuda);
  CHECK_THROWS_WITH_AS(div(a.to(Device::cuda), zero), doctest::Contains("element 2 of b"), ValueError);
  CHECK_THROWS_AS(add(zero, zero.to(Dtype::i64)), DtypeError);
  CHECK_THROWS_AS(pow(zero, zero), DtypeError);
  const Tensor flags = Tensor::zeros({2}, Dtype::boolean, Device::cuda);
  CHECK_THROWS_WITH_AS(add(flags, flags), doctest::Contains("add: needs numbers, got boolean"), DtypeError);
}

TEST_CASE("cuda: binary: a number of the CPU goes with tensors of the GPU") {
  const int64_t large = (int64_t{1} << 60) + 1;  // no double holds it
  const Tensor x = Tensor::of<int64_t>({3}, {1, -2, large}), number = Tensor::of<int64_t>({}, {large});
  const Tensor there = x.to(Device::cuda);
  CHECK(bit_mismatch(add(there, number), add(x, number)) == "");
  CHECK(bit_mismatch(sub(number, there), sub(number, x)) == "");
  CHECK(bit_mismatch(less(there, number), less(x, number)) == "");
  CHECK(bit_mismatch(where(less(there, number), there, number), where(less(x, number), x, number)) == "");
  CHECK(bit_mismatch(where(Tensor::of<bool>({}, {false}), number, there), x) == "");
  CHECK(bit_mismatch(where(less(there, there), number, number), where(less(x, x), number, number)) == "");
  const Tensor both = mul(number.to(Device::cuda), number);
  CHECK(both.is_on(Device::cuda));
  CHECK(both.item<int64_t>() == mul(number, number).item<int64_t>());
  const Tensor y = there.clone();
  add_into(y, number);
  CHECK(bit_mismatch(y, add(x, number)) == "");
  CHECK(mul(number, number).is_on(Device::cpu));
  // Only numbers, and only from there to here.
  CHECK_THROWS_AS(add(there, x), DeviceError);
  CHECK_THROWS_AS(add(x, there), DeviceError);
  CHECK_THROWS_AS(less(there, x), DeviceError);
  CHECK_THROWS_AS(add(there, Tensor::of<int64_t>({1}, {1})), DeviceError);
  CHECK_THROWS_AS(add_into(number, number.to(Device::cuda)), DeviceError);
  CHECK_THROWS_AS(where(less(x, x), there, there), DeviceError);
  CHECK_THROWS_AS(where(less(there, there), there, x), DeviceError);
  CHECK_THROWS_AS(add(there, Tensor::scalar(1, Dtype::f32)), DtypeError);
  // The backwards take such a number too.
  const Tensor f = Tensor::of<float>({4}, {-2, 0, 2, 3}), two = Tensor::scalar(2, Dtype::f32);
  const Tensor dy = Tensor::full({4}, 3, Dtype::f32);
  CHECK(bit_mismatch(pow_base_backward(f.to(Device::cuda), two, dy.to(Device::cuda)), pow_base_backward(f, two, dy)) ==
        "");
  CHECK(bit_mismatch(minimum_backward(two, f.to(Device::cuda), dy.to(Device::cuda)).db,
                     minimum_backward(two, f, dy).db) == "");
}

TEST_CASE("cuda: binary: broadcasting over rows, columns and both, in packs and one by one") {
  Random random{.seed = 5};
  const Tensor block = random_tensor({6, 40, 48}, random);
  const std::vector<std::pair<Tensor, Tensor>> pairs = {
      {block, block.select(0, 1)},                                           // a matrix over matrices
      {block, block.select(0, 1).select(0, 2)},                              // a row over rows
      {block, block.slice(2, 3, 4)},                                         // a number for each row
      {block.slice(2, 0, 1), block.slice(1, 0, 1)},                          // columns and rows
      {block.select(0, 0).unsqueeze(1), block.select(0, 1).slice(0, 0, 7)},  // both stretched
      {block.slice(2, 0, 24), block.slice(2, 24, 48)},                       // halves
      {block.slice(2, 1, 25), block.slice(2, 24, 48)},                       // halves at other addresses
      {block.slice(2, 0, 23), block.slice(2, 24, 47)},                       // rows of an odd length
      {block.transpose(0, 2), block.transpose(0, 2)},                        // one order of axes
      {block.select(0, 0).slice(0, 0, 40).slice(1, 0, 40), block.select(0, 1).slice(1, 0, 40).transpose(0, 1)},
      {block.transpose(1, 2), block.select(0, 1).clone().transpose(0, 1)},
      {block.broadcast_to({2, 6, 40, 48}), block},
  };
  for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::i64})
    for (size_t i = 0; i < pairs.size(); ++i) {
      CAPTURE(dtype);
      CAPTURE(i);
      const auto scaled = [&](const Tensor& x) { return mul(x, Tensor::scalar(100, Dtype::f64)).to(dtype); };
      const Tensor a = scaled(pairs[i].first), b = scaled(pairs[i].second);
      CHECK(unlike(sub, a, b) == "");
      CHECK(unlike(less, a, b) == "");
      CHECK(unlike([](const Tensors& x) { return where(less(x[0], x[1]), x[0], x[1]); }, {a, b}) == "");
    }
}

TEST_CASE("cuda: binary: views of one block of the GPU") {
  Random random{.seed = 6};
  const Tensor here = random_tensor({9, 40, 48}, random).to(Dtype::f32), there = here.to(Device::cuda);
  const std::vector<std::function<Tensor(const Tensor&)>> views = {
      [](const Tensor& x) { return x.select(0, 3).slice(1, 0, 32).slice(0, 0, 32); },
      [](const Tensor& x) { return x.select(0, 3).slice(1, 4, 36).slice(0, 0, 32); },
      [](const Tensor& x) { return x.select(0, 3).slice(1, 5, 37).slice(0, 0, 32); },
      [](const Tensor& x) { return x.select(0, 3).slice(1, 5, 37).slice(0, 0, 32).transpose(0, 1); },
      [](const Tensor& x) {
        return x.select(1, 7).slice(1, 5, 37).slice(0, 0, 1).broadcast_to({32, 32});
      },
      [](const Tensor& x) {
        return x.select(0, 1).slice(0, 2, 34).slice(1, 9, 10).broadcast_to({32, 32});
      },
      [](const Tensor& x) {
        return x.select(0, 1).select(0, 3).slice(0, 9, 10).broadcast_to({32, 32});
      },
  };
  for (size_t i = 0; i < views.size(); ++i)
    for (size_t j = 0; j < views.size(); ++j) {
      CAPTURE(i);
      CAPTURE(j);
      CHECK(bit_mismatch(sub(views[i](there), views[j](there)), sub(views[i](here), views[j](here))) == "");
      if (i > 3) continue;
      const Tensor into = here.clone(), into_there = here.to(Device::cuda);
      add_into(views[i](into), views[j](here));
      add_into(views[i](into_there), views[j](there));
      CHECK(bit_mismatch(into_there, into) == "");
    }
}

TEST_CASE("cuda: minimum, maximum, pow: NaN, infinities, equal numbers and their gradients as on the CPU") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f64}) {
    const std::vector<double> numbers = {not_a_number, 1, -infinity, 3, 2, 0, infinity, -1, 0.5, -2};
    std::vector<double> of_a, of_b;
    for (const double p : numbers)
      for (const double q : numbers) of_a.push_back(p), of_b.push_back(q);
    const int64_t count = static_cast<int64_t>(of_a.size());
    const Tensor a = Tensor::of<double>({count}, of_a).to(dtype), b = Tensor::of<double>({count}, of_b).to(dtype);
    for (const Function f : {Function(minimum), Function(maximum), Function(equal), Function(not_equal), Function(less),
                             Function(less_equal), Function(greater), Function(greater_equal)})
      CHECK(unlike(f, a, b) == "");
    for (const double slope : {3.0, infinity}) {
      const Tensor dy = Tensor::full({count}, slope, dtype);
      CHECK(unlike([](const Tensors& x) { return minimum_backward(x[0], x[1], x[2]).da; }, {a, b, dy}) == "");
      CHECK(unlike([](const Tensors& x) { return minimum_backward(x[0], x[1], x[2]).db; }, {a, b, dy}) == "");
      CHECK(unlike([](const Tensors& x) { return maximum_backward(x[0], x[1], x[2]).da; }, {a, b, dy}) == "");
      CHECK(unlike([](const Tensors& x) { return maximum_backward(x[0], x[1], x[2]).db; }, {a, b, dy}) == "");
    }
    // Powers that are exact, or a NaN or an infinity; where the logarithm is 0 or infinite.
    const Tensor bases = Tensor::of<double>({9}, {-2, 0, 0, 0, 3, 0, -2, 1, not_a_number}).to(dtype);
    const Tensor exponents = Tensor::of<double>({9}, {2, 0, 2, 1, 0, -1, 0.5, not_a_number, 0}).to(dtype);
    const Tensor ones = Tensor::full({9}, 1, dtype);
    CHECK(unlike(pow, bases, exponents) == "");
    CHECK(unlike([](const Tensors& x) { return pow_base_backward(x[0], x[1], x[2]); }, {bases, exponents, ones}) == "");
    const Tensor flat = Tensor::of<double>({4}, {0, 0, 1, 0}).to(dtype),
                 on_flat = Tensor::of<double>({4}, {0, 2, 3, -1}).to(dtype);
    CHECK(unlike([](const Tensors& x) { return pow_exponent_backward(x[0], x[1], pow(x[0], x[1]), x[2]); },
                 {flat, on_flat, Tensor::full({4}, 1, dtype)}) == "");
  }
}

TEST_CASE("cuda: where: every dtype bit by bit, the condition in any layout") {
  Random random{.seed = 9};
  const Tensor condition = not_equal(random_ids({40, 36}, 2, random), Tensor::of<int64_t>({}, {0}));
  for (const Dtype dtype : {Dtype::f32, Dtype::f64, Dtype::bf16, Dtype::i32, Dtype::i64, Dtype::boolean}) {
    CAPTURE(dtype);
    const Tensor a = random_tensor({40, 36}, random).to(dtype), b = random_tensor({40, 36}, random).to(dtype);
    const auto choose = [](const Tensors& x) { return where(x[0], x[1], x[2]); };
    const auto check = [&](const Tensor& c, const Tensor& p, const Tensor& q) {
      const Tensor got = choose({c.to(Device::cuda), p.to(Device::cuda), q.to(Device::cuda)});
      CHECK(bit_mismatch(got, reference::where(c, p, q)) == "");
    };
    check(condition, a, b);
    check(condition.select(0, 1), a, b.select(1, 1).unsqueeze(1));
    check(condition.slice(1, 3, 4), a, b);
    const Tensor turned = condition.transpose(0, 1).clone().to(Device::cuda).transpose(0, 1);
    CHECK(bit_mismatch(where(turned, a.to(Device::cuda), b.to(Device::cuda)), reference::where(condition, a, b)) == "");
  }
}
