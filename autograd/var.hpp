// Var: a Tensor and, if it was computed from something that needs gradients, how it was made.
// backward(loss) returns the gradients; nothing is stored in the variables, so nothing needs zeroing.
//
//   Var w = Var::leaf(Tensor::of<float>({2}, {1, 2}));
//   Gradients grads = backward(sum(w * w));
//   grads[w]   // [2, 4]
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/error.hpp"
#include "core/tensor.hpp"

namespace phasor {

class Var;
struct Node;

struct Arrivals;

// Which inputs want a gradient; a rule may leave the others undefined. Any number of inputs: it looks at the node that
// the rule belongs to, and so is for use inside the rule only.
class Wanted {
 public:
  Wanted(const Node& node, Arrivals& arrivals) : node_(&node), arrivals_(&arrivals) {}
  bool operator[](int input) const;
  // What others have sent to the input so far, of the input's shape; undefined if nothing. A rule that takes it returns
  // its own gradient plus this: a kernel that adds before it stores saves a pass over the sum.
  Tensor take(int input) const;

 private:
  const Node* node_;
  Arrivals* arrivals_;
};

// From the gradient of the output to the gradients of the inputs, in their order. Returns; never writes into what it
// captured or received. A gradient may have the broadcast shape: record() sums it back.
using Rule = std::function<std::vector<Tensor>(const Tensor& dy, Wanted wanted)>;

class Var {
 public:
  Var() = default;
  Var(Tensor value) : value_(std::move(value)) {}  // a constant: gradients stop here

  // A variable whose gradient is wanted. Copies are handles to the same leaf: a value given to assign() reaches all.
  static Var leaf(Tensor value);

  const Tensor& value() const;
  bool defined() const { return value().defined(); }
  bool needs_gradient() const { return node_ != nullptr; }
  bool is_leaf() const;

  const Shape& shape() const { return value().shape(); }
  Dtype dtype() const { return value().dtype(); }
  Device device() const { return value().device(); }
  int rank() const { return value().rank(); }
  int64_t size() const { return value().size(); }
  int64_t extent(int axis) const { return value().extent(axis); }

  // Replaces the value of a leaf, for every handle to it. Shape and dtype must stay. GradientError if not a leaf.
  void assign(Tensor value) const;
  // Moves the value of a leaf to the device, for every handle to it. GradientError if not a leaf, DeviceError if the
  // device is not there.
  void move_to(Device device) const;
  // The leaf's value for whoever changes it in place (an optimizer); counts as an assign.
  Tensor value_to_change() const;

  const std::shared_ptr<Node>& node() const { return node_; }

 private:
  friend Var record(const char* op, Tensor value, std::vector<Var> parents, Rule rule);
  friend Var checkpointed(std::function<Var()> f);

  Tensor value_;                // undefined for a leaf: its node holds the value
  std::shared_ptr<Node> node_;  // null for a constant
};

// How a Var was made. Keeps its parents' nodes, not their values: what a rule needs it captures.
struct Node {
  struct Input {
    std::shared_ptr<Node> node;  // null where no gradient is needed
    Shape shape;
    Dtype dtype;
    Device device;
  };
  const char* op = "leaf";
  uint64_t number = 0;  // order of creation; parents have smaller numbers
  std::vector<Input> inputs;
  Rule rule;                     // empty for a leaf, and after backward has used it
  std::function<Var()> compute;  // in place of a rule: makes the value, and its graph, again
  Tensor leaf_value;             // only for a leaf
  uint64_t changes = 0;          // how often the leaf was given a new value

  ~Node();  // releases a chain of any length without recursion
};

inline bool Wanted::operator[](int input) const { return node_->inputs[static_cast<size_t>(input)].node != nullptr; }

// Makes the result of a differentiable op. If gradients are being recorded and a parent needs one, keeps the rule.
// At backward the rule's results are checked (count, shape up to broadcasting, dtype) and broadcasting is undone here,
// once for all ops: a rule for add returns dy twice.
Var record(const char* op, Tensor value, std::vector<Var> parents, Rule rule);

// f(), without keeping what f records: activation checkpointing (Chen et al., arXiv:1604.06174). backward calls f again
// when it gets there, and goes on through the graph that this makes. Memory for activations is then that of one f at a
// time, for the price of a second forward pass.
//
//   x = checkpointed([=] { return block(x); });
//
// The gradients are those of f() to the last bit: the rules run in the same order, on values computed in the same
// order. f must compute the same value both times: GradientError where its shape or dtype differs, and where a leaf
// that it reads has been given a new value in between. It may be called long after this returns, so it captures handles
// by value. What f reads needs no list: it is found in the graph of the first call.
Var checkpointed(std::function<Var()> f);

// While one exists on this thread, nothing is recorded: evaluation, generation, dissection.
class NoGradient {
 public:
  NoGradient();
  ~NoGradient();
  NoGradient(const NoGradient&) = delete;
  NoGradient& operator=(const NoGradient&) = delete;
};

// The gradients of a loss with respect to its leaves.
class Gradients {
 public:
  const Tensor& operator[](const Var& leaf) const;  // GradientError if the loss does not depend on the leaf
  bool has(const Var& leaf) const;

 private:
  friend Gradients backward(const Var& loss);
  friend Gradients backward(const Var& output, Tensor cotangent);
  std::unordered_map<std::shared_ptr<const Node>, Tensor> of_leaf_;
};

// Reverse mode. Nodes are taken by descending creation number, which is a topological order and the one order in which
// gradients add. Frees what each node kept as it goes: a graph can be used once (GradientError the second time).
// `loss` holds one element; with a cotangent (the output's shape and dtype), any output: the gradients of
// sum(output * cotangent).
Gradients backward(const Var& loss);
Gradients backward(const Var& output, Tensor cotangent);

}  // namespace phasor
