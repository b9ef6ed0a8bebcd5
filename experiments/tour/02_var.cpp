// 2. Var: a tensor that remembers how it was made, and backward, which walks that history.
#include "autograd/var.hpp"

#include <iostream>

#include "autograd/ops.hpp"

using namespace phasor;

int main() {
  // A leaf is a variable whose gradient we want; everything else is a constant or a result.
  const Var w = Var::leaf(Tensor::of<double>({3}, {1, 2, 3}));
  const Var x = Tensor::of<double>({3}, {10, 20, 30});

  // d/dw sum(w w x) = 2 w x. w enters twice: both of its gradients arrive and are added.
  std::cout << "gradient of sum(w w x): " << backward(sum(w * w * x))[w] << '\n';

  // The sum over an axis is stretched back; what was stretched is summed back.
  const Var b = Var::leaf(Tensor::of<double>({1}, {0.5}));
  std::cout << "gradient of the stretched b: " << backward(sum(w * b))[b] << '\n';

  // Gradients are returned, not stored: nothing to zero between steps. Newton would need one step, descent some more.
  const Var root = Var::leaf(Tensor::scalar(1, Dtype::f64));
  constexpr double rate = 0.1;
  for (int step = 1; step <= 12; ++step) {
    const Var error = root * root - 2;
    const Tensor slope = backward(error * error)[root];
    root.assign((Var(root.value()) - rate * Var(slope)).value());
    if (step % 4 == 0) std::cout << "step " << step << ": " << root.value() << '\n';
  }

  // Inside this scope nothing is remembered: for evaluation.
  const NoGradient scope;
  std::cout << "remembered inside a NoGradient: " << std::boolalpha << (root * root).needs_gradient() << '\n';
  // Question: from which rate on does the descent fail to reach the square root of 2? Change `rate`.
}
