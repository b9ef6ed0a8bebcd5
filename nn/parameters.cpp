// Names are unique; a missing one is answered with the list.
#include "nn/parameters.hpp"

#include <algorithm>
#include <cmath>

namespace phasor {

Var ParameterList::add(const std::string& name, const Tensor& initial, const ParameterOptions& options) {
  for (const Parameter& p : all_) require<UsageError>(p.name != name, "parameters", "the name '", name, "' is taken");
  const ParameterOptions& o = options;
  require<UsageError>(o.weight_decay_factor >= 0 && o.learning_rate_factor >= 0 && o.gradient_clip >= 0, "parameters",
                      name, ": weight_decay_factor ", o.weight_decay_factor, ", learning_rate_factor ",
                      o.learning_rate_factor, ", gradient_clip ", o.gradient_clip, "; none may be negative");
  if (!std::isinf(o.minimum) || !std::isinf(o.maximum)) {
    // The bounds as the parameter's dtype has them: 0.01 in f32 is a little less.
    const auto rounded = [&](double x) { return Tensor::scalar(x, initial.dtype()).to(Dtype::f64).item<double>(); };
    const double low = rounded(o.minimum), high = rounded(o.maximum);
    for (const double value : initial.to(Dtype::f64).to_vector<double>())
      require<UsageError>(!(value < low || value > high), "parameters", name, ": an initial value is ", value,
                          "; needs ", o.minimum, " to ", o.maximum);
  }
  all_.push_back({name, Var::leaf(initial.clone()), options});
  return all_.back().var;
}

void ParameterList::append(const std::string& prefix, const ParameterList& other) {
  for (const Parameter& p : other.all_) {
    for (const Parameter& mine : all_)
      require<UsageError>(mine.name != prefix + p.name, "parameters", "the name '", mine.name, "' is taken");
    all_.push_back({prefix + p.name, p.var, p.options});
  }
}

void ParameterList::move_to(Device device) const {
  for (const Parameter& p : all_) p.var.move_to(device);
}

const Var& ParameterList::operator[](const std::string& name) const {
  std::string known;
  for (const Parameter& p : all_) {
    if (p.name == name) return p.var;
    known += (known.empty() ? "" : ", ") + p.name;
  }
  fail<UsageError>("parameters", "no parameter named '", name, "'; known: ", known);
}

int64_t ParameterList::count() const {
  int64_t numbers = 0;
  for (const Parameter& p : all_) numbers += p.var.size();
  return numbers;
}

}  // namespace phasor
