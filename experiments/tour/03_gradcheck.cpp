// 3. Gradcheck by hand: is a derivative right? Compare it with a difference, and choose the step with care.
#include "autograd/gradcheck.hpp"

#include <cmath>
#include <cstdio>

#include "autograd/ops.hpp"
#include "core/ops/softmax.hpp"
#include "core/ops/unary.hpp"

using namespace phasor;

int main() {
  const double x = 0.7, exact = 1 - std::tanh(x) * std::tanh(x);
  std::printf("derivative of tanh at %.1f: %.6f\n", x, exact);
  for (const double h : {1e-1, 1e-3, 1e-5, 1e-7, 1e-9, 1e-11}) {
    const double difference = (std::tanh(x + h) - std::tanh(x - h)) / (2 * h);
    std::printf("  step %.0e: the central difference is off by 1e%.0f\n", h,
                std::round(std::log10(std::abs(difference - exact) / exact)));
  }
  // Too large a step sees the curvature, too small a one sees rounding: the best is near the cube root of epsilon.

  // Now a rule that claims: the gradient of softmax is zero. Seen through the sum of the outputs, which is always 1, it
  // looks right. Seen through random weights on the outputs, it does not.
  const Tensor point = Tensor::of<double>({4}, {0.5, -1, 2, 0});
  const auto slope = [&](const Tensor& weights) {  // of sum(weights softmax) along the third number
    const auto at = [&](double h) {
      const Tensor moved = point.clone();
      moved.data<double>()[2] += h;
      return sum(softmax(Var(moved)) * Var(weights)).value().item<double>();
    };
    return std::abs(at(1e-5) - at(-1e-5)) / 2e-5;
  };
  std::printf("slope of the sum: %.4f, with weights: %.4f; the rule says: 0\n", slope(Tensor::full({4}, 1, Dtype::f64)),
              slope(Tensor::of<double>({4}, {0.3, -1.2, 0.9, 2})));

  // gradcheck draws such weights by itself.
  const auto zero_rule = [](const Var& in) {
    return record("softmax", softmax(in.value()), {in},
                  [](const Tensor& dy, Wanted) { return std::vector{Tensor::zeros(dy.shape(), dy.dtype())}; });
  };
  const auto judge = [](const GradcheckResult& result) { return result.worst <= 1e-8 ? "right" : "wrong"; };
  std::printf("gradcheck: the op's rule is %s, ",
              judge(gradcheck([](const auto& in) { return softmax(in[0]); }, {point})));
  std::printf("the zero rule is %s\n", judge(gradcheck([&](const auto& in) { return zero_rule(in[0]); }, {point})));
  // Question: does gradcheck see a rule that is right but for its sign? Change Tensor::zeros(dy.shape(), dy.dtype()) to
  // neg(softmax_backward(softmax(in.value()), dy)) and let the lambda capture `in`.
}
