// Central differences against the recorded rules. The difference of two outputs is taken element by element before it
// is weighted and added, so that large outputs which do not move cancel exactly.
#include "autograd/gradcheck.hpp"

#include <cmath>
#include <limits>
#include <sstream>

#include "core/random.hpp"

namespace phasor {
namespace {

using Function = std::function<Var(const std::vector<Var>&)>;

constexpr double infinity = std::numeric_limits<double>::infinity();
const double relative_step = std::cbrt(std::numeric_limits<double>::epsilon());

std::vector<double> values_at(const Function& f, const std::vector<Tensor>& inputs) {
  const NoGradient no_gradient;
  return f(std::vector<Var>(inputs.begin(), inputs.end())).value().to_vector<double>();
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// A slope, and by how much rounding of the outputs may have moved it.
struct Difference {
  double slope, rounding;
};

// How sum(output * cotangent) changes, for each cotangent, while input `moved` goes from x - h u to x + h u, divided by
// 2 h. Where |x| > 1 the step grows with |x|, or rounding would eat it.
std::vector<Difference> differences(const Function& f, std::vector<Tensor> inputs, size_t moved,
                                    const std::vector<double>& direction,
                                    const std::vector<std::vector<double>>& cotangents) {
  const std::vector<double> x = inputs[moved].to_vector<double>();
  double magnitude = 1;
  for (size_t i = 0; i < x.size(); ++i)
    if (direction[i] != 0) magnitude = std::max(magnitude, std::abs(x[i]));
  const double h = relative_step * magnitude;

  std::vector<double> up = x, down = x;
  for (size_t i = 0; i < x.size(); ++i) {
    up[i] += h * direction[i];
    down[i] -= h * direction[i];
  }
  const Shape shape = inputs[moved].shape();
  inputs[moved] = Tensor::of<double>(shape, up);
  const std::vector<double> above = values_at(f, inputs);
  inputs[moved] = Tensor::of<double>(shape, down);
  const std::vector<double> below = values_at(f, inputs);

  std::vector<double> difference(above.size());
  for (size_t i = 0; i < above.size(); ++i) difference[i] = above[i] - below[i];
  std::vector<Difference> slopes;
  for (const std::vector<double>& cotangent : cotangents) {
    double rounding = 0;  // a few units in the last place of each output
    for (size_t i = 0; i < above.size(); ++i)
      rounding += 4 * std::numeric_limits<double>::epsilon() * std::abs(above[i] * cotangent[i]);
    slopes.push_back({dot(difference, cotangent) / (2 * h), rounding / (2 * h)});
  }
  return slopes;
}

std::vector<double> random_vector(int64_t size, Random& random) {
  std::vector<double> values(static_cast<size_t>(size));
  for (double& value : values) value = random.normal();
  return values;
}

struct Slope {
  Difference numeric;
  double analytic;
  std::string place;
};

// Takes the slopes of one input under one cotangent into the result.
void judge(const std::vector<Slope>& slopes, GradcheckResult& result) {
  double scale = 0;
  for (const Slope& slope : slopes) scale = std::max({scale, std::abs(slope.numeric.slope), std::abs(slope.analytic)});
  for (const Slope& slope : slopes) {
    // Where the gradient is 0 the difference is nothing but rounding, which says nothing against the rule.
    double error = std::abs(slope.numeric.slope - slope.analytic);
    if (error <= slope.numeric.rounding) error = 0;
    if (error != 0) error /= scale;
    if (!std::isfinite(error)) error = infinity;
    if (!(error <= result.worst) || result.message.empty()) {
      std::ostringstream message;
      message.precision(17);
      message << "gradcheck: " << slope.place << ": got " << slope.analytic << ", central difference "
              << slope.numeric.slope << ", relative error " << error;
      result = {std::max(error, result.worst), message.str()};
    }
  }
}

}  // namespace

GradcheckResult gradcheck(const Function& f, const std::vector<Tensor>& inputs, const GradcheckOptions& options) {
  Random random{.seed = options.seed};
  std::vector<Var> variables;
  for (const Tensor& input : inputs) variables.push_back(input.dtype() == Dtype::f64 ? Var::leaf(input) : Var(input));

  require<ValueError>(std::any_of(inputs.begin(), inputs.end(),
                                  [](const Tensor& x) { return x.dtype() == Dtype::f64 && x.size() > 0; }),
                      "gradcheck", "nothing to check: no input is f64 and has elements");
  require<ValueError>(options.cotangents >= 1 && options.directions >= 1, "gradcheck", options.cotangents,
                      " cotangents and ", options.directions, " directions; needs at least 1 of each");
  // One graph per cotangent: backward uses a graph up.
  std::vector<std::vector<double>> cotangents;
  std::vector<Gradients> gradients;
  for (int i = 0; i < options.cotangents; ++i) {
    const Var output = f(variables);
    require<DtypeError>(output.dtype() == Dtype::f64, "gradcheck", "the function must return f64, returned ",
                        output.dtype());
    require(output.size() > 0, "gradcheck", "nothing to check: the function returned ", output.shape());
    cotangents.push_back(random_vector(output.size(), random));
    // An output without history is a function whose gradients are all claimed to be zero.
    gradients.push_back(output.needs_gradient()
                            ? backward(output, Tensor::of<double>(output.shape(), cotangents.back()))
                            : Gradients());
  }

  GradcheckResult result;
  for (size_t input = 0; input < inputs.size(); ++input) {
    if (inputs[input].dtype() != Dtype::f64) continue;
    const int64_t size = inputs[input].size();
    std::vector<std::vector<double>> analytic;
    for (const Gradients& of : gradients)
      analytic.push_back(of.has(variables[input]) ? of[variables[input]].to_vector<double>()
                                                  : std::vector<double>(static_cast<size_t>(size)));

    const bool elementwise = size <= options.elementwise_up_to;
    std::vector<std::vector<Slope>> slopes(cotangents.size());
    for (int64_t probe = 0; probe < (elementwise ? size : options.directions); ++probe) {
      std::vector<double> direction(static_cast<size_t>(elementwise ? size : 0));
      if (elementwise)
        direction[static_cast<size_t>(probe)] = 1;
      else
        direction = random_vector(size, random);
      std::ostringstream place;
      place << "input " << input << ' ' << inputs[input].shape() << (elementwise ? ", element " : ", direction ")
            << probe;
      const std::vector<Difference> numeric = differences(f, inputs, input, direction, cotangents);
      for (size_t i = 0; i < cotangents.size(); ++i)
        slopes[i].push_back({numeric[i], dot(analytic[i], direction), place.str()});
    }
    for (const std::vector<Slope>& of_cotangent : slopes) judge(of_cotangent, result);
  }
  return result;
}

GradcheckResult gradcheck(const std::function<Var()>& f, const std::vector<Var>& leaves,
                          const GradcheckOptions& options) {
  std::vector<Tensor> values;
  for (const Var& leaf : leaves) values.push_back(leaf.value());
  const auto assign = [&](const auto& given) {
    for (size_t i = 0; i < leaves.size(); ++i) leaves[i].assign(given(i));
  };
  // The leaves take the values of the inputs; the gradients of the leaves are those of the inputs.
  const auto of_inputs = [&](const std::vector<Var>& inputs) {
    assign([&](size_t i) { return inputs[i].value(); });
    const Var y = f();
    return record("gradcheck", y.value(), inputs, [&leaves, y](const Tensor& dy, Wanted) {
      const Gradients of = y.needs_gradient() ? backward(y, dy) : Gradients();
      std::vector<Tensor> gradients;
      for (const Var& leaf : leaves)
        gradients.push_back(of.has(leaf) ? of[leaf] : Tensor::zeros(leaf.shape(), leaf.dtype()));
      return gradients;
    });
  };
  try {
    const GradcheckResult result = gradcheck(of_inputs, values, options);
    assign([&](size_t i) { return values[i]; });
    return result;
  } catch (...) {
    assign([&](size_t i) { return values[i]; });
    throw;
  }
}

}  // namespace phasor
