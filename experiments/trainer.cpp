// The training loop and what it keeps safe.
#include "experiments/trainer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/ops/binary.hpp"
#include "experiments/checkpoint.hpp"
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
          .init_deviation = s.model.init_deviation};
}

PositionalEncoding encoding_of(const Settings& s, ParameterList& learned) {
  const AttentionShape shape = model_shape(s).attention(static_cast<uint64_t>(s.train.seed));
  return make_encoding(encoding_named(s.encoding.name), shape, learned);
}

int64_t position_limit(const Settings& settings) {
  ParameterList learned;
  return encoding_of(settings, learned).position_limit;
}

constexpr uint64_t position_stream = 0x706f73;  // "pos"

// The positions of a step's windows: those the encoding draws, or undefined for 0, 1, 2, ...
static Tensor sampled_positions(const Transformer& model, const Settings& s, int64_t step) {
  if (!model.encoding().training_positions) return {};
  // Every step has 2^32 blocks of its own, so that step k is reached without drawing those before it.
  Random random{.seed = static_cast<uint64_t>(s.train.seed),
                .stream = position_stream,
                .counter = static_cast<uint64_t>(step) << 32};
  return model.encoding()
      .training_positions(s.train.batch, s.train.length, random)
      .broadcast_to({s.train.batch, s.train.length});
}

StepResult training_step(const Transformer& model, AdamW& optimizer, const TokenWindows& batch,
                         const Settings& settings) {
  const TrainSettings& t = settings.train;
  const std::vector<Parameter>& all = model.parameters().all();
  const int64_t part = t.batch / t.accumulate;
  const Tensor positions = sampled_positions(model, settings, optimizer.steps);
  GradientList gradients;
  double loss = 0;
  for (int64_t first = 0; first < t.batch; first += part) {
    // Equal parts: the mean of their means is the mean over the batch.
    const ForwardOptions forward{.positions = positions.defined() ? positions.slice(0, first, first + part) : Tensor(),
                                 .recompute_blocks = t.recompute_blocks};
    const Var part_loss = cross_entropy(model.logits(batch.inputs.slice(0, first, first + part), forward),
                                        batch.targets.slice(0, first, first + part)) *
                          (1.0 / static_cast<double>(t.accumulate));
    loss += part_loss.value().to(Dtype::f64).item<double>();
    require<NumericError>(std::isfinite(loss), "train", "the loss is ", loss, " at step ", optimizer.steps,
                          "; lower train.learning_rate (", t.learning_rate, ") or raise train.warmup_steps (",
                          t.warmup_steps, ")");
    GradientList of_part = gradients_of(backward(part_loss), model.parameters());
    if (first == 0) {
      gradients = std::move(of_part);
      continue;
    }
    for (size_t i = 0; i < gradients.size(); ++i) {
      // The first part's gradients belong to backward, which may share one among several leaves.
      if (first == part) gradients[i] = gradients[i].clone();
      add_into(gradients[i], of_part[i]);
    }
  }
  clip_each(model.parameters(), gradients);
  const double norm = global_norm(gradients);
  if (!std::isfinite(norm)) {
    for (size_t i = 0; i < all.size(); ++i)
      require<NumericError>(std::isfinite(global_norm({gradients[i]})), "train", "the gradient of '", all[i].name,
                            "' is not finite at step ", optimizer.steps, "; lower train.learning_rate (",
                            t.learning_rate, ")");
    fail<NumericError>("train", "the norm of the gradient overflows at step ", optimizer.steps);
  }
  const double rate =
      learning_rate_at(optimizer.steps, t.steps, t.warmup_steps, t.learning_rate, t.final_learning_rate);
  optimizer.step(model.parameters(), gradients, rate, clip_factor(norm, t.clip_norm));
  return {loss, norm, rate};
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
  while (optimizer.steps < t.steps) {
    const int64_t step = optimizer.steps;
    const TokenWindows batch = training_batch(text, t.batch, t.length, static_cast<uint64_t>(t.seed), step);
    const StepResult result = training_step(model, optimizer, batch, settings);
    metrics.append(nlohmann::ordered_json{{"step", step},
                                          {"loss", result.loss},
                                          {"gradient_norm", result.gradient_norm},
                                          {"learning_rate", result.learning_rate}}
                       .dump());
    progress.update(optimizer.steps, result.loss, t.batch * t.length);
    if (const double seconds = std::chrono::duration<double>(Clock::now() - timed).count(); seconds >= 1) {
      const double tokens = static_cast<double>((optimizer.steps - timed_step) * t.batch * t.length);
      timing.append(nlohmann::ordered_json{{"step", step}, {"tokens_per_second", tokens / seconds}}.dump());
      timed = Clock::now();
      timed_step = optimizer.steps;
    }
    if (std::binary_search(kept_steps.begin(), kept_steps.end(), optimizer.steps))
      save_snapshot(folder.path(), settings, model.parameters(), optimizer.steps);
    const int signal = remembered_signal();
    if (signal != 0 || optimizer.steps % settings.checkpoint.every == 0 || optimizer.steps == t.steps) save();
    if (signal != 0 && optimizer.steps < t.steps) {
      progress.finish();
      throw Interrupted(signal,
                        fmt::format("stopped after step {} of {}; continue with --resume", optimizer.steps, t.steps));
    }
  }
  progress.finish();
  return model;
}

TrainedModel load_model(const fs::path& folder, const Settings& settings, const EncodingSettings& encoding) {
  Settings reading = settings;
  reading.encoding = encoding;
  Transformer model(model_shape(reading), static_cast<uint64_t>(settings.train.seed));
  const std::optional<RunPosition> position = load_newest(folder, settings, model.parameters(), nullptr);
  require<FileError>(position.has_value(), "run", folder, " holds no checkpoint; train first");
  return {model, position->step, position->corpus_sha256};
}

}  // namespace phasor
