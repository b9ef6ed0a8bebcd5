// 8. A new encoding, from idea to answer: minus a learned slope times the square root of the distance.
#include <cmath>
#include <cstdio>

#include "autograd/gradcheck.hpp"
#include "nn/model.hpp"
#include "nn/optimizer.hpp"

using namespace phasor;

// The bias of n distances for every head, [heads, n]. (The derivative of sqrt is infinite at 0: hence the 1.)
static Var root_bias(const Var& slope, const Var& distance) { return -(slope * (sqrt(distance + 1) - 1)); }

static PositionalEncoding make(const AttentionShape& s, ParameterList& parameters) {
  const Var slope = parameters.add("slope", Tensor::full({s.heads, 1}, 0.5, s.dtype), {.learning_rate_factor = 10});
  return PositionalEncoding::bias([=](const Var& distance) { return root_bias(slope, distance); });
}
// As the file nn/positional/encodings/root.cpp this would be `EncodingEntry root()` with a name on the command line.
static const EncodingEntry root = {.summary = "", .paper = "", .claims = {Claim::relative}, .make = make};

// Random tokens, each repeated three places later: the model has to look back by exactly three.
struct Batch {
  Tensor inputs, targets;
};
static Batch repeats(int64_t length, uint64_t counter) {
  Random random{.seed = 1, .stream = 2, .counter = counter << 20};
  const Tensor ids = Tensor::empty({16, length + 1}, Dtype::i32);
  for (int64_t row = 0; row < 16; ++row)
    for (int64_t i = 0; i <= length; ++i)
      ids.view<int32_t>()(row, i) = i < 3 ? static_cast<int32_t>(random.below(8)) : ids.view<int32_t>()(row, i - 3);
  return {ids.slice(1, 0, length), ids.slice(1, 1, length + 1)};
}

static double loss_of(const Transformer& model, int64_t length) {
  const NoGradient scope;
  const Batch batch = repeats(length, 1 << 20);
  // The first two targets are new: nobody can know them.
  return cross_entropy(slice(model.logits(batch.inputs), 1, 2, length), batch.targets.slice(1, 2, length))
      .value()
      .item<float>();
}

int main() {
  const auto check = gradcheck([](const auto& in) { return root_bias(in[0], in[1]); },
                               {Tensor::of<double>({2, 1}, {0.3, 2}), Tensor::of<double>({1, 4}, {0, 1, 2, 9})});
  std::printf("gradients agree with differences: %s\n", check.worst < 1e-8 ? "yes" : check.message.c_str());

  const ModelShape shape{.vocabulary = 8, .width = 32, .layers = 2, .heads = 2, .hidden = 64, .train_length = 24};
  for (const auto& [name, encoding] : {std::pair{"root", root}, {"nope", encoding_named("nope")}}) {
    const Transformer model(shape, 1, encoding);
    AdamW optimizer(model.parameters(), {});
    const double before = loss_of(model, shape.train_length);
    for (uint64_t step = 0; step < 600; ++step) {
      const Batch batch = repeats(shape.train_length, step);
      const GradientList gradients =
          gradients_of(backward(cross_entropy(model.logits(batch.inputs), batch.targets)), model.parameters());
      optimizer.step(model.parameters(), gradients, 2e-3, clip_factor(global_norm(gradients), 1));
    }
    const auto learned = [&](int64_t length) { return loss_of(model, length) < 0.1 ? "yes" : "no"; };
    std::printf("%s: loss %.1f before; after 600 steps below 0.1? %s. At twice the length? %s.\n", name, before,
                learned(shape.train_length), learned(2 * shape.train_length));
  }
  // Question: does it need the root? Change sqrt(distance + 1) to log(distance + 1), the logarithm of KERPLE.
}
