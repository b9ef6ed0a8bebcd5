// The probes on a model that has really learned something.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "experiments/dissect/ablation_sweep.hpp"
#include "experiments/dissect/patterns.hpp"
#include "experiments/dissect/u_shape.hpp"
#include "experiments/evaluation.hpp"
#include "experiments/trainer.hpp"

using namespace phasor;

TEST_SUITE("full") {
  TEST_CASE("dissection of a trained model: a head looks at the token before, and the fastest component is needed") {
    Settings s;
    s.model = {.width = 64, .layers = 2, .heads = 2, .hidden = 96};
    s.train.length = 64;
    s.train.steps = 400;
    s.dissect.bytes = 8192;
    s.dissect.sequences = 32;
    const Corpus corpus = load_corpus("kjv");
    const Split text = split(corpus);
    const Transformer model(model_shape(s), 1);
    AdamW optimizer(model.parameters(), {});
    for (int64_t step = 0; step < s.train.steps; ++step)
      training_step(model, optimizer, training_batch(text.train, s.train.batch, s.train.length, 1, step), s);

    // Chance: a head that attends evenly.
    double chance = 0;
    for (int query = 2; query < 63; ++query) chance += 1.0 / (query + 1) / 61;
    const Measurement scores = head_scores(model, repeated_windows(text.train, 32, 64));
    const double previous = *std::max_element(scores.values.begin(), scores.values.begin() + 4);
    CHECK(previous > 4 * chance);

    const AblationSweep sweep = ablation_sweep(model, text, s.dissect, "", true);
    const double intact = evaluate(model, text.held_out, 64, s.dissect.bytes).loss;
    MESSAGE("loss " << intact << ", previous-token score " << previous << " (chance " << chance
                    << "), stopping the fastest component " << sweep.loss.at({0, 0, 0, 0}) << " +- "
                    << sweep.loss_half_width.at({0, 0, 0, 0}));
    for (int64_t kind = 0; kind < 3; ++kind)
      CHECK(sweep.loss.at({kind, 0, 0, 0}) > 5 * sweep.loss_half_width.at({kind, 0, 0, 0}));
    // The slowest of 16 components takes 35000 tokens for a turn: no text of 64 can tell whether it turns.
    CHECK(std::abs(sweep.loss.at({0, 0, 15, 0})) < 1e-3);
    CHECK(sweep.loss.at({0, 1, 15, 0}) > sweep.loss.at({0, 0, 0, 0}));
    // Without the component, the head that looks at the token before does so less.
    double least = 0;
    for (const int64_t layer : {0, 1})
      for (const int64_t head : {0, 1}) least = std::min(least, sweep.head_score.at({0, 0, 0, layer, head}));
    CHECK(least < -0.05);

    const UShape u = u_shape(model, random_windows(text.train, 32, 64), s.dissect);
    for (int64_t layer = 0; layer < 3; ++layer) {
      CHECK(u.depth_half_width.at({layer}) > 0);
      CHECK(u.depth_half_width.at({layer}) < 1);
    }
    const Patterns patterns = attention_patterns(model, text.held_out, {64, 128}, 8);
    for (const double entropy : patterns.normalised_entropy.values) CHECK(!(entropy > 1 + 1e-6));
    for (const double sink : patterns.sink.values) CHECK((sink >= 0 && sink <= 1));
  }
}
