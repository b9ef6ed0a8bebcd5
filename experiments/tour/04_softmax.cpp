// 4. Softmax three ways: as it is written, as it is computed, and as one op with its own derivative.
#include <iostream>

#include "autograd/ops.hpp"

using namespace phasor;

static Var as_written(const Var& x) {
  const Var e = exp(x);
  return e / sum(e, {-1});
}

// Subtracting the largest number changes nothing in exact arithmetic, and e^x cannot overflow any more.
static Var shifted(const Var& x) {
  const Var e = exp(x - Var(max(x, {-1}).value()));
  return e / sum(e, {-1});
}

int main() {
  const Tensor small = Tensor::of<float>({3}, {1, 2, 3}), large = Tensor::of<float>({3}, {101, 102, 103});
  for (const Tensor& x : {small, large}) {
    std::cout << "x          " << x << '\n';
    std::cout << "as written " << as_written(x).value() << '\n';
    std::cout << "shifted    " << shifted(x).value() << '\n';
    std::cout << "one op     " << softmax(x).value() << '\n';
  }
  // The gradients agree too. Each row of gradients adds up to zero: raising all of x changes no probability.
  const Var x = Var::leaf(Tensor::of<double>({3}, {1, 2, 3}));
  const Tensor weights = Tensor::of<double>({3}, {1, 0, 0});
  std::cout << "gradients  " << backward(shifted(x), weights)[x] << '\n';
  std::cout << "           " << backward(softmax(x), weights)[x] << '\n';
  // Logarithms of tiny probabilities survive only if the logarithm is taken inside.
  const Tensor far = Tensor::of<float>({2}, {0, 200});
  std::cout << "log(softmax): " << log(softmax(far)).value() << ", log_softmax: " << log_softmax(far).value() << '\n';
  // Question: at which distance of the two numbers does log(softmax) break in f32, and where in f64? Change `far`.
}
