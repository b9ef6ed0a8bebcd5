// Experiment: a question, its settings, and a run that emits rows. One file of experiments/questions/ is one of them;
// the file name is its name on the command line.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "experiments/corpora/corpus.hpp"
#include "experiments/report/html.hpp"
#include "experiments/run_folder.hpp"
#include "experiments/settings.hpp"

namespace phasor {

struct Measured;  // comparison.hpp

// The result of a question: for the page, for the terminal, and as rows.
struct Answer {
  Report report;
  std::string text;
  std::string results_csv;
};

// What a question gets to work with.
struct QuestionRun {
  std::string name;
  Settings settings;
  std::vector<std::string> encodings;
  Corpus corpus;
  RunFolder folder;
  bool quiet = false;
};

struct Experiment {
  std::string question;                     // one line, ends with a question mark
  Settings defaults;                        // what it runs unless told otherwise
  std::vector<std::string> encodings;       // that it trains, each under the same settings
  bool takes_others = false;                // whether run.encodings may name others
  std::vector<std::string> quick = {};      // what --quick sets, KEY=VALUE; empty: the question has no quick form
  void (*check)(const Settings& settings);  // UsageError for settings under which it has no answer
  // The answer in a sentence, of the trained encodings; null where there is no such sentence.
  std::string (*verdict)(const std::vector<Measured>& measured, const Settings& settings) = nullptr;
  // Trains and measures, writes its rows into the folder (results.csv is left to the caller, who writes it last) and
  // returns the page that shows them.
  Answer (*run)(const QuestionRun& job);
};

// Every question by name, in the order of the names. Generated from the files of experiments/questions/.
const std::vector<std::pair<std::string, Experiment>>& questions();
// UsageError with the nearest name if there is none.
const Experiment& question_named(const std::string& name);

}  // namespace phasor
