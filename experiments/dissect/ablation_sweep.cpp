// Each ablation runs once, whichever ways and heads its losses are reported for.
#include "experiments/dissect/ablation_sweep.hpp"

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

namespace phasor {
namespace {

constexpr Ablation kinds[] = {Ablation::stop, Ablation::remove, Ablation::mean};

Measurement zeros(const std::string& name, const std::vector<Dimension>& dimensions) {
  Measurement m(name, dimensions);
  std::fill(m.values.begin(), m.values.end(), 0);
  return m;
}

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
  bool is_probed = false;  // for the U-shape and the head scores
};

struct LossChange {
  double mean = 0, error = 0;
};

// The mean over windows and its standard error, of the same windows read twice.
LossChange change_of(const std::vector<double>& before, const std::vector<double>& after) {
  const auto count = static_cast<double>(before.size());
  LossChange change;
  for (size_t i = 0; i < before.size(); ++i) change.mean += (after[i] - before[i]) / count;
  double squares = 0;
  for (size_t i = 0; i < before.size(); ++i) squares += std::pow(after[i] - before[i] - change.mean, 2);
  change.error = std::sqrt(squares / (count - 1) / count);
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

class Plan {
 public:
  explicit Plan(const Components& components) : components_(components) {}

  // Nothing is planned if the ablation cannot change anything. The components at the ends of a range that stand still
  // already are not part of what is stopped, so that equal ablations are found equal.
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

void subtract(std::vector<double>& from, const std::vector<double>& other) {
  for (size_t i = 0; i < from.size(); ++i) from[i] -= other[i];
}

// Puts the values of a part into the whole, at the first indices `at`.
void put(Measurement& whole, const std::vector<int64_t>& at, const Measurement& part) {
  std::vector<int64_t> first = at;
  first.resize(whole.dimensions.size(), 0);
  std::copy(part.values.begin(), part.values.end(), &whole.at(first));
}

AblationSweep empty_sweep(const Transformer& model, int64_t size, const std::vector<int64_t>& lengths) {
  const Dimension component = indices("component", size), layer = indices("layer", model.shape().layers),
                  head = indices("head", model.shape().heads);
  const Dimension kind{.name = "kind", .words = {"stop", "remove", "mean"}},
      probed_kind{.name = "kind", .words = {"stop", "remove"}},
      way{.name = "way", .words = {"alone", "from fast", "from slow"}};
  Dimension length{.name = "length"};
  for (const int64_t tokens : lengths) length.numbers.push_back(static_cast<double>(tokens));
  return {.loss = zeros("ablation", {kind, way, component, length}),
          .loss_error = zeros("ablation_error", {kind, way, component, length}),
          .of_head = zeros("ablation_of_head", {layer, head, component, length}),
          .of_head_error = zeros("ablation_of_head_error", {layer, head, component, length}),
          .u_depth = {},
          .head_score = {}};
}

void stop_if_told() {
  if (const int signal = remembered_signal()) throw Interrupted(signal, "stopped before the ablations were done");
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
                             const std::string& label, bool quiet) {
  const Components components = components_of(model);
  const int64_t size = components.size, layers = model.shape().layers, heads = model.shape().heads,
                train_length = model.shape().train_length,
                group = heads / (model.shape().kv_heads == 0 ? heads : model.shape().kv_heads);
  // Refuses a layer or head that the model lacks.
  ablated(model, components, Ablation::stop, {.layer = settings.layer, .head = settings.head});
  const std::vector<int64_t> lengths = ablation_lengths(model, settings);
  AblationSweep sweep = empty_sweep(model, size, lengths);

  Plan plan(components);
  for (const Ablation kind : kinds)
    for (int64_t component = 0; component < size; ++component) {
      const std::pair<int64_t, int64_t> ranges[] = {{component, component}, {0, component}, {component, size - 1}};
      for (int64_t way = 0; way < 3; ++way) {
        const Ablated which = {ranges[way].first, ranges[way].second, settings.layer, settings.head};
        Job* const job =
            plan.add(kind, which, {&sweep.loss, &sweep.loss_error, {static_cast<int64_t>(kind), way, component}});
        if (job && way == 0 && kind != Ablation::mean) job->is_probed = true;
      }
    }
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t component = 0; component < size; ++component)
        plan.add(Ablation::stop, {component, component, layer, head / group * group},
                 {&sweep.of_head, &sweep.of_head_error, {layer, head, component}});
  const std::vector<Job> jobs = plan.jobs();

  const auto evaluated = [&](const Transformer& reading, int64_t length) {
    stop_if_told();
    return evaluate(reading, text.held_out, length, settings.bytes).loss_by_window;
  };
  std::vector<std::vector<double>> intact;
  for (const int64_t length : lengths) intact.push_back(evaluated(model, length));
  const ChannelMeans means =
      channel_means(model, evaluation_windows(text.held_out, train_length, settings.bytes).inputs);
  const Tensor random_ids = random_windows(text.train, settings.sequences, train_length),
               repeated_ids = repeated_windows(text.train, settings.sequences, train_length);
  const UShape intact_u = u_shape(model, random_ids, settings);
  const Measurement intact_scores = head_scores(model, repeated_ids);
  const Dimension component_axis = indices("component", size),
                  probed_kinds{.name = "kind", .words = {"stop", "remove"}};
  sweep.u_depth = zeros("ablation_u_depth", {probed_kinds, component_axis, intact_u.depth.dimensions[0]});
  std::vector<Dimension> of_scores = {probed_kinds, component_axis};
  of_scores.insert(of_scores.end(), intact_scores.dimensions.begin(), intact_scores.dimensions.end());
  sweep.head_score = zeros("ablation_head_score", of_scores);

  Progress progress(label, std::ssize(jobs), quiet);
  for (int64_t done = 0; done < std::ssize(jobs); ++done) {
    const Job& job = jobs[static_cast<size_t>(done)];
    const Transformer changed = ablated(model, components, job.ablation, job.which, means);
    for (size_t i = 0; i < lengths.size(); ++i) {
      const std::vector<double> losses = evaluated(changed, lengths[i]);
      const LossChange change = change_of(intact[i], losses);
      for (Row row : job.rows) {
        row.index.push_back(static_cast<int64_t>(i));
        row.change->at(row.index) = change.mean;
        row.error->at(row.index) = change.error;
      }
    }
    if (job.is_probed) {
      UShape u = u_shape(changed, random_ids, settings);
      Measurement scores = head_scores(changed, repeated_ids);
      subtract(u.depth.values, intact_u.depth.values);
      subtract(scores.values, intact_scores.values);
      put(sweep.u_depth, {static_cast<int64_t>(job.ablation), job.which.first}, u.depth);
      put(sweep.head_score, {static_cast<int64_t>(job.ablation), job.which.first}, scores);
    }
    progress.update(done + 1);
  }
  progress.finish();
  return sweep;
}

}  // namespace phasor
