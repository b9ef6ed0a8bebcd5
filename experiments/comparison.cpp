// Trains the runs of a comparison and turns their evaluations into rows, tables and curves.
#include "experiments/comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>

#include "experiments/corpora/corpus.hpp"
#include "experiments/progress.hpp"
#include "experiments/machine.hpp"
#include "experiments/report/csv.hpp"
#include "experiments/report/smooth.hpp"
#include "experiments/report/text.hpp"
#include "experiments/signals.hpp"
#include "experiments/trainer.hpp"
#include "nn/files.hpp"

namespace phasor {
namespace {

constexpr double smoothing_reach = 0.08;

// The encodings in the order in which they were measured.
std::vector<std::string> encodings_of(const std::vector<Measured>& measured) {
  std::vector<std::string> names;
  for (const Measured& m : measured)
    if (std::find(names.begin(), names.end(), m.encoding) == names.end()) names.push_back(m.encoding);
  return names;
}

// Mean over an encoding's seeds of something at a length; NaN if no seed was measured there.
template <class F>
double mean_over_seeds(const std::vector<Measured>& measured, const std::string& encoding, int64_t length, F value) {
  double sum = 0;
  int seeds = 0;
  for (const Measured& m : measured)
    for (const Evaluation& e : m.at)
      if (m.encoding == encoding && e.length == length) sum += value(e), ++seeds;
  return sum / seeds;
}

// All lengths at which something was measured, ascending.
std::set<int64_t> lengths_of(const std::vector<Measured>& measured) {
  std::set<int64_t> lengths;
  for (const Measured& m : measured)
    for (const Evaluation& e : m.at) lengths.insert(e.length);
  return lengths;
}

std::vector<Mark> mark_of(int64_t train_length) {
  if (train_length == 0) return {};
  return {{static_cast<double>(train_length), "L"}};
}

Table length_table(const std::vector<Measured>& measured, int64_t train_length, const std::string& caption,
                   int decimals, double (Evaluation::*value)() const) {
  Table table{.columns = {"encoding"}, .rows = {}, .caption = caption};
  const std::set<int64_t> lengths = lengths_of(measured);
  for (const int64_t length : lengths) table.columns.push_back(length_label(length, train_length));
  for (const std::string& encoding : encodings_of(measured)) {
    table.rows.push_back({encoding});
    for (const int64_t length : lengths) {
      const double mean =
          mean_over_seeds(measured, encoding, length, [&](const Evaluation& e) { return (e.*value)(); });
      table.rows.back().push_back(std::isnan(mean) ? "-" : fixed_text(mean, decimals));
    }
  }
  return table;
}

Chart position_chart(const std::vector<Measured>& measured, int64_t train_length) {
  const int64_t longest = *lengths_of(measured).rbegin();
  Chart chart{.title = fmt::format("Loss by position in windows of {} tokens", longest),
              .x_label = "position in the window (tokens, from 1)",
              .y_label = "loss (nats per byte)",
              .log_x = true,
              .series = {},
              .marks = mark_of(train_length)};
  for (const std::string& encoding : encodings_of(measured)) {
    std::vector<double> losses;
    for (size_t position = 0; position < static_cast<size_t>(longest); ++position)
      losses.push_back(mean_over_seeds(measured, encoding, longest,
                                       [&](const Evaluation& e) { return e.loss_by_position[position]; }));
    Series series{.name = encoding, .x = {}, .y = smoothed_by_position(losses, smoothing_reach)};
    for (size_t position = 0; position < losses.size(); ++position)
      series.x.push_back(static_cast<double>(position + 1));
    chart.series.push_back(series);
  }
  return chart;
}

// rope, or rope seed 2
std::string run_label(const Settings& s) {
  return s.train.seed == Settings().train.seed ? s.encoding.name
                                               : fmt::format("{} seed {}", s.encoding.name, s.train.seed);
}

// The fields of a CSV file of numbers and plain names. FileError if it cannot be read or a row has another number of
// fields than `columns`.
std::vector<std::vector<std::string>> csv_rows(const std::filesystem::path& file, size_t columns) {
  const std::vector<std::byte> bytes = read_file(file);
  std::istringstream lines(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  std::vector<std::vector<std::string>> rows;
  std::string line, field;
  std::getline(lines, line);  // the header
  while (std::getline(lines, line)) {
    std::vector<std::string>& row = rows.emplace_back();
    for (std::istringstream fields(line); std::getline(fields, field, ',');) row.push_back(field);
    require<FileError>(row.size() == columns, "run", file, " is damaged: row ", rows.size(), " has ", row.size(),
                       " fields; needs ", columns);
  }
  return rows;
}

template <class T>
T number_of(const std::filesystem::path& file, const std::string& field) {
  T value = 0;
  const char* const end = field.data() + field.size();
  const std::from_chars_result result = std::from_chars(field.data(), end, value);
  require<FileError>(result.ec == std::errc() && result.ptr == end, "run", file, " is damaged: '", field,
                     "' is not a number");
  return value;
}

void stop_if_told() {
  if (const int signal = remembered_signal()) throw Interrupted(signal, "stopped before the evaluation was done");
}

}  // namespace

std::string results_csv(const std::vector<Measured>& measured) {
  Csv csv({"encoding", "seed", "length", "windows", "loss", "perplexity", "bits_per_byte"});
  for (const Measured& m : measured)
    for (const Evaluation& e : m.at)
      csv.add({m.encoding, m.seed, e.length, e.windows, e.loss, e.perplexity(), e.bits_per_byte()});
  return csv.text();
}

std::string loss_by_position_csv(const std::vector<Measured>& measured) {
  Csv csv({"encoding", "seed", "length", "position", "loss"});
  for (const Measured& m : measured)
    for (const Evaluation& e : m.at)
      for (size_t position = 0; position < e.loss_by_position.size(); ++position)
        csv.add({m.encoding, m.seed, e.length, static_cast<int64_t>(position), e.loss_by_position[position]});
  return csv.text();
}

std::string length_label(int64_t length, int64_t train_length) {
  if (train_length == 0) return std::to_string(length);
  if (length == train_length) return fmt::format("{} = L", length);
  if (length % train_length == 0) return fmt::format("{} = {}L", length, length / train_length);
  if (train_length % length == 0) return fmt::format("{} = L/{}", length, train_length / length);
  return std::to_string(length);
}

Chart perplexity_chart(const std::vector<Measured>& measured, int64_t train_length) {
  Chart chart{.title = "Perplexity per byte against the length of the window",
              .x_label = "length of the window (tokens)",
              .y_label = "perplexity per byte",
              .log_x = true,
              .log_y = true,
              .series = {},
              .marks = mark_of(train_length)};
  for (const std::string& encoding : encodings_of(measured)) {
    Series series{.name = encoding, .x = {}, .y = {}};
    const auto first =
        std::find_if(measured.begin(), measured.end(), [&](const Measured& m) { return m.encoding == encoding; });
    for (const Evaluation& e : first->at) {
      series.x.push_back(static_cast<double>(e.length));
      series.y.push_back(mean_perplexity(measured, encoding, e.length));
    }
    chart.series.push_back(series);
  }
  return chart;
}

Measured evaluate_model(const Transformer& model, const Settings& settings, const Corpus& corpus, bool quiet) {
  Measured measured{settings.encoding.name, settings.train.seed, {}};
  const std::vector<int64_t> lengths = evaluation_lengths(settings);
  Progress progress(run_label(settings) + ", held out", static_cast<int64_t>(lengths.size()), quiet);
  for (const int64_t length : lengths) {
    measured.at.push_back(evaluate(model, split(corpus).held_out, length, settings.eval.bytes));
    const Evaluation& e = measured.at.back();
    progress.update(static_cast<int64_t>(measured.at.size()), e.loss, e.windows * e.length);
    stop_if_told();
  }
  progress.finish();
  return measured;
}

Settings settings_for(const Settings& settings, const std::string& encoding, int64_t seed) {
  Settings one = with_encoding(settings, encoding);
  one.train.seed = seed;
  one.run = {};
  const int64_t limit = position_limit(one);
  std::vector<int64_t> lengths = evaluation_lengths(one);
  if (lengths.back() > limit) {
    std::erase_if(lengths, [&](int64_t length) { return length > limit; });
    one.eval.lengths = lengths;
  }
  return one;
}

Measured measured_in(const std::filesystem::path& folder, const Settings& settings) {
  Measured measured{settings.encoding.name, settings.train.seed, {}};
  const std::filesystem::path results = folder / "results.csv", by_position = folder / "loss_by_position.csv";
  for (const std::vector<std::string>& row : csv_rows(results, 7)) {
    require<FileError>(row[0] == measured.encoding && row[1] == std::to_string(measured.seed), "run", results,
                       " is of ", row[0], " with seed ", row[1], ", not of ", measured.encoding, " with seed ",
                       measured.seed);
    measured.at.push_back({.length = number_of<int64_t>(results, row[2]),
                           .windows = number_of<int64_t>(results, row[3]),
                           .loss = number_of<double>(results, row[4]),
                           .loss_by_position = {}});
  }
  for (const std::vector<std::string>& row : csv_rows(by_position, 5))
    for (Evaluation& e : measured.at)
      if (e.length == number_of<int64_t>(by_position, row[2]))
        e.loss_by_position.push_back(number_of<double>(by_position, row[4]));
  const std::vector<int64_t> lengths = evaluation_lengths(settings);
  const bool whole = std::equal(lengths.begin(), lengths.end(), measured.at.begin(), measured.at.end(),
                                [](int64_t length, const Evaluation& e) {
                                  return e.length == length && std::ssize(e.loss_by_position) == length &&
                                         e.loss == mean_loss(e.loss_by_position);
                                });
  require<FileError>(whole, "run", folder,
                     " is damaged: its results are not of all lengths, or not the means over the positions");
  return measured;
}

Measured train_and_evaluate(const Settings& settings, const Corpus& corpus, const RunFolder& folder, bool quiet) {
  if (folder.finished()) {
    try {
      return measured_in(folder.path(), settings);
    } catch (const FileError& error) {
      fmt::print(stderr, "warning: {}; evaluating again\n", error.what());
    }
  }
  const Transformer model = train(settings, corpus, folder, {.label = run_label(settings), .quiet = quiet});
  const Measured measured = evaluate_model(model, settings, corpus, quiet);
  const std::vector<Measured> all = {measured};
  const Answer answer =
      comparison_answer("One training run: " + settings.encoding.name, "", all, trainings_of(settings));
  write_file_atomically(folder.file("loss_by_position.csv"), loss_by_position_csv(all));
  write_answer(folder, answer);
  return measured;
}

std::vector<Measured> compare(const QuestionRun& job) {
  std::vector<Measured> measured;
  for (int64_t seed = job.settings.train.seed; seed < job.settings.train.seed + job.settings.run.seeds; ++seed)
    for (const std::string& encoding : job.encodings) {
      const Settings settings = settings_for(job.settings, encoding, seed);
      const RunFolder folder(job.folder.file(fmt::format("{}-seed{}", encoding, seed)), settings, Resume::yes);
      measured.push_back(train_and_evaluate(settings, job.corpus, folder, job.quiet));
    }
  write_file_atomically(job.folder.file("loss_by_position.csv"), loss_by_position_csv(measured));
  return measured;
}

std::string training_text(const Settings& s) {
  return fmt::format(
      "The models were trained on windows of L = {} tokens of {} ({} steps of {} windows; width {}, {} layers, {} "
      "heads, "
      "SwiGLU {}). At every length they read whole windows from the start of the same held-out text, {} bytes at "
      "most{}.",
      s.train.length, s.corpus, s.train.steps, s.train.batch, s.model.width, s.model.layers, s.model.heads,
      s.model.hidden, s.eval.bytes, s.run.seeds > 1 ? fmt::format(" (means over {} seeds)", s.run.seeds) : "");
}

Trainings trainings_of(const Settings& s) {
  return {.text = training_text(s), .train_length = s.train.length, .settings = to_toml(s)};
}

Answer comparison_answer(const std::string& title, const std::string& verdict, const std::vector<Measured>& measured,
                         const Trainings& trainings) {
  const int64_t length = trainings.train_length;
  const auto runs = std::count_if(measured.begin(), measured.end(),
                                  [&](const Measured& m) { return m.encoding == measured[0].encoding; });
  const std::string seeds = runs > 1 ? fmt::format(" (means over {} seeds)", runs) : "";
  Answer answer;
  answer.report.title = title;
  answer.report.verdict = verdict;
  answer.report.sections.push_back(
      {.heading = "Held-out text by length",
       .text = trainings.text,
       .tables = {length_table(measured, length, "Perplexity per byte" + seeds, 3, &Evaluation::perplexity),
                  length_table(measured, length, "Bits per byte" + seeds, 3, &Evaluation::bits_per_byte)},
       .charts = {perplexity_chart(measured, length)},
       .listing = {}});
  answer.report.sections.push_back(
      {.heading = "Where in the window the loss is",
       .text =
           fmt::format("An average over a window hides where it fails. Each point is the mean over all windows, "
                       "smoothed over the positions within {:.0f} % of it; loss_by_position.csv has the plain numbers.",
                       smoothing_reach * 100),
       .tables = {},
       .charts = {position_chart(measured, length)},
       .listing = {}});
  answer.report.sections.push_back(
      {.heading = "Settings", .text = "", .tables = {}, .charts = {}, .listing = trainings.settings});
  answer.text = report_text(answer.report);
  answer.results_csv = results_csv(measured);
  return answer;
}

std::string report_text(const Report& report) {
  std::string text = report.title + "\n";
  for (const Section& section : report.sections)
    for (const Table& table : section.tables) text += "\n" + text_table(table);
  if (!report.verdict.empty()) text += "\n" + wrapped(report.verdict, 80) + "\n";
  return text;
}

void write_answer(const RunFolder& folder, const Answer& of_question) {
  Answer answer = of_question;
  if (const std::string mixed = mixed_devices(folder.path()); !mixed.empty()) {
    answer.report.banner += (answer.report.banner.empty() ? "" : " ") + mixed;
    answer.text += "\n" + wrapped(mixed, 80) + "\n";
  }
  write_file_atomically(folder.file("results.txt"), answer.text);
  write_file_atomically(folder.file("report.html"), html(answer.report));
  write_file_atomically(folder.file("results.csv"), answer.results_csv);
}

double mean_perplexity(const std::vector<Measured>& measured, const std::string& encoding, int64_t length) {
  return mean_over_seeds(measured, encoding, length, [](const Evaluation& e) { return e.perplexity(); });
}

void require_multiples(const std::string& question, const Settings& settings, const std::vector<int64_t>& multiples) {
  const std::vector<int64_t> lengths = evaluation_lengths(settings);
  for (const int64_t multiple : multiples)
    require<UsageError>(std::find(lengths.begin(), lengths.end(), multiple * settings.train.length) != lengths.end(),
                        question.c_str(), "needs eval.lengths to contain ", multiple,
                        " x train.length = ", multiple * settings.train.length);
}

}  // namespace phasor
