// Comparison: the same settings trained under several encodings and seeds, evaluated on the same windows.
#pragma once

#include <string>
#include <vector>

#include "experiments/evaluation.hpp"
#include "experiments/experiment.hpp"
#include "experiments/run_folder.hpp"

namespace phasor {

struct Measured {
  std::string encoding;
  int64_t seed = 0;
  std::vector<Evaluation> at;  // one for each length, ascending
};

// The settings of one training of a question that trains several encodings: a run like any other of phasor train. An
// encoding that does not know all positions is evaluated at the lengths it knows.
Settings settings_for(const Settings& settings, const std::string& encoding, int64_t seed);

// Trains (or takes up) the run of `settings` in `folder`, evaluates it at evaluation_lengths(settings), and writes the
// run's loss_by_position.csv, report.html and results.csv; reads them if the run is finished. Errors: those of train()
// and evaluate(); Interrupted.
Measured train_and_evaluate(const Settings& settings, const Corpus& corpus, const RunFolder& folder, bool quiet);

// What train_and_evaluate() has left in the folder of a finished run. FileError if it is not there or damaged.
Measured measured_in(const std::filesystem::path& folder, const Settings& settings);

// Evaluates a model at evaluation_lengths(settings).
Measured evaluate_model(const Transformer& model, const Settings& settings, const Corpus& corpus, bool quiet);

// train_and_evaluate() for each of the question's encodings and each of run.seeds seeds in turn, in the subfolders
// ENCODING-seedN. Writes loss_by_position.csv for all of them.
std::vector<Measured> compare(const QuestionRun& job);

// One row for each measurement and length: encoding, seed, length, windows, loss, perplexity, bits_per_byte.
std::string results_csv(const std::vector<Measured>& measured);
std::string loss_by_position_csv(const std::vector<Measured>& measured);

// Means over the seeds, of each encoding at the lengths it was measured at. Encodings in the order of `measured`.
// Without a train_length (0) there is no line at L.
Chart perplexity_chart(const std::vector<Measured>& measured, int64_t train_length);

// A sentence about what the models of these settings were trained on, and one about what they read.
std::string training_text(const Settings& settings);

// "64 = L/2", "128 = L", "256 = 2L"; "64" if there is no train_length (0).
std::string length_label(int64_t length, int64_t train_length);

// What a page says of how its models were trained.
struct Trainings {
  std::string text;
  int64_t train_length = 0;  // 0: they were trained at different lengths
  std::string settings;      // as TOML
};
Trainings trainings_of(const Settings& settings);

// What a comparison shows: tables of perplexity and bits per byte, and the curves.
Answer comparison_answer(const std::string& title, const std::string& verdict, const std::vector<Measured>& measured,
                         const Trainings& trainings);

// A report for the terminal: title, tables and verdict within 80 columns.
std::string report_text(const Report& report);
// results.txt, report.html and, last because it marks the run as finished, results.csv.
void write_answer(const RunFolder& folder, const Answer& answer);

// Mean over the seeds of an encoding's perplexity at a length; NaN if it was not measured.
double mean_perplexity(const std::vector<Measured>& measured, const std::string& encoding, int64_t length);

// UsageError unless train.length times each of these multiples is among the lengths evaluated.
void require_multiples(const std::string& question, const Settings& settings, const std::vector<int64_t>& multiples);

}  // namespace phasor
