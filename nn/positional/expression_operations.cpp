// Each operator and function in a line.
#include "nn/positional/expression_operations.hpp"

#include <cmath>

#include "core/ops/compare.hpp"
#include "core/ops/where.hpp"

namespace phasor {

Tensor negated(const Tensor& condition) {
  return where(condition, Tensor::of<bool>({}, {false}), Tensor::of<bool>({}, {true}));
}

Tensor both(const Tensor& a, const Tensor& b) { return where(a, b, a); }

static Var whole_part(const Var& x) {
  std::vector<double> values = x.value().to(Dtype::f64).to_vector<double>();
  for (double& value : values) value = std::floor(value);
  return Tensor::of<double>(x.shape(), values).to(x.dtype());
}

using Operation = Expression::Operation;
using Operands = std::vector<Var>;
using Apply = Var (*)(const Operands& x);
constexpr ExpressionKind number = ExpressionKind::number, condition = ExpressionKind::condition;

const Operation& negation() {
  static const Operation operation = {"-", 1, number, number, [](const Operands& x) { return neg(x[0]); }};
  return operation;
}

const Operation& not_operation() {
  static const Operation operation = {"not", 1, condition, condition,
                                      [](const Operands& x) -> Var { return negated(x[0].value()); }};
  return operation;
}

const Operation& power() {
  static const Operation operation = {"^", 2, number, number, [](const Operands& x) { return pow(x[0], x[1]); }};
  return operation;
}

const std::vector<ExpressionInfix>& expression_infixes() {
  const auto joined = [](int level, const char* name, Apply apply) {
    return ExpressionInfix{level, {name, 2, condition, condition, apply}};
  };
  const auto compared = [](const char* name, Apply apply) {
    return ExpressionInfix{comparison_level, {name, 2, number, condition, apply}};
  };
  const auto computed = [](int level, const char* name, Apply apply) {
    return ExpressionInfix{level, {name, 2, number, number, apply}};
  };
  static const std::vector<ExpressionInfix> list = {
      joined(0, "or", [](const Operands& x) -> Var { return where(x[0].value(), x[0].value(), x[1].value()); }),
      joined(1, "and", [](const Operands& x) -> Var { return both(x[0].value(), x[1].value()); }),
      compared("<", [](const Operands& x) -> Var { return less(x[0].value(), x[1].value()); }),
      compared("<=", [](const Operands& x) -> Var { return less_equal(x[0].value(), x[1].value()); }),
      compared(">", [](const Operands& x) -> Var { return greater(x[0].value(), x[1].value()); }),
      compared(">=", [](const Operands& x) -> Var { return greater_equal(x[0].value(), x[1].value()); }),
      compared("==", [](const Operands& x) -> Var { return equal(x[0].value(), x[1].value()); }),
      compared("!=", [](const Operands& x) -> Var { return not_equal(x[0].value(), x[1].value()); }),
      computed(3, "+", [](const Operands& x) { return x[0] + x[1]; }),
      computed(3, "-", [](const Operands& x) { return x[0] - x[1]; }),
      computed(4, "*", [](const Operands& x) { return x[0] * x[1]; }),
      computed(4, "/", [](const Operands& x) { return x[0] / x[1]; }),
  };
  return list;
}

const std::vector<ExpressionFunction>& expression_functions() {
  const auto numeric = [](const char* name, size_t operands, const char* meaning, Apply apply) {
    return ExpressionFunction{{name, operands, number, number, apply}, meaning};
  };
  static const std::vector<ExpressionFunction> list = {
      numeric("where", 3, "where(condition, a, b) is a where that holds, else b", nullptr),
      numeric("min", 2, "min(a, b), the smaller", [](const Operands& x) { return minimum(x[0], x[1]); }),
      numeric("max", 2, "max(a, b), the larger", [](const Operands& x) { return maximum(x[0], x[1]); }),
      numeric("clamp", 3, "clamp(x, low, high) brings x between the two",
              [](const Operands& x) { return minimum(maximum(x[0], x[1]), x[2]); }),
      numeric("abs", 1, "x without its sign", [](const Operands& x) { return abs(x[0]); }),
      numeric("floor", 1, "the whole number below; of nothing learned",
              [](const Operands& x) { return whole_part(x[0]); }),
      numeric("pow", 2, "pow(a, b) = a^b", [](const Operands& x) { return pow(x[0], x[1]); }),
      numeric("exp", 1, "e^x", [](const Operands& x) { return exp(x[0]); }),
      numeric("log", 1, "natural logarithm", [](const Operands& x) { return log(x[0]); }),
      numeric("log1p", 1, "log(1 + x), exact for small x", [](const Operands& x) { return log1p(x[0]); }),
      numeric("sqrt", 1, "square root", [](const Operands& x) { return sqrt(x[0]); }),
      numeric("sin", 1, "of an angle in rad", [](const Operands& x) { return sin(x[0]); }),
      numeric("cos", 1, "of an angle in rad", [](const Operands& x) { return cos(x[0]); }),
      numeric("tanh", 1, "from -1 to 1", [](const Operands& x) { return tanh(x[0]); }),
      numeric("sigmoid", 1, "1 / (1 + exp(-x)), from 0 to 1", [](const Operands& x) { return sigmoid(x[0]); }),
      numeric("softplus", 1, "log(1 + exp(x)), above 0", [](const Operands& x) { return softplus(x[0]); }),
      numeric("uniform", 2, "uniform(low, high) is drawn; in encoding.starts only", nullptr),
  };
  return list;
}

}  // namespace phasor
