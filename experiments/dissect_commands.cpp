// Checks everything before any work, measures, and writes the page.
#include "experiments/dissect_commands.hpp"

#include <fmt/format.h>

#include "core/parallel.hpp"
#include "experiments/checkpoint.hpp"
#include "experiments/dissect/measure.hpp"
#include "experiments/dissect/run_report.hpp"
#include "experiments/dissect/values.hpp"
#include "experiments/report/csv.hpp"
#include "experiments/report/figure_files.hpp"
#include "experiments/resources.hpp"
#include "experiments/signals.hpp"
#include "experiments/trainer.hpp"
#include "nn/files.hpp"

namespace phasor {
namespace fs = std::filesystem;
namespace {

// The run's settings with another way of dissecting.
DissectSettings dissect_settings(const fs::path& run, const SettingsChanges& changes) {
  const Settings trained = settings_of_run(run), now = apply(trained, changes);
  Settings same = now;
  same.dissect = trained.dissect;
  const std::string keys = differing_keys(trained, same);
  require<UsageError>(keys.empty(), "dissect", "the run was made with other settings: ", keys,
                      "; only dissect.* may change");
  return now.dissect;
}

// Of a question that trains all kinds of encodings, those that can be taken apart.
void leave_out_without_components(std::vector<ModelFolder>& models) {
  std::vector<ModelFolder> turning;
  std::string others;
  for (const ModelFolder& model : models) {
    ParameterList learned;
    if (encoding_of(model.settings, learned).rotation)
      turning.push_back(model);
    else
      others += (others.empty() ? "" : ", ") + model.settings.encoding.name;
  }
  if (turning.empty() || others.empty()) return;  // where there are none, the refusal says why
  fmt::print(stderr, "left out, because they turn no components: {}\n", others);
  models = turning;
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  require<ResourceError>(!error, "dissect", "cannot create ", folder, ": ", error.message());
}

// CSV and Vega-Lite of every figure, and verdicts.csv.
void write_figures(const fs::path& folder, const Report& report) {
  Csv verdicts({"figure", "question", "verdict", "claim", "measured"});
  for (const Section& section : report.sections)
    for (const Figure& figure : section.figures) {
      if (figure.verdict != Verdict::shown)
        verdicts.add({figure.name, figure.question, name_of(figure.verdict), figure.claim, figure.measured});
      write_file_atomically(folder / (figure.name + ".csv"), figure_csv(figure));
      write_file_atomically(folder / (figure.name + ".vl.json"), figure_vega_lite(figure));
    }
  write_file_atomically(folder / "verdicts.csv", verdicts.text());
}

void write_page(const fs::path& page, const Answer& answer) {
  std::error_code ignored;  // where the folder cannot be made, the page cannot be written, and that is said
  if (page.has_parent_path()) fs::create_directories(page.parent_path(), ignored);
  write_file_atomically(page, html(answer.report));
  if (!answer.report.banner.empty()) print_checked(answer.report.banner + "\n\n");
  print_checked(answer.text + "\n" + page.string() + "\n");
}

}  // namespace

int dissect_command(const DissectArguments& arguments, const SettingsChanges& changes, const RunOptions& options) {
  std::vector<Site> sites;
  for (const std::string& name : arguments.sites) sites.push_back(site_named(name));
  const DissectSettings how = dissect_settings(arguments.run, changes);
  std::vector<ModelFolder> models = models_of(arguments.run);
  leave_out_without_components(models);
  for (ModelFolder& model : models) {
    model.settings.device = options.device;
    Settings settings = model.settings;
    settings.dissect = how;
    require_dissectable(settings, available_bytes(options.device));
    ParameterList ignored;
    require_sites(encoding_of(settings, ignored), settings.encoding.name, sites);
    require<FileError>(!checkpoints(model.path).empty(), "dissect", model.path, " holds no checkpoint; train first");
  }
  const Corpus corpus = load_corpus(models.at(0).settings.corpus);
  require_address_space(thread_count(options.threads));
  remember_signals();
  with_threads(thread_count(options.threads), [&] {
    dissect_models(models, how, corpus, Depth::ablations, options.quiet);
    const Answer answer = answer_of_runs({arguments.run});
    const fs::path figures = arguments.run / "figures";
    if (arguments.exports || !sites.empty()) make_folder(figures);
    if (arguments.exports) write_figures(figures, answer.report);
    for (const ModelFolder& model : models)
      if (!sites.empty())
        write_values(figures / fmt::format("{}-seed{}.npz", model.settings.encoding.name, model.settings.train.seed),
                     load_model(model.path, model.settings, model.settings.encoding).model,
                     evaluation_windows(split(corpus).held_out, model.settings.train.length,
                                        how.windows * model.settings.train.length)
                         .inputs,
                     sites);
    write_page(options.out.empty() ? arguments.run / "dissection.html" : options.out, answer);
  });
  return 0;
}

int report_command(const std::vector<fs::path>& runs, const RunOptions& options) {
  const fs::path page = !options.out.empty() ? options.out
                        : runs.size() == 1   ? runs[0] / "dissection.html"
                                             : fs::path("runs") / "report.html";
  write_page(page, answer_of_runs(runs));
  return 0;
}

}  // namespace phasor
