// The training loop and what it keeps safe.
#include "experiments/trainer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "experiments/checkpoint.hpp"
#include "experiments/machine.hpp"
#include "experiments/progress.hpp"
#include "experiments/signals.hpp"
#include "nn/files.hpp"

namespace phasor {
namespace fs = std::filesystem;

ModelShape model_shape(const Settings& s) {
  return {.vocabulary = byte_vocabulary,
          .width = s.model.width,
          .layers = s.model.layers,
          .heads = s.model.heads,
          .kv_heads = s.model.kv_heads,
          .hidden = s.model.hidden,
          .train_length = s.train.length,
          .encoding = s.encoding.name,
          .layout = s.encoding.layout == "interleaved" ? RotaryLayout::interleaved : RotaryLayout::half_split,
          .rope_base = s.encoding.base,
          .fraction = s.encoding.fraction,
          .factor = s.encoding.factor,
          .short_factors = s.encoding.short_factors,
          .long_factors = s.encoding.long_factors,
          .formulas = s.encoding.formulas,
          .norm = s.model.norm == "layer" ? NormKind::layer : NormKind::rms,
          .mlp = s.model.mlp == "swiglu" ? MlpKind::swiglu
                 : s.model.mlp == "gelu" ? MlpKind::gelu
                                         : MlpKind::gelu_tanh,
          .bias = s.model.bias ? LinearBias::yes : LinearBias::no,
          .head = s.model.head == "tied" ? HeadKind::tied : HeadKind::learned,
          .init = s.model.init == "depth_scaled" ? InitKind::depth_scaled : InitKind::normal,
          .init_deviation = s.model.init_deviation,
          .activations = s.train.precision == "bf16" ? Dtype::bf16 : Dtype::f32};
}

PositionalEncoding encoding_of(const Settings& s, ParameterList& learned) {
  const AttentionShape shape = model_shape(s).attention(static_cast<uint64_t>(s.train.seed));
  return make_encoding(encoding_named(s.encoding.name), shape, learned);
}

int64_t position_limit(const Settings& settings) {
  ParameterList learned;
  return encoding_of(settings, learned).position_limit;
}

namespace {

// Loads the newest checkpoint that is whole. A damaged one is passed over with a warning, never silently.
std::optional<RunPosition> load_newest(const fs::path& folder, const Settings& settings,
                                       const ParameterList& parameters, AdamW* optimizer) {
  for (std::vector<CheckpointPlace> places = checkpoints(folder); !places.empty(); places.pop_back()) {
    try {
      return load_checkpoint(places.back().path, settings, parameters, optimizer);
    } catch (const FileError& error) {
      if (places.size() == 1) throw;  // nothing older to fall back to
      fmt::print(stderr, "warning: {}; falling back to the checkpoint before it\n", error.what());
    }
  }
  return std::nullopt;
}

AdamW optimizer_of(const Settings& s, const ParameterList& parameters) {
  return AdamW(parameters, {.beta1 = s.train.beta1,
                            .beta2 = s.train.beta2,
                            .epsilon = s.train.epsilon,
                            .weight_decay = s.train.weight_decay});
}

// A run that fills the disk after an hour loses the hour.
void require_room(const fs::path& folder, const ParameterList& parameters, const Settings& settings) {
  const int64_t keep = settings.checkpoint.keep;
  const auto weights = static_cast<uint64_t>(parameters.count()) * sizeof(float);
  const uint64_t needed =
      weights * (3 * static_cast<uint64_t>(std::min<int64_t>(keep, 100) + 1) + snapshot_steps(settings).size());
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  require<ResourceError>(error || space.available >= needed, "train", folder, " has room for ", space.available,
                         " bytes; ", keep, " checkpoints and ", snapshot_steps(settings).size(), " snapshots need ",
                         needed, "; lower checkpoint.keep or checkpoint.snapshots, or choose another disk with --out");
}

}  // namespace

Transformer train(const Settings& settings, const Corpus& corpus, const RunFolder& folder,
                  const TrainerOptions& options) {
  const TrainSettings& t = settings.train;
  Transformer model(model_shape(settings), static_cast<uint64_t>(t.seed));
  model.move_to(settings.device);
  AdamW optimizer = optimizer_of(settings, model.parameters());
  const std::optional<RunPosition> position = load_newest(folder.path(), settings, model.parameters(), &optimizer);
  require<FileError>(!position || position->corpus_sha256 == corpus.sha256, "train", settings.corpus,
                     " is not the text this run began with; start a new run for the new text");
  const auto prune = [&] {
    prune_checkpoints(folder.path(), optimizer.steps, settings.checkpoint.every, settings.checkpoint.keep);
  };
  if (optimizer.steps >= t.steps) {
    prune();  // killed between the last checkpoint and this
    return model;
  }
  require_room(folder.path(), model.parameters(), settings);
  record_device(folder.path(), settings.device, optimizer.steps);
  remove_later_snapshots(folder.path(), optimizer.steps);

  AppendFile metrics(folder.file("metrics.jsonl"), position ? position->metrics_bytes : 0);
  AppendFile timing(folder.file("timing.jsonl"), whole_line_bytes(folder.file("timing.jsonl")));
  const auto save = [&] {
    metrics.sync();
    save_checkpoint(folder.path(), settings, model.parameters(), optimizer,
                    {metrics.bytes(), corpus.sha256, optimizer.steps});
    prune();
  };

  const std::vector<int64_t> kept_steps = snapshot_steps(settings);
  const std::span<const uint8_t> text = split(corpus).train;
  if (model.encoding().why_unfused() && !options.quiet)
    fmt::print(stderr, "{}: attention stores its scores: memory grows with length^2\n", options.label);
  Progress progress(options.label, t.steps, options.quiet, optimizer.steps);
  using Clock = std::chrono::steady_clock;
  Clock::time_point timed = Clock::now();
  int64_t timed_step = optimizer.steps;
  TrainingSteps steps(model, optimizer, settings);
  const auto start = [&](int64_t step) {
    steps.start(training_batch(text, t.batch, t.length, static_cast<uint64_t>(t.seed), step));
  };
  const auto is_snapshot = [&](int64_t taken) {
    return std::binary_search(kept_steps.begin(), kept_steps.end(), taken);
  };
  const auto is_saved = [&](int64_t taken) { return taken % settings.checkpoint.every == 0 || taken == t.steps; };
  int signal = 0;
  for (int64_t taken = optimizer.steps; taken < t.steps;) {
    const int64_t step = taken++;
    if (steps.unfinished() == 0) start(step);
    // The GPU gets the next step before the host waits for this one, unless the parameters are to be read in between.
    if (steps.runs_ahead() && signal == 0 && taken < t.steps && !is_saved(taken) && !is_snapshot(taken)) start(taken);
    const StepResult result = steps.finish();
    metrics.append(nlohmann::ordered_json{{"step", step},
                                          {"loss", result.loss},
                                          {"gradient_norm", result.gradient_norm},
                                          {"learning_rate", result.learning_rate}}
                       .dump());
    progress.update(taken, result.loss, t.batch * t.length);
    if (const double seconds = std::chrono::duration<double>(Clock::now() - timed).count(); seconds >= 1) {
      const double tokens = static_cast<double>((taken - timed_step) * t.batch * t.length);
      timing.append(nlohmann::ordered_json{{"step", step}, {"tokens_per_second", tokens / seconds}}.dump());
      timed = Clock::now();
      timed_step = taken;
    }
    if (is_snapshot(taken)) save_snapshot(folder.path(), settings, model.parameters(), taken);
    signal = remembered_signal();
    if (steps.unfinished() > 0) continue;  // stopped now, the step that has begun would be lost
    if (signal != 0 || is_saved(taken)) save();
    if (signal != 0 && taken < t.steps) {
      progress.finish();
      throw Interrupted(signal, fmt::format("stopped after step {} of {}; continue with --resume", taken, t.steps));
    }
  }
  progress.finish();
  if (!steps.why_not_recorded().empty() && !options.quiet)
    fmt::print(stderr, "{}: the GPU was asked for each step anew, which is slower than a recorded one: {}\n",
               options.label, steps.why_not_recorded());
  return model;
}

TrainedModel load_model(const fs::path& folder, const Settings& settings, const EncodingSettings& encoding) {
  Settings reading = settings;
  reading.encoding = encoding;
  Transformer model(model_shape(reading), static_cast<uint64_t>(settings.train.seed));
  model.move_to(settings.device);
  const std::optional<RunPosition> position = load_newest(folder, settings, model.parameters(), nullptr);
  require<FileError>(position.has_value(), "run", folder, " holds no checkpoint; train first");
  return {model, position->step, position->corpus_sha256};
}

}  // namespace phasor
