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

#include "experiments/comparison.hpp"
#include "experiments/experiment.hpp"
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
  double seconds;  // still to be spent
};

std::filesystem::path training_folder(const QuestionRun& job, const Settings& settings) {
  return job.folder.file(fmt::format("{}-seed{}", settings.encoding.name, settings.train.seed));
}

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Of training with these settings and of reading the held-out text: one step, and one batch of windows at each length,
// are timed. A model that breaks does so here, before the first hour is spent.
double seconds_of(const Settings& settings, const Corpus& corpus) {
  const Transformer model(model_shape(settings), static_cast<uint64_t>(settings.train.seed));
  double seconds = 0;
  for (const int64_t length : evaluation_lengths(settings)) {
    const Clock::time_point start = Clock::now();
    const Evaluation part = evaluate(model, split(corpus).held_out, length, std::max<int64_t>(length, 4096));
    seconds += seconds_since(start) * static_cast<double>(settings.eval.bytes) /
               static_cast<double>(part.windows * part.length);
  }
  if (reads_rope(settings.encoding.name)) return seconds;
  AdamW optimizer(model.parameters(), {});
  for (int step = 0; step < 2; ++step) {  // the first one finds its memory
    const TokenWindows batch = training_batch(split(corpus).train, settings.train.batch, settings.train.length,
                                              static_cast<uint64_t>(settings.train.seed), step);
    const Clock::time_point start = Clock::now();
    training_step(model, optimizer, batch, settings);
    if (step == 1) seconds += seconds_since(start) * static_cast<double>(settings.train.steps);
  }
  return seconds;
}

// Seed by seed, what is trained before what reads it.
std::vector<Task> tasks_of(const QuestionRun& job) {
  std::vector<std::string> encodings = job.encodings;
  std::stable_partition(encodings.begin(), encodings.end(), [](const std::string& e) { return !reads_rope(e); });
  std::map<std::string, double> seconds;
  std::vector<Task> tasks;
  for (int64_t seed = job.settings.train.seed; seed < job.settings.train.seed + job.settings.run.seeds; ++seed)
    for (const std::string& encoding : encodings) {
      Task task{encoding, settings_for(job.settings, encoding, seed), 0};
      std::error_code error;
      if (!std::filesystem::exists(training_folder(job, task.settings) / "results.csv", error)) {
        if (!seconds.contains(encoding)) seconds[encoding] = seconds_of(task.settings, job.corpus);
        task.seconds = seconds[encoding];
        if (const int signal = remembered_signal()) throw Interrupted(signal, "stopped before the first training");
      }
      tasks.push_back(std::move(task));
    }
  return tasks;
}

std::string duration_text(double seconds) {
  const auto minutes = static_cast<int64_t>(std::ceil(seconds / 60));
  return minutes < 60 ? fmt::format("{} min", minutes) : fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
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

std::vector<Measured> all_done(const QuestionRun& job) {
  if (!job.quiet) fmt::print(stderr, "timing a step of each of {} encodings\n", job.encodings.size());
  const std::vector<Task> tasks = tasks_of(job);
  double left = 0;
  for (const Task& task : tasks) left += task.seconds;
  // Steps of a long training may be slower than the one that was timed: what has been learned corrects the rest.
  double estimated = 0, spent = 0;
  std::vector<Measured> measured;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (!job.quiet && tasks[i].seconds > 0)
      fmt::print(stderr, "{} of {}: {}, seed {}; about {} left in all\n", i + 1, tasks.size(), tasks[i].encoding,
                 tasks[i].settings.train.seed, duration_text(left * (estimated > 0 ? spent / estimated : 1)));
    const Clock::time_point start = Clock::now();
    measured.push_back(done(job, tasks[i]));
    left -= tasks[i].seconds;
    if (tasks[i].seconds > 0) estimated += tasks[i].seconds, spent += seconds_since(start);
  }
  return measured;
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
      if (row.is_object()) rates.push_back(row.value("tokens_per_second", 0.0));
    }
  }
  if (rates.empty()) return std::nan("");
  std::nth_element(rates.begin(), rates.begin() + std::ssize(rates) / 2, rates.end());
  return rates[rates.size() / 2];
}

// Differences of the loss at `length` to rope's, seed by seed.
Interval difference_to_rope(const std::vector<Measured>& measured, const std::string& encoding, int64_t length) {
  const auto loss = [&](const std::string& name, int64_t seed) {
    for (const Measured& m : measured)
      for (const Evaluation& e : m.at)
        if (m.encoding == name && m.seed == seed && e.length == length) return e.loss;
    return std::nan("");
  };
  std::vector<double> differences;
  for (const Measured& m : measured)
    if (m.encoding == encoding) differences.push_back(loss(encoding, m.seed) - loss("rope", m.seed));
  return interval_of_mean(differences);
}

std::string difference_text(const Interval& difference) {
  const std::string mean = fmt::format("{:+.3f}", difference.mean);
  return std::isfinite(difference.half_width) ? fmt::format("{} ±{:.3f}", mean, difference.half_width) : mean;
}

std::string perplexity_text(double perplexity) {
  if (std::isnan(perplexity)) return "-";
  return perplexity < 1e4 ? fixed_text(perplexity, 2) : fmt::format("{:.1e}", perplexity);
}

struct Columns {
  std::vector<int64_t> lengths;  // multiples of the training length
  int64_t train_length;
};

Columns columns_of(const Settings& settings) {
  Columns columns{{}, settings.train.length};
  for (const int64_t length : evaluation_lengths(settings))
    if (length % columns.train_length == 0) columns.lengths.push_back(length);
  return columns;
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
  for (const int64_t length : columns.lengths)
    table.columns.push_back(length == columns.train_length ? "L" : fmt::format("{}L", length / columns.train_length));
  return table;
}

enum class Speeds { shown, left_out };

Table table_of_trained(const QuestionRun& job, const std::vector<Measured>& measured,
                       const std::vector<std::string>& encodings, Speeds speeds) {
  const Columns columns = columns_of(job.settings);
  const bool has_interval = job.settings.run.seeds > 1;
  Table table = empty_table(
      fmt::format("Perplexity per byte at multiples of L = {}; loss at L minus rope's, in nats per byte{}",
                  columns.train_length,
                  has_interval ? fmt::format(", with its 95 % interval over {} paired seeds", job.settings.run.seeds)
                               : " (one seed: no interval)"),
      columns);
  table.columns.insert(table.columns.end(), {"vs rope", "parameters"});
  if (speeds == Speeds::shown) table.columns.push_back("tokens/s");
  for (const std::string& encoding : encodings) {
    table.rows.push_back(perplexities(measured, encoding, columns));
    const Settings settings = settings_for(job.settings, encoding, job.settings.train.seed);
    table.rows.back().push_back(
        encoding == "rope" ? "" : difference_text(difference_to_rope(measured, encoding, columns.train_length)));
    table.rows.back().push_back(std::to_string(Transformer(model_shape(settings), 1).parameters().count()));
    const double rate = tokens_per_second(job, measured, encoding);
    if (speeds == Speeds::shown) table.rows.back().push_back(std::isnan(rate) ? "-" : fmt::format("{:.0f}", rate));
  }
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

// Each with few enough curves to be told apart, rope among them for comparison.
std::vector<Chart> charts_of(const std::vector<Measured>& measured, const std::vector<std::string>& encodings,
                             int64_t train_length) {
  constexpr size_t curves = 7;
  std::vector<Chart> charts;
  for (size_t first = 0; first < encodings.size(); first += curves) {
    const size_t last = std::min(first + curves, encodings.size());
    std::vector<Measured> shown;
    for (const Measured& m : measured)
      if (m.encoding == "rope" ||
          std::find(encodings.begin() + first, encodings.begin() + last, m.encoding) != encodings.begin() + last)
        shown.push_back(m);
    charts.push_back(perplexity_chart(shown, train_length));
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
  std::vector<std::string> keep;
  for (const std::string& encoding : trained)
    if (mean_perplexity(measured, encoding, columns.lengths.back()) <=
        growth * mean_perplexity(measured, encoding, columns.train_length))
      keep.push_back(encoding);
  const std::string best = *std::min_element(trained.begin(), trained.end(), [&](const auto& a, const auto& b) {
    return mean_perplexity(measured, a, columns.train_length) < mean_perplexity(measured, b, columns.train_length);
  });
  return fmt::format("Lowest perplexity at L: {}. At {} tokens at most {:.0f} % above their own at L: {}.", best,
                     columns.lengths.back(), (growth - 1) * 100, listed(keep));
}

Answer run(const QuestionRun& job) {
  const std::vector<Measured> measured = all_done(job);
  write_file_atomically(job.folder.file("loss_by_position.csv"), loss_by_position_csv(measured));
  const Columns columns = columns_of(job.settings);
  std::vector<std::string> trained, readers;
  for (const std::string& encoding : job.encodings) (reads_rope(encoding) ? readers : trained).push_back(encoding);
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

  const auto report = [&](Speeds speeds) {
    Report page{.title = title, .verdict = verdict(measured, trained, columns), .sections = {}};
    page.sections.push_back({.heading = "Trained, each under the same settings",
                             .text = "Sorted by the perplexity at the greatest length.",
                             .tables = {table_of_trained(job, measured, trained, speeds)},
                             .charts = charts_of(measured, trained, columns.train_length),
                             .listing = {}});
    if (!readers.empty())
      page.sections.push_back({.heading = "Reading what rope has learned",
                               .text = "",
                               .tables = {table_of_readers(job, measured, readers)},
                               .charts = charts_of(measured, readers, columns.train_length),
                               .listing = {}});
    page.sections.push_back(
        {.heading = "Settings", .text = "", .tables = {}, .charts = {}, .listing = to_toml(job.settings)});
    return page;
  };
  // The page repeats byte for byte, so it has no speeds.
  return {.report = report(Speeds::left_out),
          .text = report_text(report(Speeds::shown)),
          .results_csv = results_csv(measured)};
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
          .quick = {"run.seeds=1", "run.encodings=[rope, hope, nope, alibi, kerple_log, sinusoidal]"},
          .check = check,
          .run = run};
}

}  // namespace phasor::question
