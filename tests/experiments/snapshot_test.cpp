// Snapshots: the weights that a training leaves on its way.
#include <doctest/doctest.h>

#include "experiments/checkpoint.hpp"
#include "experiments/trainer.hpp"
#include "tests/support/command.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/refusal.hpp"

using namespace phasor;
using namespace phasor::testing;

namespace {

Settings small_settings() {
  Settings s;
  s.model = {.width = 32, .layers = 1, .heads = 2, .hidden = 40};
  s.train.batch = 4;
  s.train.length = 16;
  s.train.steps = 20;
  s.train.warmup_steps = 5;
  s.checkpoint = {.every = 5, .keep = 4, .snapshots = 8};
  return s;
}

Corpus some_corpus() {
  Corpus corpus{.name = "test", .sha256 = "none", .bytes = {}};
  for (int i = 0; i < 4000; ++i) corpus.bytes.push_back(static_cast<uint8_t>(97 + i * i % 23));
  return corpus;
}

}  // namespace

TEST_CASE("snapshots: at a half, a quarter, ... of the steps, each step once") {
  Settings s;
  s.train.steps = 1200;
  CHECK(snapshot_steps(s) == std::vector<int64_t>{4, 9, 18, 37, 75, 150, 300, 600});
  s.train.steps = 9;
  CHECK(snapshot_steps(s) == std::vector<int64_t>{1, 2, 4});
  s.train.steps = 1;
  CHECK(snapshot_steps(s).empty());
  s.train.steps = 1200;
  s.checkpoint.snapshots = 2;
  CHECK(snapshot_steps(s) == std::vector<int64_t>{300, 600});
  s.checkpoint.snapshots = 0;
  CHECK(snapshot_steps(s).empty());
}

TEST_CASE("snapshots: the weights of the step, as its checkpoint has them") {
  const TemporaryFolder place;
  const Settings s = small_settings();
  const RunFolder folder(place / "run", s, Resume::no);
  train(s, some_corpus(), folder, {.label = "", .quiet = true});
  std::vector<int64_t> steps;
  for (const CheckpointPlace& snapshot : snapshots(folder.path())) steps.push_back(snapshot.step);
  CHECK(steps == std::vector<int64_t>{1, 2, 5, 10});
  const Transformer of_checkpoint(model_shape(s), 1), of_snapshot(model_shape(s), 1), untrained(model_shape(s), 1);
  load_checkpoint(folder.file("checkpoint-0000000010.safetensors"), s, of_checkpoint.parameters(), nullptr);
  load_snapshot(folder.file("weights-0000000010.safetensors"), s, of_snapshot.parameters());
  const auto head = [](const Transformer& model) { return model.parameters()["head.weight"].value(); };
  CHECK(bit_mismatch(head(of_snapshot), head(of_checkpoint)) == "");
  CHECK(bit_mismatch(head(of_snapshot), head(untrained)) != "");
}

TEST_CASE("snapshots: those after the step at which a training goes on are removed") {
  const TemporaryFolder place;
  const Settings s = small_settings();
  const Transformer model(model_shape(s), 1);
  for (const int64_t step : {1, 2, 5, 10}) save_snapshot(place.path(), s, model.parameters(), step);
  remove_later_snapshots(place.path(), 5);
  std::vector<int64_t> steps;
  for (const CheckpointPlace& snapshot : snapshots(place.path())) steps.push_back(snapshot.step);
  CHECK(steps == std::vector<int64_t>{1, 2, 5});
}

TEST_CASE("snapshots: another run's, or a checkpoint in their place, is refused and changes nothing") {
  const TemporaryFolder place;
  const Settings s = small_settings();
  const RunFolder folder(place / "run", s, Resume::no);
  train(s, some_corpus(), folder, {.label = "", .quiet = true});
  const Transformer model(model_shape(s), 1), untouched(model_shape(s), 1);
  Settings other = s;
  other.train.learning_rate = 1e-3;
  CHECK(refusal([&] {
          load_snapshot(folder.file("weights-0000000010.safetensors"), other, model.parameters());
        }).find("other settings: train.learning_rate (0.003 there, 0.001 here)") != std::string::npos);
  CHECK_THROWS_AS(load_snapshot(folder.file("checkpoint-0000000010.safetensors"), s, model.parameters()), FileError);
  CHECK(bit_mismatch(model.parameters()["head.weight"].value(), untouched.parameters()["head.weight"].value()) == "");
}
