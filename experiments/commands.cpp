// Each command checks everything it can before it takes a folder or starts to work.
#include "experiments/commands.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <thread>

#include "core/nearest_name.hpp"
#include "core/parallel.hpp"
#include "experiments/bench/step.hpp"
#include "experiments/comparison.hpp"
#include "experiments/corpora/corpus.hpp"
#include "experiments/signals.hpp"
#include "experiments/trainer.hpp"
#include "nn/files.hpp"

namespace phasor {
namespace fs = std::filesystem;
namespace {

int thread_count(const RunOptions& options) {
  return options.threads > 0 ? options.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

// Everything that can be checked without work: the encodings, the shape of the model, the corpus and its windows.
void check_before_work(const Settings& settings, const std::vector<std::string>& encodings) {
  for (const std::string& encoding : encodings) {
    ParameterList learned;
    encoding_named(encoding).make(model_shape(settings).attention(), learned);
  }
  const Corpus corpus = load_corpus(settings.corpus);
  const Split text = split(corpus);
  training_batch(text.train, 1, settings.train.length, 0, 0);
  for (const int64_t length : evaluation_lengths(settings))
    evaluation_windows(text.held_out, length, settings.eval.bytes);
}

std::string list_of(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

void show(const RunFolder& folder) {
  const std::vector<std::byte> text = read_file(folder.file("results.txt"));
  print_checked(std::string(reinterpret_cast<const char*>(text.data()), text.size()) + "\n" +
                folder.file("report.html").string() + "\n");
}

}  // namespace

void print_checked(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0)
    throw ResourceError("standard output cannot be written");
}

int run_command(const std::string& name, const SettingsChanges& changes, const RunOptions& options) {
  const Experiment& experiment = question_named(name);
  const Settings settings = apply(experiment.defaults, changes);
  require<UsageError>(settings.encoding.name == experiment.defaults.encoding.name, "run", name,
                      " trains encodings of its own (", list_of(experiment.encodings), "); encoding.name = '",
                      settings.encoding.name, "' would change nothing; use phasor train for one encoding");
  experiment.check(settings);
  check_before_work(settings, experiment.encodings);
  const fs::path path = options.out.empty() ? default_run_path(name, settings) : options.out;
  const QuestionRun job{.name = name,
                        .settings = settings,
                        .encodings = experiment.encodings,
                        .folder = RunFolder(path, settings, options.resume),
                        .quiet = options.quiet};
  if (!job.folder.finished()) {
    remember_signals();
    write_file_atomically(job.folder.file("machine.json"), machine_json(thread_count(options)));
    with_threads(thread_count(options), [&] { write_answer(job.folder, experiment.run(job)); });
  }
  show(job.folder);
  return 0;
}

int train_command(const Settings& settings, const RunOptions& options) {
  require<UsageError>(settings.run.seeds == 1, "train", "trains one model; run.seeds = ", settings.run.seeds,
                      " is for phasor run; choose one with --seed");
  check_before_work(settings, {settings.encoding.name});
  const fs::path path = options.out.empty() ? default_run_path("train", settings) : options.out;
  const RunFolder folder(path, settings, options.resume);
  if (!folder.finished()) {
    remember_signals();
    write_file_atomically(folder.file("machine.json"), machine_json(thread_count(options)));
    with_threads(thread_count(options), [&] { train_and_evaluate(settings, folder, options.quiet); });
  }
  show(folder);
  return 0;
}

int eval_command(const fs::path& run, const SettingsChanges& changes, const RunOptions& options) {
  const Settings trained = settings_of_run(run);
  const Settings settings = apply(trained, changes);
  check_before_work(settings, {settings.encoding.name});
  remember_signals();
  with_threads(thread_count(options), [&] {
    const Transformer model = load_model(run, settings);
    const Measured measured = evaluate_model(model, settings, options.quiet);
    print_checked(answer_text(comparison_answer("Evaluation of " + run.string(), "", {measured}, settings)));
  });
  return 0;
}

int bench_step_command(const SettingsChanges& changes, const fs::path& json, const RunOptions& options) {
  const Settings settings = apply(step_bench_defaults(), changes);
  ParameterList learned;
  encoding_named(settings.encoding.name).make(model_shape(settings).attention(), learned);
  with_threads(thread_count(options), [&] {
    const StepBench result = bench_step(settings, thread_count(options));
    print_checked(to_text(result, settings));
    if (!json.empty()) write_file_atomically(json, to_json(result));
  });
  return 0;
}

const Experiment& question_named(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, experiment] : questions()) {
    if (known == name) return experiment;
    names.push_back(known);
  }
  throw UsageError(unknown_name("question", name, names));
}

}  // namespace phasor
