// Which measurements a model gets, on which texts; and what the training did to some of them.
#include "experiments/dissect/measure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/checkpoint.hpp"
#include "experiments/dissect/ablation_sweep.hpp"
#include "experiments/dissect/closed_forms.hpp"
#include "experiments/dissect/contribution.hpp"
#include "experiments/dissect/norms.hpp"
#include "experiments/dissect/patterns.hpp"
#include "experiments/dissect/score_range.hpp"
#include "experiments/dissect/u_shape.hpp"
#include "experiments/evaluation.hpp"
#include "experiments/progress.hpp"
#include "experiments/trainer.hpp"

namespace phasor {
namespace fs = std::filesystem;
namespace {

constexpr int64_t long_windows = 8;     // of the longest length, whose pairs are many
constexpr int64_t repeated_texts = 32;  // of the head scores

Measurement renamed(Measurement measurement, const std::string& name) {
  measurement.name = name;
  return measurement;
}

Measurement number(const std::string& name, double value) {
  Measurement measurement(name, {});
  measurement.values = {value};
  return measurement;
}

Measurement frequency_of(const Components& components) {
  const int64_t layers = std::ssize(components.frequencies), heads = std::ssize(components.frequencies[0]);
  Measurement frequency("frequency",
                        {indices("layer", layers), indices("head", heads), indices("component", components.size)});
  size_t at = 0;
  for (const auto& layer : components.frequencies)
    for (const auto& head : layer)
      for (const double value : head) frequency.values[at++] = value;
  return frequency;
}

// The frequencies of layer 0 and head 0, if there are such and nothing but them turns q and k: tables that scale them,
// too, decay in ways of their own.
std::optional<Spectrum> spectrum_of(const Components& components, const std::string& encoding) {
  const std::vector<double>& frequencies = components.frequencies[0][0];
  const std::vector<Claim>& claims = encoding_named(encoding).claims;
  if (std::find(claims.begin(), claims.end(), Claim::preserves_norm) == claims.end()) return {};
  if (std::any_of(frequencies.begin(), frequencies.end(), [](double f) { return std::isnan(f); })) return {};
  constexpr double any_base = 10000;
  return Spectrum::geometric(components.size, any_base).map([&](Component c) {
    c.frequency = frequencies[static_cast<size_t>(c.index)];
    return c;
  });
}

// Means over bins of distances, 0 and those of distance_bins(): on a page, 128 distances say no more than 30.
Measurement by_distance_bin(const Measurement& contribution) {
  const std::vector<double>& distances = contribution.dimensions.back().numbers;
  const int64_t length = std::ssize(distances);
  std::vector<int64_t> begins = distance_bins(length, length);
  begins.insert(begins.begin(), 0);
  std::vector<Dimension> dimensions = contribution.dimensions;
  dimensions.back().numbers.assign(begins.begin(), begins.end());
  Measurement binned(contribution.name, dimensions);
  const int64_t bins = std::ssize(begins), rows = std::ssize(contribution.values) / length;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t bin = 0; bin < bins; ++bin) {
      const int64_t begin = begins[static_cast<size_t>(bin)],
                    end = bin + 1 < bins ? begins[static_cast<size_t>(bin + 1)] : length;
      double sum = 0;
      for (int64_t d = begin; d < end; ++d) sum += contribution.values[static_cast<size_t>(row * length + d)];
      binned.values[static_cast<size_t>(row * bins + bin)] = sum / static_cast<double>(end - begin);
    }
  return binned;
}

// "beyond_range" and "leaves_range_at" of the components alone, by number, and "score_beyond_range" [layer, distance]
// of the whole scores.
std::vector<Measurement> split_beyond_range(const Measurement& beyond, int64_t train_length) {
  const int64_t layers = beyond.dimensions[0].size(), components = beyond.dimensions[1].size() - 1,
                distances = beyond.dimensions[2].size();
  Measurement parts(beyond.name, {beyond.dimensions[0], indices("component", components), beyond.dimensions[2]});
  Measurement whole("score_beyond_range", {beyond.dimensions[0], beyond.dimensions[2]});
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t d = 0; d < distances; ++d) {
      for (int64_t c = 0; c < components; ++c) parts.at({layer, c, d}) = beyond.at({layer, c, d});
      whole.at({layer, d}) = beyond.at({layer, components, d});
    }
  return {parts, leaves_range_at(parts, train_length), whole};
}

// What a model reads when it is measured.
struct Texts {
  Tensor held_out;       // [windows, L]
  Tensor long_held_out;  // [windows, longest]
  Tensor random;         // [sequences, L], of the U-shape probe
  Tensor repeated;       // of the head scores
};

Texts texts_of(const Settings& s, const Corpus& corpus, const std::vector<int64_t>& lengths) {
  const Split text = split(corpus);
  const int64_t length = s.train.length, longest = lengths.back();
  return {.held_out = evaluation_windows(text.held_out, length, s.dissect.windows * length).inputs,
          .long_held_out = evaluation_windows(text.held_out, longest, long_windows * longest).inputs,
          .random = random_windows(text.train, s.dissect.sequences, length),
          .repeated = repeated_windows(text.train, repeated_texts, length)};
}

// A measurement after several steps of the training.
struct Followed {
  Dimension steps{.name = "step"};
  std::vector<Measurement> parts;
  void add(int64_t step, Measurement measurement, const std::string& name) {
    steps.numbers.push_back(static_cast<double>(step));
    parts.push_back(renamed(std::move(measurement), name));
  }
};

// What the training has done: before it, after each snapshot, and at its end.
std::vector<Measurement> through_training(const ModelFolder& folder, const Settings& s, const Transformer& final_model,
                                          int64_t final_step, const Texts& texts, Progress& progress) {
  // A page holds some 400 000 numbers: of many layers and heads, only some steps, the last ones among them.
  constexpr int64_t most_values = 400'000;
  const std::vector<CheckpointPlace> kept_weights = snapshots(folder.path);
  const int64_t count = std::ssize(kept_weights) + 2;
  Followed contributions, shares, depths, u_shares;
  const auto add = [&](int64_t index, int64_t step, const Transformer& model) {
    const Measurement parts = contribution(model, texts.held_out), binned = by_distance_bin(parts);
    const int64_t stride = 1 + std::ssize(binned.values) * count / most_values;
    if ((count - 1 - index) % stride == 0) contributions.add(step, binned, "contribution_by_step");
    shares.add(step, contribution_share(mean_over_heads(parts)), "contribution_share_by_step");
    const UShape u = u_shape(model, texts.random, s.dissect);
    depths.add(step, u.depth, "u_depth_by_step");
    u_shares.add(step, u.share, "u_share_by_step");
    progress.update(index + 2);
  };
  const Transformer early(model_shape(s), static_cast<uint64_t>(s.train.seed));
  add(0, 0, early);
  for (int64_t i = 0; i < std::ssize(kept_weights); ++i) {
    const CheckpointPlace& snapshot = kept_weights[static_cast<size_t>(i)];
    if (snapshot.step >= final_step) continue;
    load_snapshot(snapshot.path, folder.settings, early.parameters());
    add(i + 1, snapshot.step, early);
  }
  add(count - 1, final_step, final_model);
  std::vector<Measurement> through;
  for (const Followed* const followed : {&contributions, &shares, &depths, &u_shares})
    through.push_back(stacked(followed->steps, followed->parts));
  return through;
}

std::vector<Measurement> probes(const Transformer& model, const Settings& s, const Corpus& corpus,
                                const std::vector<int64_t>& lengths, const Texts& texts) {
  const Components components = components_of(model);
  const Measurement parts = contribution(model, texts.held_out), range = score_range(model, texts.held_out),
                    beyond = beyond_range(model, range, texts.long_held_out);
  const Norms norm = norms(model, texts.held_out);
  const UShape u = u_shape(model, texts.random, s.dissect);
  const Patterns patterns = attention_patterns(model, split(corpus).held_out, lengths, long_windows);
  std::vector<Measurement> all = {frequency_of(components),
                                  number("within_train_length", components.within_train_length()),
                                  contribution_share(parts),
                                  by_distance_bin(cumulative(parts)),
                                  range,
                                  norm.norm,
                                  norm.offset,
                                  norm.offset_angle,
                                  norm.massive,
                                  u.curve,
                                  u.bos,
                                  u.depth,
                                  u.depth_half_width,
                                  u.recency,
                                  u.component,
                                  u.share,
                                  u.activated,
                                  patterns.sink,
                                  patterns.distance,
                                  patterns.peak_distance,
                                  patterns.entropy,
                                  patterns.normalised_entropy,
                                  head_scores(model, texts.repeated)};
  for (const Measurement& m : split_beyond_range(beyond, s.train.length)) all.push_back(m);
  if (const std::optional<Spectrum> spectrum = spectrum_of(components, s.encoding.name)) {
    const int64_t length = s.train.length, longest = lengths.back();
    all.push_back(decay(*spectrum, longest));
    all.push_back(number("first_negative_distance", first_negative_distance(*spectrum, 16 * longest)));
    all.push_back(number("smallest_base", smallest_base(components.size, length)));
    all.push_back(number("critical_dimension",
                         static_cast<double>(critical_dimension(2 * components.size, s.encoding.base, length))));
    all.push_back(angle_coverage(*spectrum, length));
    all.push_back(unseen_angles(*spectrum, length, longest));
  }
  return all;
}

std::vector<Measurement> ablations(const Transformer& model, const Settings& s, const Corpus& corpus,
                                   const std::string& label, bool quiet, AblationLog log) {
  const AblationSweep sweep = ablation_sweep(model, split(corpus), s.dissect, label, quiet, &log);
  return {sweep.loss, sweep.loss_half_width, sweep.of_head, sweep.of_head_half_width, sweep.u_depth, sweep.head_score};
}

// What a folder holds already, if it is of these weights and was made in the same way.
std::optional<Dissection> kept(const fs::path& file, int64_t step, const std::vector<std::string>& settings) {
  std::error_code error;
  if (!fs::exists(file, error)) return {};
  try {
    Dissection dissection = load_dissection(file);
    if (dissection.step == step && dissection.settings == settings) return dissection;
  } catch (const FileError& damaged) {
    fmt::print(stderr, "warning: {}; measuring again\n", damaged.what());
  }
  return {};
}

bool holds_ablations(const fs::path& file) {
  try {
    return load_dissection(file).find("ablation") != nullptr;
  } catch (const FileError&) {
    return false;
  }
}

void dissect_model(const ModelFolder& folder, const DissectSettings& how, const Corpus& corpus, Depth depth,
                   const std::string& label, bool quiet) {
  const RunFolder lock(folder.path, folder.settings, Resume::yes);
  const TrainedModel loaded = load_model(folder.path, folder.settings, folder.settings.encoding);
  require<FileError>(corpus.sha256 == loaded.corpus_sha256, "dissect", folder.settings.corpus, " is not the text that ",
                     folder.path, " was trained on any more");
  Settings s = folder.settings;
  s.dissect = how;
  const Transformer& model = loaded.model;
  const fs::path file = folder.path / "dissection.json", log = folder.path / "ablations.jsonl";
  const std::vector<std::string> assignments = assignments_of(s, "dissect.");
  std::optional<Dissection> dissection = kept(file, loaded.step, assignments);
  // A whole dissection, made in another way, stays until this one is whole too.
  const bool replaces_whole = !dissection && depth == Depth::ablations && holds_ablations(file);
  if (!dissection) {
    const std::vector<int64_t> lengths = ablation_lengths(model, how);
    const Texts texts = texts_of(s, corpus, lengths);
    Progress progress(label + ", probes", std::ssize(snapshots(folder.path)) + 3, quiet);
    dissection = {
        .step = loaded.step, .settings = assignments, .measurements = probes(model, s, corpus, lengths, texts)};
    progress.update(1);
    for (Measurement& m : through_training(folder, s, model, loaded.step, texts, progress))
      dissection->measurements.push_back(std::move(m));
    progress.finish();
    if (!replaces_whole) save_dissection(file, *dissection);
  }
  if (depth == Depth::ablations && !dissection->find("ablation")) {
    for (Measurement& m :
         ablations(model, s, corpus, label + ", ablations", quiet, AblationLog(log, loaded.step, assignments)))
      dissection->measurements.push_back(std::move(m));
    save_dissection(file, *dissection);
  }
  std::error_code ignored;  // a file that stays is removed the next time
  if (depth == Depth::ablations) fs::remove(log, ignored);
}

}  // namespace

void dissect_models(const std::vector<ModelFolder>& models, const DissectSettings& how, const Corpus& corpus,
                    Depth depth, bool quiet) {
  for (size_t i = 0; i < models.size(); ++i) {
    const Settings& s = models[i].settings;
    const std::string place = models.size() == 1 ? "" : fmt::format("{}/{} ", i + 1, models.size());
    dissect_model(models[i], how, corpus, depth, fmt::format("{}{} seed {}", place, s.encoding.name, s.train.seed),
                  quiet);
  }
}

void require_dissectable(const Settings& s, double available_bytes) {
  ParameterList learned;
  const PositionalEncoding encoding = encoding_of(s, learned);
  const std::string& name = s.encoding.name;
  require<UsageError>(encoding.rotation.has_value(), "dissect", name,
                      " turns no components; needs an encoding with a rotation, such as rope or hope");
  const auto require_one_of = [](const char* key, int64_t value, int64_t count) {
    require<UsageError>(value < count, "dissect", key, " is ", value, "; the model has 0 to ", count - 1,
                        " (-1: all of them)");
  };
  require_one_of("dissect.layer", s.dissect.layer, s.model.layers);
  require_one_of("dissect.head", s.dissect.head, s.model.heads);
  std::vector<int64_t> lengths = s.dissect.lengths;
  if (lengths.empty()) lengths = {4 * s.train.length};
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  require<UsageError>(longest >= s.train.length, "dissect", "dissect.lengths end at ", longest,
                      ", before train.length; needs at least ", s.train.length);
  require<UsageError>(s.train.length >= shortest_repeated, "dissect", "train.length is ", s.train.length,
                      "; the head scores need at least ", shortest_repeated);
  require<UsageError>(s.dissect.lengths.empty() || longest <= encoding.position_limit, "dissect", name,
                      " knows positions below ", encoding.position_limit, "; dissect.lengths asks for ", longest);
  require<UsageError>(longest <= s.dissect.bytes, "dissect",
                      "dissect.bytes must hold a window of the longest length: ", s.dissect.bytes, " < ", longest);
  // Masked scores and the pattern of one layer in f32, and the pattern again in f64, for the windows that are read at
  // once (attention_patterns).
  const double needed = 16.0 * static_cast<double>(windows_at_once(longest)) * static_cast<double>(s.model.heads) *
                        static_cast<double>(longest) * static_cast<double>(longest);
  require<ResourceError>(needed <= available_bytes, "memory", "scores of ", longest, " tokens need at least ",
                         std::llround(needed * 1e-6), " MB, ", std::llround(available_bytes * 1e-6),
                         " MB are available; lower dissect.lengths");
}

}  // namespace phasor
