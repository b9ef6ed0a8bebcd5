// Tensors as text.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "core/tensor.hpp"

using namespace phasor;

static std::string printed(const Tensor& x) {
  std::ostringstream out;
  out << x;
  return out.str();
}

TEST_CASE("print: every rank, dtype and layout") {
  CHECK(printed(Tensor()) == "no tensor");
  CHECK(printed(Tensor::scalar(1.0 / 3, Dtype::f32)) == "0.3333  [] f32");
  CHECK(printed(Tensor::of<int64_t>({3}, {1, -20, 3})) == "[  1, -20,   3]  [3] i64");
  const Tensor m = Tensor::of<double>({2, 2}, {1, 2.5, 3, 4e10});
  CHECK(printed(m) == "[[    1,   2.5],\n [    3, 4e+10]]  [2, 2] f64");
  CHECK(printed(m.transpose(0, 1)) == "[[    1,     3],\n [  2.5, 4e+10]]  [2, 2] f64");
  CHECK(printed(Tensor::of<int32_t>({2, 1, 2}, {1, 2, 3, 4})) == "[[[1, 2]],\n\n [[3, 4]]]  [2, 1, 2] i32");
  CHECK(printed(Tensor::of<double>({3}, {-NAN, INFINITY, -INFINITY})) == "[ nan,  inf, -inf]  [3] f64");
  const Tensor flags = Tensor::zeros({2}, Dtype::boolean);
  *flags.data<bool>() = true;
  CHECK(printed(flags) == "[ true, false]  [2] boolean");
}

TEST_CASE("print: empty tensors, and large ones without their middle") {
  CHECK(printed(Tensor::zeros({0}, Dtype::f32)) == "[]  [0] f32");
  CHECK(printed(Tensor::zeros({2, 0}, Dtype::f32)) == "[[],\n []]  [2, 0] f32");
  CHECK(printed(Tensor::zeros({1001}, Dtype::f32)) == "[0, 0, 0, ..., 0, 0, 0]  [1001] f32");
  const std::string large = printed(Tensor::zeros({100, 100}, Dtype::f32));
  CHECK(large.size() < 300);
  CHECK(large.find("\n ...,\n") != std::string::npos);
}
