// Recording of ops and the reverse pass over what was recorded.
#include "autograd/var.hpp"

#include <atomic>
#include <map>
#include <queue>
#include <unordered_set>
#include <utility>

#include "core/ops/binary.hpp"
#include "core/ops/reduce.hpp"

namespace phasor {
namespace {

thread_local int no_gradient_depth = 0;
std::atomic<uint64_t> nodes_created = 0;  // one order for all threads: parents are always older

}  // namespace

NoGradient::NoGradient() { ++no_gradient_depth; }
NoGradient::~NoGradient() { --no_gradient_depth; }

Var Var::leaf(Tensor value) {
  require<DtypeError>(is_float(value.dtype()), "leaf", "gradients need f32 or f64, got ", value.dtype());
  Var var;
  var.node_ = std::make_shared<Node>();
  var.node_->number = nodes_created++;
  var.node_->leaf_value = std::move(value);
  return var;
}

bool Var::is_leaf() const { return node_ && node_->leaf_value.defined(); }

const Tensor& Var::value() const { return is_leaf() ? node_->leaf_value : value_; }

void Var::assign(Tensor value) const {
  require<GradientError>(is_leaf(), "assign", "only a leaf can be given a new value");
  require_same_shape("assign", "the leaf", node_->leaf_value, "the new value", value);
  require_same_dtype("assign", "the leaf", node_->leaf_value, "the new value", value);
  node_->leaf_value = std::move(value);
  ++node_->changes;
}

void Var::move_to(Device device) const {
  require<GradientError>(is_leaf(), "move_to", "only a leaf can be moved");
  if (node_->leaf_value.is_on(device)) return;
  node_->leaf_value = node_->leaf_value.to(device);
  ++node_->changes;
}

Tensor Var::value_to_change() const {
  require<GradientError>(is_leaf(), "value_to_change", "only a leaf may be changed");
  ++node_->changes;
  return node_->leaf_value;
}

Node::~Node() {
  // What a node holds - inputs, and whatever its functions captured - may be all that keeps other nodes alive. The
  // outermost destructor takes them apart one by one: a recursion as deep as the graph would overflow.
  struct Held {
    std::vector<Input> inputs;
    Rule rule;
    std::function<Var()> compute;
  };
  static thread_local std::vector<Held>* taking_apart = nullptr;
  Held own{std::move(inputs), std::move(rule), std::move(compute)};
  if (taking_apart) {
    taking_apart->push_back(std::move(own));
    return;
  }
  std::vector<Held> waiting;
  waiting.push_back(std::move(own));
  taking_apart = &waiting;
  while (!waiting.empty()) {
    const Held held = std::move(waiting.back());
    waiting.pop_back();
  }
  taking_apart = nullptr;
}

Var record(const char* op, Tensor value, std::vector<Var> parents, Rule rule) {
  Var var(std::move(value));
  bool any = false;
  for (const Var& parent : parents) any = any || parent.needs_gradient();
  if (!any || no_gradient_depth > 0) return var;
  var.node_ = std::make_shared<Node>();
  var.node_->op = op;
  var.node_->number = nodes_created++;
  var.node_->rule = std::move(rule);
  var.node_->inputs.reserve(parents.size());
  for (const Var& parent : parents) var.node_->inputs.push_back({parent.node(), parent.shape(), parent.dtype(), parent.device()});
  return var;
}

namespace {

// Recording, whatever the caller's scope: backward may run inside a NoGradient.
class Recording {
 public:
  Recording() : outer_depth_(std::exchange(no_gradient_depth, 0)) {}
  ~Recording() { no_gradient_depth = outer_depth_; }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  int outer_depth_;
};

// What the graph of `node` reads that was there before number `first`, in order of number.
std::vector<Node::Input> border(const std::shared_ptr<Node>& node, uint64_t first) {
  std::map<uint64_t, Node::Input> found;
  std::unordered_set<const Node*> seen = {node.get()};
  std::vector<const Node*> to_visit = {node.get()};
  while (!to_visit.empty()) {
    const Node* const at = to_visit.back();
    to_visit.pop_back();
    for (const Node::Input& input : at->inputs) {
      if (!input.node) continue;
      if (input.node->number < first)
        found.emplace(input.node->number, input);
      else if (seen.insert(input.node.get()).second)
        to_visit.push_back(input.node.get());
    }
  }
  std::vector<Node::Input> inputs;
  for (auto& [number, input] : found) inputs.push_back(std::move(input));
  return inputs;
}

}  // namespace

Var checkpointed(std::function<Var()> f) {
  const uint64_t first = nodes_created;
  const Var once = f();
  // A constant, or something that was there before, has nothing to compute again.
  if (!once.needs_gradient() || once.node()->number < first) return once;
  Var var(once.value());
  var.node_ = std::make_shared<Node>();
  var.node_->op = "checkpointed";
  var.node_->number = nodes_created++;
  var.node_->inputs = border(once.node(), first);
  std::vector<uint64_t> changes;
  for (const Node::Input& input : var.node_->inputs) changes.push_back(input.node->changes);
  var.node_->compute = [f = std::move(f), inputs = var.node_->inputs, changes = std::move(changes)] {
    for (size_t i = 0; i < inputs.size(); ++i)
      require<GradientError>(inputs[i].node->changes == changes[i], "backward", "a leaf of shape ", inputs[i].shape,
                             " that a checkpointed function reads was given a new value since; call backward before");
    return f();
  };
  return var;
}

const Tensor& Gradients::operator[](const Var& leaf) const {
  require<GradientError>(leaf.is_leaf(), "gradients", "only leaves have gradients; this is a constant or a result");
  const auto found = of_leaf_.find(leaf.node());
  require<GradientError>(found != of_leaf_.end(), "gradients", "the loss does not depend on this leaf of shape ",
                         leaf.shape());
  return found->second;
}

bool Gradients::has(const Var& leaf) const { return of_leaf_.contains(leaf.node()); }

// What has arrived at a node so far. The first gradient may be shared with other nodes (add hands dy to both sides),
// so the sum goes to a block of its own before anything is added in place.
struct Arriving {
  Tensor sum;
  bool owned = false, waiting = false;

  void add(Tensor gradient) {
    if (!sum.defined()) {
      sum = std::move(gradient);
    } else if (owned) {
      add_into(sum, gradient);
    } else {
      sum = phasor::add(sum, gradient);
      owned = true;
    }
  }
};

struct Arrivals {
  std::unordered_map<const Node*, Arriving> at;
};

Tensor Wanted::take(int input) const {
  const Node::Input& of = node_->inputs[static_cast<size_t>(input)];
  const auto found = arrivals_->at.find(of.node.get());
  if (found == arrivals_->at.end()) return {};
  found->second.owned = false;
  return std::exchange(found->second.sum, Tensor());
}

namespace {

Tensor checked(const Node& node, size_t i, Tensor gradient) {
  const Node::Input& input = node.inputs[i];
  require<GradientError>(gradient.defined(), "backward", "the rule of '", node.op, "' returned no gradient for input ",
                         i, " of shape ", input.shape);
  require<GradientError>(gradient.dtype() == input.dtype, "backward", "the rule of '", node.op, "' returned ",
                         gradient.dtype(), " for input ", i, " of ", input.dtype);
  require<GradientError>(gradient.device() == input.device, "backward", "the rule of '", node.op,
                         "' returned a gradient on ", gradient.device(), " for input ", i, " on ", input.device);
  if (gradient.shape() == input.shape) return gradient;
  bool broadcasts = input.shape.rank() <= gradient.rank();
  for (int axis = 1; broadcasts && axis <= input.shape.rank(); ++axis)
    broadcasts = input.shape[-axis] == 1 || input.shape[-axis] == gradient.extent(-axis);
  require<GradientError>(broadcasts, "backward", "the rule of '", node.op, "' returned a gradient ", gradient.shape(),
                         " for input ", i, " of shape ", input.shape);
  return sum_to(gradient, input.shape);
}

}  // namespace

Gradients backward(const Var& loss) {
  require(loss.size() == 1, "backward", "the loss must be one number, has shape ", loss.shape(),
          "; reduce it, or give a cotangent");
  return backward(loss, Tensor::full(loss.shape(), 1, loss.dtype(), loss.device()));
}

Gradients backward(const Var& output, Tensor cotangent) {
  require_same_shape("backward", "output", output.value(), "cotangent", cotangent);
  require_same_dtype("backward", "output", output.value(), "cotangent", cotangent);
  require<GradientError>(output.needs_gradient(), "backward", "nothing here needs a gradient");

  const auto older = [](const std::shared_ptr<Node>& a, const std::shared_ptr<Node>& b) {
    return a->number < b->number;
  };
  std::priority_queue<std::shared_ptr<Node>, std::vector<std::shared_ptr<Node>>, decltype(older)> waiting(older);
  Arrivals arriving;
  Gradients gradients;

  const auto arrive = [&](const std::shared_ptr<Node>& node, Tensor gradient) {
    Arriving& at = arriving.at[node.get()];
    at.add(std::move(gradient));
    if (!std::exchange(at.waiting, true)) waiting.push(node);
  };
  arrive(output.node(), std::move(cotangent));
  while (!waiting.empty()) {
    const std::shared_ptr<Node> node = waiting.top();
    waiting.pop();
    auto arrived = arriving.at.extract(node.get());
    Tensor dy = std::move(arrived.mapped().sum);
    if (node->leaf_value.defined()) {
      const bool first_arrival = gradients.of_leaf_.emplace(node, std::move(dy)).second;
      require<GradientError>(first_arrival, "backward", "a leaf is younger than what was computed from it");
      continue;
    }
    if (node->compute) {
      // The new nodes are younger than all that wait: they are taken next, as if they had been there all along.
      const Recording recording;
      const Var again = std::exchange(node->compute, nullptr)();
      require<GradientError>(again.needs_gradient() && again.shape() == dy.shape() && again.dtype() == dy.dtype(),
                             "backward", "a checkpointed function returned ", dy.shape(), ' ', dy.dtype(),
                             " first and ", again.shape(), ' ', again.dtype(),
                             again.needs_gradient() ? "" : " without history",
                             " when it was called again; it must compute the same");
      arrive(again.node(), std::move(dy));
      continue;
    }
    require<GradientError>(static_cast<bool>(node->rule), "backward", "the graph of '", node->op,
                           "' has been used by an earlier backward; compute the output again");
    std::vector<Tensor> results = std::exchange(node->rule, nullptr)(dy, Wanted(*node, arriving));
    dy = Tensor();
    require<GradientError>(results.size() == node->inputs.size(), "backward", "the rule of '", node->op, "' returned ",
                           results.size(), " gradients for ", node->inputs.size(), " inputs");
    for (size_t i = 0; i < results.size(); ++i) {
      const std::shared_ptr<Node>& input = node->inputs[i].node;
      if (input) arrive(input, checked(*node, i, std::move(results[i])));
    }
  }
  return gradients;
}

}  // namespace phasor
