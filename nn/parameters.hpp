// ParameterList: names to Vars, in order of creation. The Vars are handles: a value given to one reaches every layer
// and encoding that holds it.
#pragma once

#include <string>
#include <vector>

#include "autograd/var.hpp"

namespace phasor {

enum class Decay { yes, no };  // whether AdamW shrinks it: weights of products yes; norms, embeddings, encodings no

struct Parameter {
  std::string name;
  Var var;
  Decay decay;
};

class ParameterList {
 public:
  // A new leaf with a row-major copy of `initial`. UsageError if the name is taken.
  Var add(const std::string& name, const Tensor& initial, Decay decay);
  // Adds the other list's parameters under `prefix`.
  void append(const std::string& prefix, const ParameterList& other);

  const std::vector<Parameter>& all() const { return all_; }
  const Var& operator[](const std::string& name) const;  // UsageError listing the names if there is none
  int64_t count() const;                                 // numbers in all parameters together

 private:
  std::vector<Parameter> all_;
};

}  // namespace phasor
