// ParameterList: names to Vars, in order of creation. The Vars are handles: a value given to one reaches every layer
// and encoding that holds it.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "autograd/var.hpp"

namespace phasor {

// How the optimizer treats a parameter.
struct ParameterOptions {
  double weight_decay_factor = 0;  // of AdamW's weight decay: 1 for weights of products; norms, embeddings, encodings 0
  double learning_rate_factor = 1;  // of the learning rate: learned frequencies want another one; 0 keeps it fixed, but
                                    // its gradient counts in the norm
  double gradient_clip = 0;         // limit of the norm of its own gradient, before the global one; 0: none
  // After each step every number is brought back between these. (A clamp in the formula would stop the gradient of a
  // number that has once left, for good.)
  double minimum = -std::numeric_limits<double>::infinity(), maximum = std::numeric_limits<double>::infinity();
};

struct Parameter {
  std::string name;
  Var var;
  ParameterOptions options;
};

class ParameterList {
 public:
  // A new leaf with a row-major copy of `initial`. UsageError if the name is taken, a factor or the clip is negative,
  // or the bounds leave out the initial values.
  Var add(const std::string& name, const Tensor& initial, const ParameterOptions& options = {});
  // Adds the other list's parameters under `prefix`.
  void append(const std::string& prefix, const ParameterList& other);

  void move_to(Device device) const;  // all values, for every handle to them

  const std::vector<Parameter>& all() const { return all_; }
  const Var& operator[](const std::string& name) const;  // UsageError listing the names if there is none
  int64_t count() const;                                 // numbers in all parameters together

 private:
  std::vector<Parameter> all_;
};

}  // namespace phasor
