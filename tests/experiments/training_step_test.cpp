// One training step: what accumulation, recomputation and an encoding's positions do to it, to the last bit.
#include <doctest/doctest.h>

#include "core/ops/binary.hpp"
#include "experiments/checkpoint.hpp"
#include "experiments/trainer.hpp"
#include "tests/support/command.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;
using namespace phasor::testing;

namespace {

Settings small_settings() {
  Settings s;
  s.model = {.width = 32, .layers = 2, .heads = 2, .hidden = 40};
  s.train.batch = 6;
  s.train.length = 12;
  s.train.steps = 10;
  return s;
}

TokenWindows some_batch() {
  Random random{.seed = 2};
  return {random_ids({6, 12}, 200, random), random_ids({6, 12}, 200, random)};
}

std::vector<float> weights_after(const Settings& s, const Transformer& model, int steps) {
  AdamW optimizer(model.parameters(), {});
  for (int step = 0; step < steps; ++step) training_step(model, optimizer, some_batch(), s);
  std::vector<float> weights;
  for (const Parameter& p : model.parameters().all())
    for (const float w : p.var.value().to_vector<float>()) weights.push_back(w);
  return weights;
}

}  // namespace

TEST_CASE("training step: accumulated gradients are ((g1 + g2) + g3), each times 1 / 3, to the last bit") {
  Settings s = small_settings();
  s.train.accumulate = 3;
  const Transformer stepped(model_shape(s), 1), by_hand(model_shape(s), 1);
  const TokenWindows batch = some_batch();
  AdamW optimizer(stepped.parameters(), {}), other(by_hand.parameters(), {});
  const StepResult result = training_step(stepped, optimizer, batch, s);

  GradientList gradients;
  for (int64_t first = 0; first < 6; first += 2) {
    const Var loss = cross_entropy(by_hand.logits(batch.inputs.slice(0, first, first + 2)),
                                   batch.targets.slice(0, first, first + 2)) *
                     (1.0 / 3);
    const Gradients of = backward(loss);
    for (size_t i = 0; i < by_hand.parameters().all().size(); ++i) {
      const Tensor g = of[by_hand.parameters().all()[i].var];
      if (first == 0)
        gradients.push_back(g);
      else
        gradients[i] = add(gradients[i], g);
    }
  }
  CHECK(result.gradient_norm == global_norm(gradients));
  other.step(by_hand.parameters(), gradients, result.learning_rate, clip_factor(result.gradient_norm, 1));
  for (const Parameter& p : stepped.parameters().all())
    CHECK(bit_mismatch(p.var.value(), by_hand.parameters()[p.name].value()) == "");
}

TEST_CASE("training step: recomputed blocks change no bit") {
  Settings s = small_settings();
  const Transformer plain(model_shape(s), 1), recomputed(model_shape(s), 1);
  const std::vector<float> expected = weights_after(s, plain, 3);
  s.train.recompute_blocks = true;
  CHECK(weights_after(s, recomputed, 3) == expected);
}

TEST_CASE("training step: an encoding's positions are drawn by seed and step, the same for every split of the batch") {
  const auto sampled = [](const AttentionShape& shape, ParameterList&) {
    PositionalEncoding encoding = PositionalEncoding::rotary(Spectrum::geometric(shape.components(), shape.rope_base));
    encoding.training_positions = [](int64_t batch, int64_t length, Random& random) {
      const Tensor positions = Tensor::empty({batch, length}, Dtype::f64);
      for (int64_t row = 0; row < batch; ++row)
        for (int64_t i = 0; i < length; ++i)
          positions.view<double>()(row, i) = (i == 0 ? 0 : positions.view<double>()(row, i - 1)) + 1 + random.uniform();
      return positions;
    };
    return encoding;
  };
  const EncodingEntry entry = {.summary = "", .paper = "", .claims = {}, .make = sampled};
  Settings s = small_settings();
  const auto weights = [&](const Settings& settings) {
    return weights_after(settings, Transformer(model_shape(settings), 1, entry), 2);
  };
  const std::vector<float> first = weights(s);
  CHECK(weights(s) == first);
  CHECK(weights_after(s, Transformer(model_shape(s), 1), 2) != first);  // rope at 0, 1, 2, ...
  Settings other_seed = s;
  other_seed.train.seed = 2;
  CHECK(weights(other_seed) != first);
  // The parts of a batch get their own rows: the loss is that of the whole batch.
  const auto loss = [&](int64_t accumulate) {
    Settings split = s;
    split.train.accumulate = accumulate;
    const Transformer model(model_shape(split), 1, entry);
    AdamW optimizer(model.parameters(), {});
    return training_step(model, optimizer, some_batch(), split).loss;
  };
  CHECK(loss(3) == doctest::Approx(loss(1)).epsilon(1e-6));
}

TEST_CASE("every encoding: from a checkpoint the next step goes on, to the last bit") {
  const TemporaryFolder folder;
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    Settings s = small_settings();
    s.model = {.width = 32, .layers = 2, .heads = 2, .hidden = 24};
    s.encoding.name = name;
    const Transformer trained(model_shape(s), 1), loaded(model_shape(s), 2);
    AdamW optimizer(trained.parameters(), {}), other(loaded.parameters(), {});
    for (int step = 0; step < 2; ++step) training_step(trained, optimizer, some_batch(), s);
    save_checkpoint(folder.path(), s, trained.parameters(), optimizer, {0, "", optimizer.steps});
    load_checkpoint(checkpoints(folder.path()).back().path, s, loaded.parameters(), &other);
    training_step(trained, optimizer, some_batch(), s);
    training_step(loaded, other, some_batch(), s);
    for (const Parameter& p : trained.parameters().all())
      CHECK_MESSAGE(bit_mismatch(loaded.parameters()[p.name].value(), p.var.value()) == "", p.name);
  }
}
