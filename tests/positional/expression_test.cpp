// Formulas as text: what they mean against C++'s own arithmetic, their gradients, and every error with its place.
#include "nn/positional/expression.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "autograd/gradcheck.hpp"
#include "nn/positional/expression_operations.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/property.hpp"
#include "tests/support/refusal.hpp"

using namespace phasor;

namespace {

const Expression::Names names = {.variables = {"x", "y", "distance"}, .learned = {"a"}};

double value_of(const std::string& text, double x = 0, double y = 0) {
  const auto number = [](double value) { return Tensor::scalar(value, Dtype::f64); };
  const Expression f("f", text, names);
  return f({.variables = {{"x", number(x)}, {"y", number(y)}, {"distance", number(3)}, {"a", number(1)}}})
      .value()
      .item<double>();
}

std::string refused(const std::string& text, const Expression::Names& known = names) {
  return refusal([&] { Expression("f", text, known); });
}

// What is said when a is computed at distances 0, 1, 2 with a = 0.5 in head 0, -1 in head 1.
std::string refused_value(const std::string& text, Dtype dtype = Dtype::f64) {
  return refusal([&] {
    Expression("f", text, names)
        .checked({.variables = {{"distance", Tensor::of<double>({1, 3}, {0, 1, 2}).to(dtype)},
                                {"a", Tensor::of<double>({2, 1}, {0.5, -1}).to(dtype)}},
                  .dtype = dtype},
                 {"distance", 0});
  });
}

constexpr double inf = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("expression: operators bind as on paper") {
  for (const auto& [text, expected] : std::vector<std::pair<std::string, double>>{
           {"1 + 2 * 3", 7},
           {"(1 + 2) * 3", 9},
           {"10 - 4 - 3", 3},
           {"10 - (4 - 3)", 9},
           {"100 / 10 / 5", 2},
           {"100 / 10 * 5", 50},
           {"2 ^ 3 ^ 2", 512},
           {"(2 ^ 3) ^ 2", 64},
           {"-2 ^ 2", -4},
           {"(-2) ^ 2", 4},
           {"2 ^ -1", 0.5},
           {"2 ^ -2 ^ 2", 0.0625},
           {"2 * -3", -6},
           {"2 - -3", 5},
           {"--3", 3},
           {"-+-3", 3},
           {"- 2 * 3 ^ 2 + 1", -17},
           {"+4 - +1", 3},
           {"1.5e2 + .5 + 2. + 1E-1", 152.6},
           {"3 * pow(2, 3) ^ 2", 192},
           {"where(1 < 2 and 2 < 1 or 3 < 4, 1, 0)", 1},  // (false) or true
           {"where(3 < 4 or 1 < 2 and 2 < 1, 1, 0)", 1},  // true or (false)
           {"where((3 < 4 or 1 < 2) and 2 < 1, 1, 0)", 0},
           {"where(not 1 < 2 or 3 < 4, 1, 0)", 1},  // (not true) or true
           {"where(not (1 < 2 or 3 < 4), 1, 0)", 0},
           {"where(not not 1 < 2 and 1 < 2, 1, 0)", 1},
           {"where(1 + 1 <= 2 * 1, 1, 0)", 1},
           {"where(2 <= 1, 1, where(2 >= 2, 5, 6))", 5},
           {"where(1 == 1, 1, 0) + where(1 != 1, 10, 20)", 21},
           {"where(2 > 2, 1, 0)", 0},
           {"  1\n+\t2\r\n", 3},
       }) {
    CAPTURE(text);
    CHECK(value_of(text) == expected);
  }
  CHECK(value_of("x - y * x", 3, 2) == -3);
  CHECK(value_of("pi") == 3.14159265358979323846);
}

TEST_CASE("expression: every function, against the C library's") {
  const auto& listed = expression_functions();
  const std::vector<std::pair<std::string, double (*)(double)>> unary = {
      {"abs", [](double x) { return std::abs(x); }},
      {"floor", [](double x) { return std::floor(x); }},
      {"exp", [](double x) { return std::exp(x); }},
      {"log", [](double x) { return std::log(x); }},
      {"log1p", [](double x) { return std::log1p(x); }},
      {"sqrt", [](double x) { return std::sqrt(x); }},
      {"sin", [](double x) { return std::sin(x); }},
      {"cos", [](double x) { return std::cos(x); }},
      {"tanh", [](double x) { return std::tanh(x); }},
      {"sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
      {"softplus", [](double x) { return std::log(1 + std::exp(x)); }},
  };
  for (const auto& [name, f] : unary)
    for (const double x : {-0.75, 0.0, 0.25, 1.0, 2.5}) {
      if ((name == "log" && x <= 0) || (name == "sqrt" && x < 0)) continue;
      CAPTURE(name);
      CAPTURE(x);
      CHECK(value_of(name + "(x)", x) == doctest::Approx(f(x)).epsilon(1e-15));
    }
  CHECK(value_of("min(x, y)", 3, -2) == -2);
  CHECK(value_of("max(x, y)", 3, -2) == 3);
  CHECK(value_of("pow(x, y)", 3, -2) == doctest::Approx(1.0 / 9));
  CHECK(value_of("clamp(x, 0, y)", 3, 2) == 2);
  CHECK(value_of("clamp(x, 0, y)", -3, 2) == 0);
  CHECK(value_of("clamp(x, 0, y)", 1, 2) == 1);
  CHECK(value_of("where(x < y, x, y)", 3, -2) == -2);
  CHECK(listed.size() == unary.size() + 6);  // those just tried, and uniform
}

TEST_CASE("expression: uniform draws one number after the other, where it may") {
  const Expression f("f", "uniform(-1, 3) + uniform(0, 0.5)", {.variables = {}, .draws = true});
  Random drawn{.seed = 5}, again = drawn;
  const Tensor first = uniform({3, 1}, -1, 3, Dtype::f64, again), second = uniform({3, 1}, 0, 0.5, Dtype::f64, again);
  const std::vector<double> got = f({.variables = {}, .random = &drawn, .drawn = {3, 1}}).value().to_vector<double>();
  for (size_t i = 0; i < 3; ++i) CHECK(got[i] == first.to_vector<double>()[i] + second.to_vector<double>()[i]);
  CHECK(got[0] != got[1]);
}

TEST_CASE("expression: gradients of every operator and function") {
  const std::vector<std::string> formulas = {
      "-x + y - a * x / y", "x ^ y",         "pow(a, x)",      "where(x > y, x * a, y / a)",
      "min(x, a) * y",      "max(x, y) * a", "clamp(x, y, a)", "abs(x - y) * a",
      "exp(a * x)",         "log(x + y)",    "log1p(a * x)",   "sqrt(x * y)",
      "sin(a) * cos(x)",    "tanh(x - a)",   "sigmoid(a * y)", "softplus(x - y) ^ a",
      "a * floor(2.5)"};
  Random random{.seed = 3};
  const auto drawn = [&](const Shape& shape) { return uniform(shape, 0.5, 2, Dtype::f64, random); };
  const std::vector<Tensor> at = {drawn({5}), drawn({1, 5}), drawn({3, 1})};
  for (const std::string& text : formulas) {
    CAPTURE(text);
    const Expression f("f", text, {.variables = {}, .learned = {"x", "y", "a"}});
    const GradcheckResult result = gradcheck(
        [&](const std::vector<Var>& in) {
          return broadcast_to(f({.variables = {{"x", in[0]}, {"y", in[1]}, {"a", in[2]}}}), {3, 5});
        },
        at);
    CHECK_MESSAGE(result.worst <= 1e-8, result.message);
  }
}

TEST_CASE("expression: what where does not choose is infinite neither in value nor in gradient") {
  const Tensor distance = Tensor::of<double>({1, 4}, {0, 1, 2, 3});
  const auto gradient = [&](const std::string& text, double a, Tensor* value = nullptr) {
    const Var leaf = Var::leaf(Tensor::scalar(a, Dtype::f64));
    const Var y = Expression("f", text, names)({.variables = {{"distance", distance}, {"a", leaf}}});
    if (value) *value = y.value();
    return backward(y, Tensor::of<double>({1, 4}, {1, 10, 100, 1000}))[leaf].item<double>();
  };
  Tensor value;
  // d log(a d) / da = 1 / a at distances 1, 2, 3; log 0 at 0 is not chosen.
  CHECK(gradient("where(distance > 0, log(a * distance), 0)", 0.5, &value) == doctest::Approx(1110 / 0.5));
  CHECK(value.to_vector<double>()[0] == 0);
  CHECK(value.to_vector<double>()[3] == doctest::Approx(std::log(1.5)));
  CHECK(gradient("where(distance == 0, 0, a / distance)", 2) == doctest::Approx(10 + 100 / 2.0 + 1000 / 3.0));
  // Nested: sqrt of a negative number in one branch of a branch, 1 / 0 in the other.
  CHECK(gradient("where(distance >= 1, where(distance < 2, sqrt(a * (2 - distance)), 1 / (distance * distance - "
                 "distance) * a), a * 7)",
                 4) == doctest::Approx(7 + 10 * 0.5 / 2 + 100 / 2.0 + 1000 / 6.0));
  CHECK(gradient("where(distance > 0, where(distance > 2, a, log(a * distance)), 0)", 4) ==
        doctest::Approx(110 / 4.0 + 1000));
  // The mask of a branch ends with it.
  CHECK(gradient("where(distance > 1, a, 0) + a * distance", 3) == doctest::Approx(1100 + 10 + 200 + 3000));
  CHECK(gradient("where(distance > 0, exp(a * 1000) * distance, a)", -1) == doctest::Approx(1));
  CHECK(gradient("where(distance < 9, a, 1 / (distance - distance) * a)", 3) == doctest::Approx(1111));
}

TEST_CASE("expression: what reads and what learns") {
  const Expression f("f", "where(x > a, y, 2)", names);
  CHECK(f.reads("a"));
  CHECK(f.reads("y"));
  CHECK_FALSE(f.reads("distance"));
  CHECK_FALSE(f.learns("a"));
  CHECK(Expression("f", "where(x > 0, -sin(a), 2) ^ 2", names).learns("a"));
}

TEST_CASE("expression: what does not parse is refused at its line and column") {
  const std::string needs = "needs a number, a name or '('; got ";
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"", "f:1:1: " + needs + "the end"},
           {" \n ", "f:2:2: " + needs + "the end"},
           {"1 +", "f:1:4: " + needs + "the end"},
           {"1 + * 2", "f:1:5: " + needs + "'*'"},
           {"1 ** 2", "f:1:4: " + needs + "'*'; a power is ^"},
           {"1 2", "f:1:3: needs an operator or the end; got '2'"},
           {"x y", "f:1:3: needs an operator or the end; got 'y'"},
           {"2(3)", "f:1:2: needs an operator or the end; got '('"},
           {"1)", "f:1:2: needs an operator or the end; got ')'"},
           {"1.2.3", "f:1:4: needs an operator or the end; got '.3'"},
           {"1e", "f:1:2: needs an operator or the end; got 'e'"},
           {"(1 + 2", "f:1:7: needs ')' for the '(' at 1:1; got the end"},
           {"1 +\n  (2 +\n 3 4)", "f:3:4: needs ')' for the '(' at 2:3; got '4'"},
           {"min(1, 2", "f:1:9: needs ')' for the '(' at 1:4; got the end"},
           {"()", "f:1:2: " + needs + "')'"},
           {"min(, 2)", "f:1:5: " + needs + "','"},
           {"min(1,, 2)", "f:1:7: " + needs + "','"},
           {"min(1, )", "f:1:8: " + needs + "')'"},
           {"1, 2", "f:1:2: needs an operator or the end; got ','"},
           {"1 and", "f:1:6: " + needs + "the end"},
           {"1 + or", "f:1:5: " + needs + "'or'"},
           {"min(1)", "f:1:1: min takes 2 arguments; got 1"},
           {"1 + abs()", "f:1:5: abs takes 1 argument; got 0"},
           {"where(1 < 2, 3)", "f:1:1: where takes 3 arguments; got 2"},
           {"where(1 < 2, 3, 4, 5)", "f:1:1: where takes 3 arguments; got 4"},
           {"clamp(1, 2, 3, 4)", "f:1:1: clamp takes 3 arguments; got 4"},
           {"1 \xc3\x97 2", "f:1:3: unknown character '\xc3\x97'"},
           {"\xe2\x88\x92"
            "x",
            "f:1:1: unknown character '\xe2\x88\x92'"},
           {"x # y", "f:1:3: unknown character '#'"},
           {"x \xff", "f:1:3: unknown character '\\xff'"},
           {"x \x01", "f:1:3: unknown character '\\x01'"},
           {"x ! y", "f:1:3: unknown character '!'"},
           {"x = y", "f:1:3: '=' gives no value; two numbers are compared with =="},
           {"1 + 1e999", "f:1:5: the number 1e999 is beyond the range of a double"},
           {"1e-999", "f:1:1: the number 1e-999 is beyond the range of a double"},
           {"-x + distnce",
            "f:1:6: no variable named 'distnce'; did you mean 'distance'?; known: x, y, distance, a, pi"},
           {"qwerty",
            "f:1:1: no variable named 'qwerty'; known: x, y, distance, a, pi; encoding.learned names what is to be "
            "learned"},
           {"inf",
            "f:1:1: no variable named 'inf'; known: x, y, distance, a, pi; numbers are finite: -1e4 hides a key"},
           {"x > y ? 1 : 2", "f:1:7: unknown character '?'; where(condition, a, b) chooses"},
           {"x if y else 1", "f:1:3: needs an operator or the end; got 'if'; where(condition, a, b) chooses"},
           {"min", "f:1:1: 'min' is a function; needs its arguments in parentheses"},
           {"1 +\n logg(x)",
            "f:2:2: no function named 'logg'; did you mean 'log'?; known: where, min, max, clamp, abs, floor, pow, "
            "exp, "
            "log, log1p, sqrt, sin, cos, tanh, sigmoid, softplus"},
           {"x < y", "f:1:1: needs a number; this is a condition: where(condition, a, b) makes a number of it"},
           {"1 + (x < y)", "f:1:5: '+' takes numbers; this is a condition"},
           {"0 < x < 5", "f:1:1: '<' takes numbers; this is a condition"},
           {"-(x < y)", "f:1:2: '-' takes numbers; this is a condition"},
           {"+(x < y)", "f:1:2: '+' takes numbers; this is a condition"},
           {"exp(x == y)", "f:1:5: 'exp' takes numbers; this is a condition"},
           {"where(x, 1, 2)", "f:1:7: where needs a condition first, such as a > b; this is a number"},
           {"where(x > 1, y > 1, 2)", "f:1:14: 'where' takes numbers; this is a condition"},
           {"where(x and y > 1, 1, 2)", "f:1:7: 'and' takes conditions, such as a > b; this is a number"},
           {"where(not x, 1, 2)", "f:1:11: 'not' takes conditions, such as a > b; this is a number"},
           {"x + floor(2 * a)", "f:1:11: floor passes no gradient; 'a' would not be learned"},
           // Columns start anew on each line.
           {"(\xc3\x97", "f:1:2: unknown character '\xc3\x97'"},
           {"x +\r\n\ty y", "f:2:4: needs an operator or the end; got 'y'"},
       }) {
    CAPTURE(text);
    CHECK(refused(text) == message);
  }
  CHECK(refused("uniform(0, 1)").starts_with("f:1:1: no function named 'uniform'"));
  CHECK(refused("uniform(0, 1)", {.variables = {}, .draws = true}) == "accepted");
}

TEST_CASE("expression: an operation that is not finite is refused with its operands and the place") {
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"1 / 0", "f:1:3: 1 / 0 is inf; needs a finite number"},
           {"0 / (1 - 1)", "f:1:3: 0 / 0 is nan; needs a finite number"},
           {"1 + log(distance)", "f:1:5: log(0) is -inf at distance 0; needs a finite number"},
           {"2 / (distance - 2)", "f:1:3: 2 / 0 is inf at distance 2; needs a finite number"},
           {"distance +\n sqrt(a)", "f:2:2: sqrt(-1) is nan at head 1; needs a finite number"},
           {"log1p(distance * a)", "f:1:1: log1p(-1) is -inf at distance 1, head 1; needs a finite number"},
           {"a ^ 0.5", "f:1:3: (-1) ^ 0.5 is nan at head 1; needs a finite number"},
           {"1 / exp(1000 * distance)", "f:1:5: exp(1000) is inf at distance 1; needs a finite number"},
           {"where(distance > 0, 1 / distance, 1 / (distance - 1))", "accepted"},
           {"where(distance > 1, 1 / distance, 1 / distance)",
            "f:1:37: 1 / 0 is inf at distance 0; needs a finite number"},
       }) {
    CAPTURE(text);
    CHECK(refused_value(text) == message);
  }
  CHECK(refused_value("1e39 * a") == "accepted");
  CHECK(refused_value("a * 1e39", Dtype::f32) == "f:1:5: 1e+39 is inf; needs a finite number");
  Expression::Values values{.variables = {{"x", Tensor::of<double>({2}, {1, inf})}}};
  CHECK(refusal([&] {
          Expression("f", "x", names).checked(values, {"component", 4});
        }) == "f:1:1: x is inf at component 5; needs a finite number");
}

TEST_CASE("expression: long chains compute, deep nests are refused, both without recursion to the end of the stack") {
  std::string chain = "1";
  for (int i = 1; i < 20000; ++i) chain += "+1";
  CHECK(value_of(chain) == 20000);
  const auto nested = [](int depth) { return std::string(depth, '(') + "x" + std::string(depth, ')'); };
  CHECK(value_of(nested(99), 4) == 4);
  CHECK(refused(nested(100)) == "f:1:101: nested more than 100 deep");
  for (const char* open : {"(", "-", "+", "not ", "2^", "abs(", "where(", "1+(", "min(1,"}) {
    std::string text;
    for (int i = 0; i < 100000; ++i) text += open;
    CAPTURE(open);
    CHECK(refused(text).find("nested more than 100 deep") != std::string::npos);
  }
}

TEST_CASE("properties of expressions: any text either parses or is refused with its place") {
  const std::vector<std::string> pieces = {
      "x",  "distance", "a",  "1",    "2.5e-3", "(",    ")",    ",",      "+", "-",  "*",  "/", "^", "<", "<=",
      "==", "and",      "or", "not ", "where(", "min(", "log(", "floor(", " ", "\n", "pi", ".", "=", "e", "\xc3\xa9"};
  int parsed = 0;
  check_property(
      [&] {
        const auto length = *from_to<size_t>(0, 12);
        std::string text;
        for (size_t i = 0; i < length; ++i)
          text += *from_to(0, 9) == 0 ? std::string(1, static_cast<char>(*from_to(0, 255)))
                                      : pieces[*from_to<size_t>(0, pieces.size() - 1)];
        const std::string message = refused(text);
        if (message == "accepted") {
          ++parsed;
          value_of(text, 0.5, 2);
        } else {
          RC_ASSERT(message.starts_with("f:"));
        }
      },
      3000);
  CHECK(parsed > 20);
}

TEST_CASE("properties of expressions: a number written down is read back, and means itself in every place") {
  check_property([] {
    const double number = std::ldexp(static_cast<double>(*from_to<int64_t>(1, int64_t{1} << 53)), *from_to(-1000, 900));
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.17g", number);
    RC_ASSERT(value_of(digits) == number);
    RC_ASSERT(value_of(std::string("-(") + digits + ")") == -number);
    RC_ASSERT(value_of(std::string("where(x < 1, ") + digits + ", 1)") == number);
  });
}
