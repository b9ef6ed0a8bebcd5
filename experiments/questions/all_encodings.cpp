// Every encoding, trained alike: what each costs inside the training length and keeps beyond it.
//
// Encodings that are made for reading a model trained with rope are not trained: rope's models are read with them.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "experiments/checkpoint.hpp"
#include "experiments/comparison.hpp"
#include "experiments/experiment.hpp"
#include "experiments/progress.hpp"
#include "experiments/report/text.hpp"
#include "experiments/signals.hpp"
#include "experiments/statistics.hpp"
#include "experiments/trainer.hpp"
#include "nn/files.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor::question {
namespace {

constexpr const char* title = "Every encoding, trained alike";

bool reads_rope(const std::string& encoding) { return encoding_named(encoding).reads_rope; }

std::vector<std::string> every_encoding() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : encodings())
    if (name != "expression") names.push_back(name);  // which is rope until it is given formulas
  return names;
}

// ---- what there is to do, and how long it takes

struct Task {
  std::string encoding;
  Settings settings;
  double seconds = 0;  // still to be spent, as far as it can be told; 0 where it is done
};

std::filesystem::path training_folder(const QuestionRun& job, const Settings& settings) {
  return job.folder.file(fmt::format("{}-seed{}", settings.encoding.name, settings.train.seed));
}

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// What an encoding costs: one batch of windows at each length, and one step, are timed.
struct Cost {
  double evaluation = 0, step = 0;  // seconds
};

Cost cost_of(const Settings& settings, const Corpus& corpus) {
  const Transformer model(model_shape(settings), static_cast<uint64_t>(settings.train.seed));
  Cost cost;
  for (const int64_t length : evaluation_lengths(settings)) {
    const Clock::time_point start = Clock::now();
    const Evaluation part = evaluate(model, split(corpus).held_out, length, std::max<int64_t>(length, 4096));
    cost.evaluation += seconds_since(start) * static_cast<double>(settings.eval.bytes) /
                       static_cast<double>(part.windows * part.length);
  }
  if (reads_rope(settings.encoding.name)) return cost;
  AdamW optimizer(model.parameters(), {});
  for (int step = 0; step < 2; ++step) {  // the first one finds its memory
    const TokenWindows batch = training_batch(split(corpus).train, settings.train.batch, settings.train.length,
                                              static_cast<uint64_t>(settings.train.seed), step);
    const Clock::time_point start = Clock::now();
    training_step(model, optimizer, batch, settings);
    cost.step = seconds_since(start);
  }
  return cost;
}

// Seed by seed, what is trained before what reads it.
std::vector<Task> tasks_of(const QuestionRun& job) {
  std::vector<std::string> encodings = job.encodings;
  std::stable_partition(encodings.begin(), encodings.end(), [](const std::string& e) { return !reads_rope(e); });
  std::vector<Task> tasks;
  for (int64_t seed = job.settings.train.seed; seed < job.settings.train.seed + job.settings.run.seeds; ++seed)
    for (const std::string& encoding : encodings)
      tasks.push_back({encoding, settings_for(job.settings, encoding, seed)});
  return tasks;
}

void estimate(const QuestionRun& job, std::vector<Task>& tasks) {
  std::map<std::string, Cost> costs;
  for (Task& task : tasks) {
    const std::filesystem::path folder = training_folder(job, task.settings);
    std::error_code error;
    if (std::filesystem::exists(folder / "results.csv", error)) continue;
    if (costs.empty()) fmt::print(stderr, "timing a step and a reading of each encoding that is still to be done\n");
    if (!costs.contains(task.encoding)) {
      try {
        costs[task.encoding] = cost_of(task.settings, job.corpus);
      } catch (const NumericError&) {  // its training will tell
        costs[task.encoding] = {};
      }
    }
    const std::vector<CheckpointPlace> saved = checkpoints(folder);
    const int64_t steps_left = task.settings.train.steps - (saved.empty() ? 0 : saved.back().step);
    task.seconds = costs[task.encoding].evaluation + static_cast<double>(steps_left) * costs[task.encoding].step;
    if (const int signal = remembered_signal()) throw Interrupted(signal, "stopped before the first training");
  }
}

Measured done(const QuestionRun& job, const Task& task) {
  if (!reads_rope(task.encoding)) {
    const RunFolder folder(training_folder(job, task.settings), task.settings, Resume::yes);
    return train_and_evaluate(task.settings, job.corpus, folder, job.quiet);
  }
  const Settings trained = settings_for(job.settings, "rope", task.settings.train.seed);
  const TrainedModel rope = load_model(training_folder(job, trained), trained, task.settings.encoding);
  return evaluate_model(rope.model, task.settings, job.corpus, job.quiet);
}

struct Outcome {
  std::vector<Measured> measured;
  std::vector<std::string> failed;  // "alibi, seed 2: why"; the others went on
};

Outcome all_done(const QuestionRun& job) {
  std::vector<Task> tasks = tasks_of(job);
  if (!job.quiet) estimate(job, tasks);
  double left = 0;
  for (const Task& task : tasks) left += task.seconds;
  // Steps of a long training may be slower than the one that was timed: what has been learned corrects the rest.
  double estimated = 0, spent = 0;
  Outcome outcome;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const std::string name = fmt::format("{}, seed {}", tasks[i].encoding, tasks[i].settings.train.seed);
    if (tasks[i].seconds > 0)
      fmt::print(stderr, "{} of {}: {}; about {} left in all\n", i + 1, tasks.size(), name,
                 duration_text(left * (estimated > 0 ? spent / estimated : 1)));
    const Clock::time_point start = Clock::now();
    try {
      outcome.measured.push_back(done(job, tasks[i]));
    } catch (const NumericError& error) {
      outcome.failed.push_back(name + ": " + error.what());
      fmt::print(stderr, "warning: {}; the others go on\n", outcome.failed.back());
    }
    left -= tasks[i].seconds;
    if (tasks[i].seconds > 0) estimated += tasks[i].seconds, spent += seconds_since(start);
  }
  if (outcome.measured.empty()) throw NumericError("all_encodings: nothing was trained: " + outcome.failed.front());
  return outcome;
}

// ---- what came out

// Median of the rates in the timing.jsonl of an encoding's trainings; NaN where they were too short to be timed.
double tokens_per_second(const QuestionRun& job, const std::vector<Measured>& measured, const std::string& encoding) {
  std::vector<double> rates;
  for (const Measured& m : measured) {
    if (m.encoding != encoding) continue;
    std::ifstream timing(training_folder(job, settings_for(job.settings, encoding, m.seed)) / "timing.jsonl");
    for (std::string line; std::getline(timing, line);) {
      const nlohmann::json row = nlohmann::json::parse(line, nullptr, false);
      if (row.is_object() && row.contains("tokens_per_second") && row["tokens_per_second"].is_number())
        rates.push_back(row["tokens_per_second"]);
    }
  }
  if (rates.empty()) return std::nan("");
  std::nth_element(rates.begin(), rates.begin() + std::ssize(rates) / 2, rates.end());
  return rates[rates.size() / 2];
}

// Differences of the loss at `length` to rope's, over the seeds that have both; empty if none has.
std::vector<double> differences_to_rope(const std::vector<Measured>& measured, const std::string& encoding,
                                        int64_t length) {
  const auto loss = [&](const std::string& name, int64_t seed) {
    for (const Measured& m : measured)
      for (const Evaluation& e : m.at)
        if (m.encoding == name && m.seed == seed && e.length == length) return e.loss;
    return std::nan("");
  };
  std::vector<double> differences;
  for (const Measured& m : measured)
    if (const double difference = loss(encoding, m.seed) - loss("rope", m.seed);
        m.encoding == encoding && !std::isnan(difference))
      differences.push_back(difference);
  return differences;
}

std::string difference_text(const std::vector<double>& differences) {
  if (differences.empty()) return "-";
  const Interval difference = interval_of_mean(differences);
  std::string mean = fmt::format("{:+.3f}", difference.mean);
  if (mean == "-0.000" || mean == "+0.000") mean = "0.000";
  return std::isfinite(difference.half_width) ? fmt::format("{} ±{:.3f}", mean, difference.half_width) : mean;
}

std::string perplexity_text(double perplexity) {
  if (std::isnan(perplexity)) return "-";
  return perplexity < 1e4 ? fixed_text(perplexity, 2) : fmt::format("{:.1e}", perplexity);
}

struct Columns {
  std::vector<int64_t> lengths;  // the training length and what is beyond it
  int64_t train_length;
};

Columns columns_of(const Settings& settings) {
  Columns columns{{}, settings.train.length};
  for (const int64_t length : evaluation_lengths(settings))
    if (length >= columns.train_length) columns.lengths.push_back(length);
  return columns;
}

std::string name_of(int64_t length, int64_t train_length) {
  if (length == train_length) return "L";
  return length % train_length == 0 ? fmt::format("{}L", length / train_length) : std::to_string(length);
}

std::vector<std::string> perplexities(const std::vector<Measured>& measured, const std::string& encoding,
                                      const Columns& columns) {
  std::vector<std::string> row = {encoding};
  for (const int64_t length : columns.lengths)
    row.push_back(perplexity_text(mean_perplexity(measured, encoding, length)));
  return row;
}

Table empty_table(const std::string& caption, const Columns& columns) {
  Table table{.columns = {"encoding"}, .rows = {}, .caption = caption};
  for (const int64_t length : columns.lengths) table.columns.push_back(name_of(length, columns.train_length));
  return table;
}

Table table_of_trained(const QuestionRun& job, const std::vector<Measured>& measured,
                       const std::vector<std::string>& encodings) {
  const Columns columns = columns_of(job.settings);
  const int64_t seeds = job.settings.run.seeds;
  Table table =
      empty_table(fmt::format("Perplexity per byte at multiples of L = {}; loss at L minus rope's, in nats per byte{}",
                              columns.train_length,
                              seeds > 1 ? fmt::format(", with its 95 % interval over {} paired seeds", seeds)
                                        : " (one seed: no interval)"),
                  columns);
  table.columns.insert(table.columns.end(), {"vs rope", "parameters"});
  bool missing = false;
  for (const std::string& encoding : encodings) {
    std::vector<std::string>& row = table.rows.emplace_back(perplexities(measured, encoding, columns));
    missing = missing || std::find(row.begin(), row.end(), "-") != row.end();
    const Settings settings = settings_for(job.settings, encoding, job.settings.train.seed);
    row.push_back(encoding == "rope" ? ""
                                     : difference_text(differences_to_rope(measured, encoding, columns.train_length)));
    row.push_back(std::to_string(Transformer(model_shape(settings), 1).parameters().count()));
  }
  if (missing) table.caption += "; -: positions that the encoding does not know, or no model";
  return table;
}

// The page repeats byte for byte, so speeds are in the terminal's table only, and only where trainings were long enough
// to be timed.
Table with_speeds(Table table, const QuestionRun& job, const std::vector<Measured>& measured) {
  std::vector<std::string> speeds;
  for (const std::vector<std::string>& row : table.rows) {
    const double rate = tokens_per_second(job, measured, row[0]);
    speeds.push_back(std::isnan(rate) ? "-" : fmt::format("{:.0f}", rate));
  }
  if (std::all_of(speeds.begin(), speeds.end(), [](const std::string& speed) { return speed == "-"; })) return table;
  table.columns.push_back("tokens/s");
  for (size_t i = 0; i < speeds.size(); ++i) table.rows[i].push_back(speeds[i]);
  return table;
}

Table table_of_readers(const QuestionRun& job, const std::vector<Measured>& measured,
                       const std::vector<std::string>& encodings) {
  const Columns columns = columns_of(job.settings);
  Table table = empty_table("The models trained with rope, read with another encoding (encoding.factor = " +
                                number_text(job.settings.encoding.factor) + ")",
                            columns);
  for (const std::string& encoding : encodings) table.rows.push_back(perplexities(measured, encoding, columns));
  return table;
}

// Each with few enough curves to be told apart, rope the first of them.
std::vector<Chart> charts_of(const std::vector<Measured>& measured, const std::vector<std::string>& encodings,
                             int64_t train_length) {
  constexpr size_t curves = 7;
  std::vector<std::string> others = encodings;
  std::erase(others, "rope");
  std::vector<Chart> charts;
  for (size_t first = 0; first < others.size(); first += curves) {
    std::vector<std::string> names = {"rope"};
    for (size_t i = first; i < std::min(first + curves, others.size()); ++i) names.push_back(others[i]);
    std::vector<Measured> shown;
    for (const std::string& name : names)
      std::copy_if(measured.begin(), measured.end(), std::back_inserter(shown),
                   [&](const Measured& m) { return m.encoding == name; });
    charts.push_back(perplexity_chart(shown, train_length));
    charts.back().title = fmt::format("Perplexity per byte: {} to {}", names[1], names.back());
  }
  return charts;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

std::string verdict(const std::vector<Measured>& measured, const std::vector<std::string>& trained,
                    const Columns& columns) {
  constexpr double growth = 1.1;
  const auto at = [&](const std::string& encoding, int64_t length) {
    return mean_perplexity(measured, encoding, length);
  };
  const auto best = std::min_element(trained.begin(), trained.end(), [&](const auto& a, const auto& b) {
    return at(a, columns.train_length) < at(b, columns.train_length);
  });
  std::string text = fmt::format("Lowest perplexity at L: {}.", *best);
  if (columns.lengths.size() == 1) return text;
  std::vector<std::string> keep, lose;
  for (const std::string& encoding : trained) {
    const bool keeps = at(encoding, columns.lengths.back()) <= growth * at(encoding, columns.train_length);
    (keeps ? keep : lose).push_back(encoding);
  }
  return text + fmt::format(" At {} tokens at most {:.0f} % above their own at L: {}.", columns.lengths.back(),
                            (growth - 1) * 100, keep.size() <= lose.size() ? listed(keep) : "all but " + listed(lose));
}

// What the formulas of the encoding `expression` were, where it took part.
std::string formulas_text(const QuestionRun& job) {
  if (std::find(job.encodings.begin(), job.encodings.end(), "expression") == job.encodings.end()) return "";
  const EncodingFormulas& e = job.settings.encoding.formulas;
  std::string text = fmt::format("; expression: frequency = {}, bias = {}", e.frequency, e.bias.empty() ? "0" : e.bias);
  for (size_t i = 0; i < e.learned.size(); ++i) text += fmt::format(", {} learned from {}", e.learned[i], e.starts[i]);
  return text;
}

Answer run(const QuestionRun& job) {
  const Outcome outcome = all_done(job);
  const std::vector<Measured>& measured = outcome.measured;
  write_file_atomically(job.folder.file("loss_by_position.csv"), loss_by_position_csv(measured));
  const Columns columns = columns_of(job.settings);
  std::vector<std::string> trained, readers;
  for (const std::string& encoding : job.encodings)
    if (!std::isnan(mean_perplexity(measured, encoding, columns.train_length)))
      (reads_rope(encoding) ? readers : trained).push_back(encoding);
  // The best beyond the training length first; last, those that do not know such positions.
  const auto rank = [&](const std::string& encoding) {
    for (auto length = columns.lengths.rbegin(); length != columns.lengths.rend(); ++length)
      if (const double p = mean_perplexity(measured, encoding, *length); !std::isnan(p))
        return std::pair(length - columns.lengths.rbegin(), p);
    return std::pair(std::ptrdiff_t{0}, 0.0);
  };
  const auto by_rank = [&](const auto& a, const auto& b) { return rank(a) < rank(b); };
  std::stable_sort(trained.begin(), trained.end(), by_rank);
  std::stable_sort(readers.begin(), readers.end(), by_rank);

  std::string failures;
  for (const std::string& failure : outcome.failed) failures += " Not trained: " + failure + ".";
  Report page{.title = title, .verdict = verdict(measured, trained, columns) + failures, .sections = {}};
  page.sections.push_back({.heading = "Trained, each under the same settings",
                           .text = training_text(job.settings) + "\n\nSorted by the perplexity at the greatest length.",
                           .tables = {table_of_trained(job, measured, trained)},
                           .charts = charts_of(measured, trained, columns.train_length),
                           .listing = {}});
  page.sections[0].tables[0].caption += formulas_text(job);
  if (!readers.empty())
    page.sections.push_back({.heading = "Reading what rope has learned",
                             .text = "",
                             .tables = {table_of_readers(job, measured, readers)},
                             .charts = charts_of(measured, readers, columns.train_length),
                             .listing = {}});
  page.sections.push_back(
      {.heading = "Settings", .text = "", .tables = {}, .charts = {}, .listing = to_toml(job.settings)});
  Report shown = page;
  shown.sections[0].tables[0] = with_speeds(shown.sections[0].tables[0], job, measured);
  return {.report = page, .text = report_text(shown), .results_csv = results_csv(measured)};
}

void check(const Settings& settings) {
  require_multiples("all_encodings", settings, {1});
  const std::vector<std::string>& named = settings.run.encodings;
  require<UsageError>(named.empty() || std::find(named.begin(), named.end(), "rope") != named.end(), "all_encodings",
                      "compares with rope; run.encodings must name it, too: [rope, ", listed(named), "]");
}

}  // namespace

Experiment all_encodings() {
  Settings defaults;
  defaults.run.seeds = 3;
  return {.question = "What does each encoding cost within L, and keep beyond?",
          .defaults = defaults,
          .encodings = every_encoding(),
          .takes_others = true,
          .quick = {"run.seeds=1", "run.encodings=[rope, hope, nope, alibi, kerple_log, sinusoidal]"},
          .check = check,
          .run = run};
}

}  // namespace phasor::question
