// The comparisons and the gradient check, with faults that each must see.
#include "tests/support/comparison.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "autograd/gradcheck.hpp"
#include "autograd/ops.hpp"
#include "core/ops/softmax.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

TEST_CASE("comparison: shape, dtype, NaN and infinity") {
  const Tensor x = Tensor::of<double>({2, 2}, {1, 2, 3, 4});
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  const auto with = [&](double value) {
    const Tensor y = x.clone();
    y.view<double>()(1, 0) = value;
    return y;
  };
  CHECK(mismatch(x, Dtype::f64, x, 0) == "");
  CHECK(mismatch(x.reshape({4}), Dtype::f64, x, 1).find("shape") == 0);
  CHECK(mismatch(x.to(Dtype::f32), Dtype::f64, x, 1).find("dtype") == 0);
  CHECK(mismatch(Tensor(), Dtype::f64, x, 1) != "");
  CHECK(mismatch(with(3.1), Dtype::f64, x, 0.01).find("element [1, 0] of [2, 2]: got 3.1") == 0);
  CHECK(mismatch(with(3.1), Dtype::f64, x, 0.03) == "");
  CHECK(mismatch(with(nan), Dtype::f64, x, 1e300) != "");
  CHECK(mismatch(x, Dtype::f64, with(nan), 1e300) != "");
  CHECK(mismatch(with(nan), Dtype::f64, with(nan), 1e300) != "");
  CHECK(mismatch(with(infinity), Dtype::f64, x, 1e300) != "");
  CHECK(mismatch(with(infinity), Dtype::f64, with(infinity), 0) == "");
  CHECK(mismatch(with(infinity), Dtype::f64, with(-infinity), 1e300) != "");
  CHECK(bit_mismatch(with(0.0), with(-0.0)) != "");
  CHECK(bit_mismatch(with(nan), with(nan)) == "");
}

TEST_CASE("gradcheck: finds a fault in a large input by random directions") {
  Random random{.seed = 1};
  const Tensor x = random_tensor({40, 50}, random);
  const auto right = [](const std::vector<Var>& v) { return softmax(v[0]); };
  const auto wrong = [](const std::vector<Var>& v) {
    const Tensor y = softmax(v[0].value());
    return record("softmax", y, {v[0]}, [y](const Tensor& dy, Wanted) {
      const Tensor dx = softmax_backward(y, dy);
      fill(dx.slice(0, 7, 8), 0);  // one row of 40
      return Tensors{dx};
    });
  };
  CHECK(gradcheck(right, {x}).worst <= tolerance::gradient);
  CHECK(gradcheck(wrong, {x}).worst > 1e-3);
}

TEST_CASE("gradcheck: NaN is an infinite error, ids are constants, f32 outputs are refused") {
  const Tensor x = Tensor::of<double>({2}, {1, -1});
  CHECK(gradcheck([](const std::vector<Var>& v) { return log(v[0]); }, {x}).worst ==
        std::numeric_limits<double>::infinity());
  const Tensor ids = Tensor::of<int64_t>({3}, {1, 0, 1});
  CHECK(gradcheck([](const std::vector<Var>& v) { return embedding(v[0], v[1].value()); },
                  {Tensor::of<double>({2, 2}, {1, 2, 3, 4}), ids})
            .worst <= tolerance::gradient);
  CHECK_THROWS_AS(gradcheck([](const std::vector<Var>& v) { return cast(v[0], Dtype::f32); }, {x}), DtypeError);
}
