// Formulas as text: parsed once, computed with Vars, so that what they learn differentiates.
//
//   1.5e-3  pi  name  f(x, y)  (x)      then, from what binds first:
//   ^   - + of one number   * /   + -   < <= > >= == !=   not   and   or
//
// ^ goes from right to left and before a sign, as on paper: -2^2 = -4, 2^3^2 = 2^9, 2^-1 = 0.5. Comparisons make
// conditions, which are no numbers: where(condition, a, b) chooses by one. Spaces and line ends mean nothing.
//
// where() computes both branches, and each operation of a branch takes 1 for every operand whose element belongs to the
// other branch. So nothing that is not chosen is infinite, neither in value nor in gradient, where the rule of where()
// alone would send 0 times infinity: where(distance > 0, log(a * distance), 0) has the gradient 1 / a, and 0 at 0.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "nn/positional/encoding.hpp"

namespace phasor {

// What the formulas of the encoding `expression` may read.
const std::vector<NameMeaning>& frequency_variables();
const std::vector<NameMeaning>& bias_variables();

// Letters, digits and _, and no digit first.
bool is_expression_name(const std::string& text);

class Expression {
 public:
  // The names that a formula may use, beside the functions and pi.
  struct Names {
    std::vector<std::string> variables;
    std::vector<std::string> learned = {};  // variables too; gradients flow to them
    bool draws = false;                     // whether uniform(low, high) may be called
  };
  // UsageError "SETTING:LINE:COLUMN: what is wrong" if the text is no formula of a number with these names.
  Expression(std::string setting, const std::string& text, const Names& names);

  bool reads(const std::string& name) const;
  // Whether the value depends on it in another way than through a condition, which passes no gradient.
  bool learns(const std::string& name) const { return learned_.contains(name); }

  struct Values {
    std::map<std::string, Var> variables;  // of one dtype; they broadcast together
    Dtype dtype = Dtype::f64;              // theirs, and that of the numbers in the text
    Random* random = nullptr;              // where the formula may draw: from here, tensors of the shape `drawn`
    Shape drawn = {};
  };
  // The value, of the shape to which the variables that it reads broadcast.
  Var operator()(const Values& values) const { return computed(values, nullptr); }

  // What the last axis of the variables counts, and from where; the axis before it counts heads.
  struct Axis {
    std::string name;
    int64_t first = 0;
  };
  // The same; UsageError with the line, column and place on the axes if the value or an operation on the way to it is
  // not finite.
  Var checked(const Values& values, const Axis& axis) const { return computed(values, &axis); }

  // An operator or a function, and a step of the computation, which works on a stack of values. No tree: a chain of a
  // million operators needs no recursion.
  struct Operation;
  struct Place {
    int64_t line = 1, column = 1;  // of the text, counted from 1
  };
  struct Step {
    enum Kind { number, variable, apply, draw, first_branch, second_branch, choose } kind;
    Place place;
    double value = 0;
    std::string name = {};
    const Operation* operation = nullptr;
  };

 private:
  Var computed(const Values& values, const Axis* axis) const;

  std::string setting_;
  std::vector<Step> steps_;
  std::set<std::string> learned_;
};

}  // namespace phasor
