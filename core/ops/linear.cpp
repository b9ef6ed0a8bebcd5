// The affine map of a layer: a matrix product that adds the bias before it stores.
#include "core/ops/linear.hpp"

#include "core/arguments.hpp"
#include "core/error.hpp"
#include "core/ops/matmul.hpp"

namespace phasor {
namespace reference {

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const int64_t inputs = weight.extent(0), outputs = weight.extent(1);
  const Shape rows = x.shape().without(-1);
  const std::vector<double> from = x.to(Dtype::f64).to_vector<double>(), w = weight.to(Dtype::f64).to_vector<double>();
  const std::vector<double> b = bias.to(Dtype::f64).to_vector<double>();
  std::vector<double> y;
  for (int64_t row = 0; row < rows.size(); ++row)
    for (int64_t output = 0; output < outputs; ++output) {
      double sum = b[bias.rank() == 1 ? output : row * outputs + output];
      for (int64_t input = 0; input < inputs; ++input) sum += from[row * inputs + input] * w[input * outputs + output];
      y.push_back(sum);
    }
  return Tensor::of<double>(rows.insert(-1, outputs), y).to(x.dtype());
}

}  // namespace reference

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  require_float("linear", "x", x);
  require_same_dtype("linear", "x", x, "weight", weight);
  if (is_f32_beside_bf16(bias, x))
    require_same_device("linear", "x", x, "bias", bias);
  else
    require_same_dtype("linear", "x", x, "bias", bias);
  require(x.rank() >= 1, "linear", "x is a scalar; needs [..., inputs]");
  require(weight.rank() == 2, "linear", "weight is ", weight.shape(), "; needs [inputs, outputs]");
  require(x.extent(-1) == weight.extent(0), "linear", "x is ", x.shape(), ", weight is ", weight.shape(),
          "; the last axis of x must be axis 0 of weight, is ", x.extent(-1), " and ", weight.extent(0));
  const Shape row = {weight.extent(1)}, result = x.shape().with(-1, weight.extent(1));
  require(bias.shape() == row || bias.shape() == result, "linear", "bias is ", bias.shape(), ", x is ", x.shape(),
          ", weight is ", weight.shape(), "; bias must be ", row, ", axis 1 of weight, or ", result);
  if (x.rank() == 1) return matmul_plus(x.unsqueeze(0), weight, bias).squeeze(0);
  return matmul_plus(x, weight, bias);
}

}  // namespace phasor
