// The operators and functions of an Expression: how many operands of which kind, what comes out, and the op of Vars.
#pragma once

#include "nn/positional/expression.hpp"

namespace phasor {

// Conditions are boolean tensors.
enum class ExpressionKind { number, condition };

struct Expression::Operation {
  std::string name;
  size_t operands;
  ExpressionKind of, gives;
  Var (*apply)(const std::vector<Var>& x);  // null: the evaluation knows it (where, uniform)
};

// Between two operands; a larger level binds first, equal levels go from left to right.
struct ExpressionInfix {
  int level;
  Expression::Operation operation;
};
constexpr int lowest_level = 0, comparison_level = 2;
const std::vector<ExpressionInfix>& expression_infixes();  // all but ^

const Expression::Operation& negation();
const Expression::Operation& not_operation();
const Expression::Operation& power();

struct ExpressionFunction {
  Expression::Operation operation;
  std::string meaning;  // in a line
};
const std::vector<ExpressionFunction>& expression_functions();

// Boolean tensors that broadcast.
Tensor negated(const Tensor& condition);
Tensor both(const Tensor& a, const Tensor& b);

}  // namespace phasor
