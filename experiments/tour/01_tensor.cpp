// 1. Tensors and views: numbers in memory, and ways to look at them that copy nothing.
#include "core/tensor.hpp"

#include <iostream>

#include "core/error.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/matmul.hpp"

using namespace phasor;

int main() {
  const Tensor x = Tensor::of<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  std::cout << "x\n" << x << '\n';

  // A transposition moves no number. Only the strides - elements to step along each axis - change places.
  const Tensor t = x.transpose(0, 1);
  std::cout << "strides of x: " << x.stride(0) << ' ' << x.stride(1) << ", transposed: " << t.stride(0) << ' '
            << t.stride(1) << '\n';

  // A view shares its memory: what is written through it is seen by all.
  fill(t.select(0, 0), 0);  // the first row of t is the first column of x
  std::cout << "x after writing through the view\n" << x << '\n';

  // Axes of extent 1 stretch to fit the other operand, with stride 0: the row is not repeated in memory.
  const Tensor row = Tensor::of<float>({3}, {10, 20, 30});
  std::cout << "x + row\n" << add(x, row) << '\n';
  std::cout << "stride of the stretched axis: " << row.broadcast_to({2, 3}).stride(0) << '\n';

  // An error names the op and what came, then what is needed and the line of the check.
  try {
    matmul(x, x);
  } catch (const ShapeError& error) {
    const std::string message = error.what();
    std::cout << message.substr(0, message.find(';')) << '\n';
  }
  // Question: which view would make this product possible, and what shape has it? Change matmul(x, x) above.
}
