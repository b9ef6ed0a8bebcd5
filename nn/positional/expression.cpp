// The parser, which writes the steps of the computation in their order (postfix), and the stack that runs them.
#include "nn/positional/expression.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <sstream>

#include "core/nearest_name.hpp"
#include "nn/positional/expression_operations.hpp"

namespace phasor {

using Place = Expression::Place;
using Step = Expression::Step;
using Operation = Expression::Operation;

// ---- parser

namespace {

[[noreturn]] void refuse(const std::string& setting, Place place, const std::string& what) {
  throw UsageError(setting + ":" + std::to_string(place.line) + ":" + std::to_string(place.column) + ": " + what);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool begins_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

bool continues_name(char c) { return begins_name(c) || is_digit(c); }

struct Token {
  enum Type { end, number, name, symbol } type = end;
  std::string text;
  double value = 0;
  Place place;
};

// The character that begins at `start`, as it is, or \xNN for a byte that is none.
std::string character_at(const std::string& text, size_t start) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  const int first = byte(start);
  const size_t size = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  bool is_whole = first >= 0x20 && first != 0x7F && (first < 0x80 || first >= 0xC0);
  for (size_t i = 1; i < size; ++i) is_whole = is_whole && (byte(start + i) & 0xC0) == 0x80;
  if (is_whole) return text.substr(start, size);
  constexpr char hex[] = "0123456789abcdef";
  return std::string("\\x") + hex[first >> 4] + hex[first & 15];
}

constexpr const char* use_where = "; where(condition, a, b) chooses";

// What a part of the text computes.
struct Part {
  Place place;
  ExpressionKind kind = ExpressionKind::number;
  std::set<std::string> learned = {};  // what passes gradients to it
};

class Parser {
 public:
  Parser(const std::string& setting, const std::string& text, const Expression::Names& names)
      : setting_(setting), text_(text), names_(names) {}

  Part parse() {
    advance();
    const Part whole = chain(lowest_level);
    if (token_.type != Token::end)
      fail_at(token_.place, "needs an operator or the end; got " + shown() + (is("if") ? use_where : ""));
    if (whole.kind == ExpressionKind::condition)
      fail_at(whole.place, "needs a number; this is a condition: where(condition, a, b) makes a number of it");
    return whole;
  }

  std::vector<Step> steps;

 private:
  [[noreturn]] void fail_at(Place place, const std::string& what) const { refuse(setting_, place, what); }

  std::string shown() const { return token_.type == Token::end ? "the end" : "'" + token_.text + "'"; }

  bool is(const char* text) const { return token_.text == text && token_.type != Token::number; }

  bool take(const char* text) {
    if (!is(text)) return false;
    advance();
    return true;
  }

  void move(size_t bytes) {
    for (; bytes > 0; --bytes, ++at_) {
      if (text_[at_] == '\n')
        place_ = {place_.line + 1, 1};
      else
        ++place_.column;
    }
  }

  void advance() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r' || text_[at_] == '\n'))
      move(1);
    token_ = {.type = Token::end, .text = {}, .place = place_};
    if (at_ == text_.size()) return;
    const char c = text_[at_], after = at_ + 1 < text_.size() ? text_[at_ + 1] : ' ';
    size_t size = 1;
    if (is_digit(c) || (c == '.' && is_digit(after))) {
      token_.type = Token::number;
      const char* const start = text_.data() + at_;
      const auto [end, error] = std::from_chars(start, text_.data() + text_.size(), token_.value);
      size = static_cast<size_t>(end - start);
      if (error != std::errc())
        fail_at(place_, "the number " + text_.substr(at_, size) + " is beyond the range of a double");
    } else if (begins_name(c)) {
      token_.type = Token::name;
      while (at_ + size < text_.size() && continues_name(text_[at_ + size])) ++size;
    } else if (std::string("<>=!").find(c) != std::string::npos && after == '=') {
      token_.type = Token::symbol;
      size = 2;
    } else if (std::string("+-*/^(),<>").find(c) != std::string::npos) {
      token_.type = Token::symbol;
    } else if (c == '=') {
      fail_at(place_, "'=' gives no value; two numbers are compared with ==");
    } else {
      fail_at(place_, "unknown character '" + character_at(text_, at_) + "'" + (c == '?' ? use_where : ""));
    }
    token_.text = text_.substr(at_, size);
    move(size);
  }

  // Parts have names before they stand in a list: GCC 12 cleans a braced list up wrongly where making a part of it
  // throws.

  // A chain of operands and infix operators of at least this level.
  Part chain(int level) {
    Part left = operand();
    for (;;) {
      const auto infix =
          std::find_if(expression_infixes().begin(), expression_infixes().end(),
                       [&](const ExpressionInfix& i) { return i.level >= level && is(i.operation.name.c_str()); });
      if (infix == expression_infixes().end()) return left;
      const Place place = token_.place;
      advance();
      const Part right = chain(infix->level + 1);
      left = applied(infix->operation, place, {left, right});
    }
  }

  // Every way deeper into the text leads through here.
  Part operand() {
    constexpr int deepest = 100;
    if (++depth_ > deepest) fail_at(token_.place, "nested more than " + std::to_string(deepest) + " deep");
    const Part part = signed_operand();
    --depth_;
    return part;
  }

  Part signed_operand() {
    const Place place = token_.place;
    if (take("-")) {
      const Part part = operand();
      return applied(negation(), place, {part});
    }
    if (take("+")) {
      const Part part = operand();
      need(part, ExpressionKind::number, "+");
      return part;
    }
    if (take("not")) {
      const Part part = chain(comparison_level);
      return applied(not_operation(), place, {part});
    }
    const Part base = primary();
    const Place sign = token_.place;
    if (!take("^")) return base;
    const Part exponent = operand();
    return applied(power(), sign, {base, exponent});
  }

  Part primary() {
    const Token token = token_;
    if (token.type == Token::number) {
      advance();
      steps.push_back({Step::number, token.place, token.value});
      return {token.place};
    }
    if (take("(")) {
      Part inner = chain(lowest_level);
      close(token.place);
      inner.place = token.place;
      return inner;
    }
    if (token.type != Token::name || is("and") || is("or"))
      fail_at(token.place, "needs a number, a name or '('; got " + shown() +
                               (is("*") && at_ >= 2 && text_[at_ - 2] == '*' ? "; a power is ^" : ""));
    advance();
    return is("(") ? call(token) : variable(token);
  }

  void close(Place opened) {
    if (take(")")) return;
    fail_at(token_.place, "needs ')' for the '(' at " + std::to_string(opened.line) + ":" +
                              std::to_string(opened.column) + "; got " + shown());
  }

  bool may_call(const std::string& name) const { return name != "uniform" || names_.draws; }

  Part variable(const Token& token) {
    const auto holds = [&](const std::vector<std::string>& list) {
      return std::find(list.begin(), list.end(), token.text) != list.end();
    };
    if (token.text == "pi") {
      steps.push_back({Step::number, token.place, std::numbers::pi});
      return {token.place};
    }
    const bool is_learned = holds(names_.learned);
    if (!is_learned && !holds(names_.variables)) {
      for (const ExpressionFunction& f : expression_functions())
        if (f.operation.name == token.text)
          fail_at(token.place, "'" + token.text + "' is a function; needs its arguments in parentheses");
      std::vector<std::string> known = names_.variables;
      known.insert(known.end(), names_.learned.begin(), names_.learned.end());
      known.push_back("pi");
      const bool is_near = !nearest_name(token.text, known).empty();
      fail_at(token.place, unknown_name("variable", token.text, known) +
                               (token.text == "inf" || token.text == "nan" ? "; numbers are finite: -1e4 hides a key"
                                : is_near || names_.draws                  ? ""
                                                          : "; encoding.learned names what is to be learned"));
    }
    steps.push_back({Step::variable, token.place, 0, token.text});
    Part part = {token.place};
    if (is_learned) part.learned.insert(token.text);
    return part;
  }

  Part call(const Token& name) {
    const auto f = std::find_if(
        expression_functions().begin(), expression_functions().end(),
        [&](const ExpressionFunction& known) { return known.operation.name == name.text && may_call(name.text); });
    if (f == expression_functions().end()) {
      std::vector<std::string> known;
      for (const ExpressionFunction& other : expression_functions())
        if (may_call(other.operation.name)) known.push_back(other.operation.name);
      fail_at(name.place, unknown_name("function", name.text, known));
    }
    const Place opened = token_.place;
    advance();
    std::vector<Part> parts;
    while (!is(")") || !parts.empty()) {
      parts.push_back(chain(lowest_level));
      if (name.text == "where" && parts.size() == 1) {
        if (parts[0].kind == ExpressionKind::number)
          fail_at(parts[0].place, "where needs a condition first, such as a > b; this is a number");
        steps.push_back({Step::first_branch, name.place});
      } else if (name.text == "where" && parts.size() == 2) {
        steps.push_back({Step::second_branch, name.place});
      }
      if (!take(",")) break;
    }
    close(opened);
    if (const size_t needed = f->operation.operands; parts.size() != needed)
      fail_at(name.place, name.text + " takes " + std::to_string(needed) + (needed == 1 ? " argument" : " arguments") +
                              "; got " + std::to_string(parts.size()));
    if (name.text == "floor" && !parts[0].learned.empty())
      fail_at(parts[0].place, "floor passes no gradient; '" + *parts[0].learned.begin() + "' would not be learned");
    if (name.text == "where") {
      parts.erase(parts.begin());  // no gradient goes through the condition
      return applied(f->operation, name.place, parts, Step::choose);
    }
    return applied(f->operation, name.place, parts, name.text == "uniform" ? Step::draw : Step::apply);
  }

  void need(const Part& part, ExpressionKind kind, const std::string& name) const {
    if (part.kind == kind) return;
    fail_at(part.place, kind == ExpressionKind::number
                            ? "'" + name + "' takes numbers; this is a condition"
                            : "'" + name + "' takes conditions, such as a > b; this is a number");
  }

  Part applied(const Operation& operation, Place place, const std::vector<Part>& parts, Step::Kind kind = Step::apply) {
    Part result = {parts[0].place, operation.gives};
    for (const Part& part : parts) {
      need(part, operation.of, operation.name);
      result.learned.insert(part.learned.begin(), part.learned.end());
    }
    steps.push_back({kind, place, 0, {}, &operation});
    return result;
  }

  const std::string& setting_;
  const std::string& text_;
  const Expression::Names& names_;
  size_t at_ = 0;
  Place place_;  // of text_[at_]
  Token token_;  // the next one
  int depth_ = 0;
};

}  // namespace

bool is_expression_name(const std::string& text) {
  return !text.empty() && begins_name(text[0]) && std::all_of(text.begin(), text.end(), continues_name);
}

Expression::Expression(std::string setting, const std::string& text, const Names& names)
    : setting_(std::move(setting)) {
  Parser parser(setting_, text, names);
  learned_ = parser.parse().learned;
  steps_ = std::move(parser.steps);
}

bool Expression::reads(const std::string& name) const {
  return std::any_of(steps_.begin(), steps_.end(),
                     [&](const Step& step) { return step.kind == Step::variable && step.name == name; });
}

// ---- computation

namespace {

std::string text_of(double value) {
  if (std::isnan(value)) return "nan";  // a stream may write -nan
  std::ostringstream text;
  text << value;
  return text.str();
}

// "log(-1)", "1 / 0": an operation with the numbers it was given.
std::string written(const Operation& operation, const std::vector<double>& x) {
  const std::string& name = operation.name;
  const auto operand = [](double value) { return value < 0 ? "(" + text_of(value) + ")" : text_of(value); };
  if (!begins_name(name[0]))
    return x.size() == 1 ? name + operand(x[0]) : operand(x[0]) + " " + name + " " + operand(x[1]);
  std::string arguments;
  for (const double value : x) arguments += (arguments.empty() ? "" : ", ") + text_of(value);
  return name + "(" + arguments + ")";
}

// " at distance 3, head 1", for an element of a tensor of at most two axes; axes of extent 1 are not named.
std::string place_of(int64_t element, const Shape& shape, const Expression::Axis& axis) {
  const int64_t last = shape.rank() >= 1 ? shape[-1] : 1, heads = shape.rank() >= 2 ? shape[-2] : 1;
  std::string place;
  if (last > 1) place += " at " + axis.name + " " + std::to_string(axis.first + element % last);
  if (heads > 1) place += (place.empty() ? " at" : ",") + std::string(" head ") + std::to_string(element / last);
  return place;
}

}  // namespace

Var Expression::computed(const Values& values, const Axis* axis) const {
  std::vector<Var> stack;
  std::vector<Tensor> masks;  // of the branches we are in: where their value counts
  const auto pop = [&](size_t count) {
    const std::vector<Var> top(stack.end() - static_cast<int64_t>(count), stack.end());
    stack.resize(stack.size() - count);
    return top;
  };
  const auto within = [&](const Tensor& condition) {
    return masks.empty() ? condition : both(masks.back(), condition);
  };
  const auto require_finite = [&](const Step& step, const std::vector<Var>& operands, const Var& result) {
    if (!axis || result.dtype() == Dtype::boolean) return;
    const std::vector<double> numbers = result.value().to(Dtype::f64).to_vector<double>();
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (std::isfinite(numbers[i])) continue;
      std::vector<double> given;
      for (const Var& x : operands)
        given.push_back(x.value().to(Dtype::f64).broadcast_to(result.shape()).to_vector<double>()[i]);
      refuse(setting_, step.place,
             (step.operation                ? written(*step.operation, given)
              : step.kind == Step::variable ? step.name
                                            : text_of(step.value)) +
                 " is " + text_of(numbers[i]) + place_of(static_cast<int64_t>(i), result.shape(), *axis) +
                 "; needs a finite number");
    }
  };
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Step::number:
        stack.push_back(Tensor::scalar(step.value, values.dtype));
        require_finite(step, {}, stack.back());
        break;
      case Step::variable:
        stack.push_back(values.variables.at(step.name));
        require_finite(step, {}, stack.back());
        break;
      case Step::draw: {
        const std::vector<Var> range = pop(2);
        for (const double width : (range[1] - range[0]).value().to(Dtype::f64).to_vector<double>())
          if (width < 0) refuse(setting_, step.place, "uniform(low, high) has low above high");
        stack.push_back(range[0] + (range[1] - range[0]) * uniform(values.drawn, 0, 1, values.dtype, *values.random));
        require_finite(step, range, stack.back());
        break;
      }
      case Step::first_branch:  // the condition stays below the branches
        masks.push_back(within(stack.back().value()));
        break;
      case Step::second_branch:
        masks.pop_back();
        masks.push_back(within(negated(stack[stack.size() - 2].value())));
        break;
      case Step::choose: {
        masks.pop_back();
        const std::vector<Var> chosen = pop(3);
        stack.push_back(where(chosen[0].value(), chosen[1], chosen[2]));
        break;
      }
      case Step::apply: {
        std::vector<Var> operands = pop(step.operation->operands);
        if (!masks.empty() && step.operation->of == ExpressionKind::number)
          for (Var& x : operands) x = where(masks.back(), x, Tensor::scalar(1, values.dtype));
        stack.push_back(step.operation->apply(operands));
        require_finite(step, operands, stack.back());
        break;
      }
    }
  }
  return stack.back();
}

}  // namespace phasor
