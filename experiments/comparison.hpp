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

// Trains (or takes up) the run of `settings` in `folder`, evaluates it at evaluation_lengths(settings), and writes the
// run's loss_by_position.csv, report.html and results.csv. Errors: those of train() and evaluate(); Interrupted.
Measured train_and_evaluate(const Settings& settings, const Corpus& corpus, const RunFolder& folder, bool quiet);

// Evaluates a model at evaluation_lengths(settings).
Measured evaluate_model(const Transformer& model, const Settings& settings, const Corpus& corpus, bool quiet);

// train_and_evaluate() for each of the question's encodings and each of run.seeds seeds in turn, in the subfolders
// ENCODING-seedN. Writes loss_by_position.csv for all of them.
std::vector<Measured> compare(const QuestionRun& job);

// What a comparison shows: tables of perplexity and bits per byte, and the curves.
Answer comparison_answer(const std::string& title, const std::string& verdict, const std::vector<Measured>& measured,
                         const Settings& settings);

// For the terminal: title, tables and verdict within 80 columns.
std::string answer_text(const Answer& answer);
// results.txt, report.html and, last because it marks the run as finished, results.csv.
void write_answer(const RunFolder& folder, const Answer& answer);

// Mean over the seeds of an encoding's perplexity at a length. ValueError if it was not measured.
double mean_perplexity(const std::vector<Measured>& measured, const std::string& encoding, int64_t length);

// UsageError unless train.length times each of these multiples is among the lengths evaluated.
void require_multiples(const std::string& question, const Settings& settings, const std::vector<int64_t>& multiples);

}  // namespace phasor
