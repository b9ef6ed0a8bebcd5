// Each ablation runs once, whichever ways and heads its losses are reported for, and however often the sweep is
// stopped.
#include "experiments/dissect/ablation_sweep.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "experiments/dissect/ablation.hpp"
#include "experiments/dissect/patterns.hpp"
#include "experiments/dissect/u_shape.hpp"
#include "experiments/evaluation.hpp"
#include "experiments/progress.hpp"
#include "experiments/signals.hpp"
#include "experiments/statistics.hpp"

namespace phasor {
namespace {

constexpr Ablation kinds[] = {Ablation::stop, Ablation::remove, Ablation::mean};
constexpr int64_t probed_kinds = 2;  // the first of them, for their U-shape and head scores too

// Where the losses of one ablation go: a row of the last dimension, length.
struct Row {
  Measurement* change;
  Measurement* error;
  std::vector<int64_t> index;  // without the length
};

struct Job {
  Ablation ablation;
  Ablated which;
  std::vector<Row> rows = {};
  bool is_probed = false;
};

// Of the same windows read twice; of one window no interval is known.
Interval change_of(const std::vector<double>& before, const std::vector<double>& after) {
  std::vector<double> changes;
  for (size_t i = 0; i < before.size(); ++i) changes.push_back(after[i] - before[i]);
  Interval change = interval_of_mean(changes);
  if (changes.size() == 1) change.half_width = std::nan("");
  return change;
}

bool stands_still(const Components& components, const Ablated& which, int64_t component) {
  const auto acts_on = [](int64_t chosen, size_t i) { return chosen < 0 || static_cast<size_t>(chosen) == i; };
  const auto& layers = components.frequencies;
  for (size_t layer = 0; layer < layers.size(); ++layer)
    for (size_t head = 0; head < layers[layer].size(); ++head)
      if (acts_on(which.layer, layer) && acts_on(which.head, head) &&
          layers[layer][head][static_cast<size_t>(component)] != 0)
        return false;
  return true;
}

// The ablations of a sweep, each once.
class Plan {
 public:
  explicit Plan(const Components& components) : components_(components) {}

  // The job that fills the row; none if the ablation cannot change anything. The components at the ends of a range that
  // stand still already are not part of what is stopped, so that equal ablations are found equal.
  Job* add(Ablation ablation, Ablated which, const Row& row) {
    if (ablation == Ablation::stop) {
      while (which.first <= which.last && stands_still(components_, which, which.first)) ++which.first;
      while (which.first <= which.last && stands_still(components_, which, which.last)) --which.last;
      if (which.first > which.last) return nullptr;
    }
    Job& job = jobs_.try_emplace({ablation, which.layer, which.head, which.first, which.last}, Job{ablation, which})
                   .first->second;
    job.rows.push_back(row);
    return &job;
  }

  std::vector<Job> jobs() const {
    std::vector<Job> jobs;
    for (const auto& [key, job] : jobs_) jobs.push_back(job);
    return jobs;
  }

 private:
  const Components& components_;
  std::map<std::tuple<Ablation, int64_t, int64_t, int64_t, int64_t>, Job> jobs_;
};

std::vector<Job> jobs_of(AblationSweep& sweep, const Components& components, const ModelShape& shape,
                         const DissectSettings& settings) {
  Plan plan(components);
  const int64_t size = components.size;
  for (int64_t kind = 0; kind < std::ssize(kinds); ++kind)
    for (int64_t component = 0; component < size; ++component) {
      const auto add = [&](int64_t way, int64_t first, int64_t last) {
        return plan.add(kinds[kind], {first, last, settings.layer, settings.head},
                        {&sweep.loss, &sweep.loss_half_width, {kind, way, component}});
      };
      Job* const alone = add(0, component, component);
      if (alone && kind < probed_kinds) alone->is_probed = true;
      add(1, 0, component);
      add(2, component, size - 1);
    }
  const int64_t group = shape.heads / (shape.kv_heads == 0 ? shape.heads : shape.kv_heads);
  const auto is_asked = [](int64_t chosen, int64_t i) { return chosen < 0 || chosen == i; };
  for (int64_t layer = 0; layer < shape.layers; ++layer)
    for (int64_t head = 0; head < shape.heads; ++head) {
      if (!is_asked(settings.layer, layer) || !is_asked(settings.head, head)) {
        for (Measurement* const m : {&sweep.of_head, &sweep.of_head_half_width})
          std::fill_n(&m->at({layer, head, 0, 0}), size * m->dimensions.back().size(), std::nan(""));
        continue;
      }
      for (int64_t component = 0; component < size; ++component)
        plan.add(Ablation::stop, {component, component, layer, head / group * group},
                 {&sweep.of_head, &sweep.of_head_half_width, {layer, head, component}});
    }
  return plan.jobs();
}

// What is asked of the intact model and, for its changes, of some of the others.
struct Probe {
  Tensor random_ids, repeated_ids;
  const DissectSettings& settings;

  struct Answer {
    Measurement u_depth, head_score;
  };
  Answer of(const Transformer& model) const {
    return {u_shape(model, random_ids, settings).depth, head_scores(model, repeated_ids)};
  }
};

std::vector<double> differences(const Measurement& before, const Measurement& after) {
  std::vector<double> changes;
  for (size_t i = 0; i < before.values.size(); ++i) changes.push_back(after.values[i] - before.values[i]);
  return changes;
}

// whole[first indices, ...] = values
void put(Measurement& whole, std::vector<int64_t> first, const std::vector<double>& values) {
  first.resize(whole.dimensions.size(), 0);
  std::copy(values.begin(), values.end(), &whole.at(first));
}

void put(AblationSweep& sweep, const Job& job, const AblationEffect& effect) {
  for (const Row& row : job.rows) {
    put(*row.change, row.index, effect.loss);
    put(*row.error, row.index, effect.loss_half_width);
  }
  if (!job.is_probed) return;
  const std::vector<int64_t> at = {static_cast<int64_t>(job.ablation), job.which.first};
  put(sweep.u_depth, at, effect.u_depth);
  put(sweep.head_score, at, effect.head_score);
}

Measurement with_dimensions(const std::string& name, std::vector<Dimension> first, const Measurement& of) {
  first.insert(first.end(), of.dimensions.begin(), of.dimensions.end());
  return {name, first};
}

// All zeros: what no job fills.
AblationSweep empty_sweep(const ModelShape& shape, int64_t size, const std::vector<int64_t>& lengths,
                          const Probe::Answer& intact) {
  const Dimension component = indices("component", size), layer = indices("layer", shape.layers),
                  head = indices("head", shape.heads);
  Dimension kind{.name = "kind"}, length{.name = "length"};
  for (const Ablation ablation : kinds) kind.words.push_back(name_of(ablation));
  for (const int64_t tokens : lengths) length.numbers.push_back(static_cast<double>(tokens));
  const Dimension way{.name = "way", .words = {"alone", "from fast", "from slow"}};
  Dimension probed = kind;
  probed.words.resize(probed_kinds);
  AblationSweep sweep{.loss = {"ablation", {kind, way, component, length}},
                      .loss_half_width = {"ablation_half_width", {kind, way, component, length}},
                      .of_head = {"ablation_of_head", {layer, head, component, length}},
                      .of_head_half_width = {"ablation_of_head_half_width", {layer, head, component, length}},
                      .u_depth = with_dimensions("ablation_u_depth", {probed, component}, intact.u_depth),
                      .head_score = with_dimensions("ablation_head_score", {probed, component}, intact.head_score)};
  for (Measurement* const m : {&sweep.loss, &sweep.loss_half_width, &sweep.of_head, &sweep.of_head_half_width,
                               &sweep.u_depth, &sweep.head_score})
    std::fill(m->values.begin(), m->values.end(), 0);
  return sweep;
}

}  // namespace

std::vector<int64_t> ablation_lengths(const Transformer& model, const DissectSettings& settings) {
  const int64_t length = model.shape().train_length, limit = model.encoding().position_limit;
  std::vector<int64_t> lengths = settings.lengths;
  if (lengths.empty()) {
    lengths = {length, 2 * length, 4 * length};
    std::erase_if(lengths, [&](int64_t tokens) { return tokens > limit; });
  }
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  return lengths;
}

AblationSweep ablation_sweep(const Transformer& model, const Split& text, const DissectSettings& settings,
                             const std::string& label, bool quiet, AblationLog* log) {
  const Components components = components_of(model);
  // Refuses a layer or head that the model lacks.
  ablated(model, components, Ablation::stop, {.layer = settings.layer, .head = settings.head});
  const std::vector<int64_t> lengths = ablation_lengths(model, settings);
  const int64_t train_length = model.shape().train_length;
  std::vector<Evaluation> intact;
  for (const int64_t length : lengths) {
    if (const int signal = remembered_signal())
      throw Interrupted(signal, label + ": stopped while the intact model was read");
    intact.push_back(evaluate(model, text.held_out, length, settings.bytes));
  }
  const ChannelMeans means =
      channel_means(model, evaluation_windows(text.held_out, train_length, settings.bytes).inputs);
  const Probe probe{.random_ids = random_windows(text.train, settings.sequences, train_length),
                    .repeated_ids = repeated_windows(text.train, settings.sequences, train_length),
                    .settings = settings};
  const Probe::Answer intact_answer = probe.of(model);
  AblationSweep sweep = empty_sweep(model.shape(), components.size, lengths, intact_answer);

  // What was measured before. A number too many or too few in the file would be put elsewhere.
  const auto fits = [&](const AblationEffect& effect, const Job& job) {
    return effect.loss.size() == lengths.size() && effect.loss_half_width.size() == lengths.size() &&
           (!job.is_probed || (effect.u_depth.size() == intact_answer.u_depth.values.size() &&
                               effect.head_score.size() == intact_answer.head_score.values.size()));
  };
  const std::vector<Job> jobs = jobs_of(sweep, components, model.shape(), settings);
  std::vector<Job> left;
  for (const Job& job : jobs) {
    const AblationEffect* const known = log ? log->find(job.ablation, job.which) : nullptr;
    if (known && fits(*known, job))
      put(sweep, job, *known);
    else
      left.push_back(job);
  }

  int64_t done = std::ssize(jobs) - std::ssize(left);
  Progress progress(label, std::ssize(jobs), quiet, done);
  const auto effect_of = [&](const Job& job) {
    const Transformer changed = ablated(model, components, job.ablation, job.which, means);
    AblationEffect effect;
    for (size_t i = 0; i < lengths.size(); ++i) {
      if (const int signal = remembered_signal()) throw Interrupted(signal, "");
      const Evaluation e = evaluate(changed, text.held_out, lengths[i], settings.bytes);
      const Interval change = change_of(intact[i].loss_by_window, e.loss_by_window);
      effect.loss.push_back(change.mean);
      effect.loss_half_width.push_back(change.half_width);
    }
    if (job.is_probed) {
      const Probe::Answer answer = probe.of(changed);
      effect.u_depth = differences(intact_answer.u_depth, answer.u_depth);
      effect.head_score = differences(intact_answer.head_score, answer.head_score);
    }
    return effect;
  };
  for (const Job& job : left) {
    AblationEffect effect;
    try {
      effect = effect_of(job);
    } catch (const Interrupted& interrupted) {  // by this loop or inside a probe: either way, so much is kept
      progress.finish();
      throw Interrupted(interrupted.signal, fmt::format("{}: stopped after {} of {}{}", label, done, jobs.size(),
                                                        log ? "; the same command goes on there" : ""));
    }
    if (log) log->add(job.ablation, job.which, effect);
    put(sweep, job, effect);
    progress.update(++done);
  }
  progress.finish();
  return sweep;
}

}  // namespace phasor
