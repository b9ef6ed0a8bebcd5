// Reads run folders and puts them into a report.
#include "experiments/dissect/run_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "experiments/checkpoint.hpp"
#include "experiments/comparison.hpp"
#include "experiments/dissect/figures.hpp"
#include "experiments/dissect/model_folders.hpp"

namespace phasor {
namespace fs = std::filesystem;
namespace {

struct ReadModel {
  std::string label;  // of its curves
  Settings settings;
  std::optional<Measured> measured;
  std::optional<Dissection> dissection;
};

// A training's results and measurements; what is wrong with it, if anything is, goes into `problems`. `of_run` is put
// behind its name where there are several runs.
ReadModel read_model(const ModelFolder& folder, const std::string& of_run, std::vector<std::string>& problems) {
  const Settings& s = folder.settings;
  ReadModel model{.label = s.encoding.name, .settings = s, .measured = {}, .dissection = {}};
  const std::string name = fmt::format("{} seed {}{}", s.encoding.name, s.train.seed, of_run);
  std::error_code error;
  if (!fs::exists(folder.path / "results.csv", error)) {
    const std::vector<CheckpointPlace> saved = checkpoints(folder.path);
    problems.push_back(
        saved.empty() ? name + " is not trained yet"
                      : fmt::format("{} is not finished ({} of {} steps)", name, saved.back().step, s.train.steps));
  } else {
    try {
      model.measured = measured_in(folder.path, s);
    } catch (const FileError&) {
      problems.push_back("the results of " + name + " are damaged");
    }
  }
  if (fs::exists(folder.path / "dissection.json", error)) {
    try {
      model.dissection = load_dissection(folder.path / "dissection.json");
      for (const std::string& assignment : model.dissection->settings) assign(model.settings, assignment);
    } catch (const Error&) {
      model.dissection.reset();
      problems.push_back("the dissection of " + name + " is damaged");
    }
  }
  return model;
}

Settings of_training(Settings settings) {
  settings.dissect = {};
  return settings;
}

bool trained_alike(const ReadModel& a, const ReadModel& b) {
  Settings other = of_training(b.settings);
  other.train.seed = a.settings.train.seed;
  return of_training(a.settings) == other;
}

// Those that were trained alike, but for the seed, make a group. One that was measured in another way than the first of
// its group, or after another step, is no part of a mean with it, which goes into `problems`.
std::vector<Group> groups_of(const std::vector<ReadModel>& models, std::vector<std::string>& problems) {
  std::vector<Group> groups;
  std::vector<const ReadModel*> firsts;
  for (const ReadModel& model : models) {
    if (!model.dissection) continue;
    const auto same =
        std::find_if(firsts.begin(), firsts.end(), [&](const auto* f) { return trained_alike(*f, model); });
    if (same != firsts.end() && !((*same)->settings.dissect == model.settings.dissect)) {
      problems.push_back(fmt::format("{} seed {} was dissected with other settings than seed {}", model.label,
                                     model.settings.train.seed, (*same)->settings.train.seed));
    } else if (same != firsts.end() && (*same)->dissection->step != model.dissection->step) {
      problems.push_back(fmt::format("{} seed {} was dissected after {} steps, seed {} after {}", model.label,
                                     model.settings.train.seed, model.dissection->step, (*same)->settings.train.seed,
                                     (*same)->dissection->step));
    } else if (same != firsts.end()) {
      groups[static_cast<size_t>(same - firsts.begin())].seeds.push_back(*model.dissection);
    } else {
      firsts.push_back(&model);
      groups.push_back({model.label, model.settings, {*model.dissection}});
    }
  }
  return groups;
}

// Two readings of one training are no two seeds.
void require_different(const std::vector<ReadModel>& models, const std::vector<fs::path>& folders) {
  for (size_t i = 0; i < models.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      require<UsageError>(!(of_training(models[i].settings) == of_training(models[j].settings)), "report", folders[j],
                          " and ", folders[i], " hold the same training, ", models[i].settings.encoding.name,
                          " with seed ", models[i].settings.train.seed, "; name each once");
}

// How the models were trained: as one where only encoding and seed differ, else what differs from the first.
Trainings trainings_of_models(const std::vector<ReadModel>& models) {
  Trainings trainings = trainings_of(models[0].settings);
  std::set<std::string> differences;
  for (const ReadModel& model : models) {
    Settings same = model.settings;
    same.encoding.name = models[0].settings.encoding.name;
    same.train.seed = models[0].settings.train.seed;
    same.eval.lengths = models[0].settings.eval.lengths;  // of an encoding that does not know all positions
    const std::string keys = differing_keys(models[0].settings, same);
    if (!keys.empty()) differences.insert(fmt::format("{}: {}", model.label, keys));
    if (model.settings.train.length != models[0].settings.train.length) trainings.train_length = 0;
  }
  if (differences.empty()) return trainings;
  trainings.text = fmt::format(
      "These runs were trained or measured under different settings. Those of {} stand at the end; the others differ "
      "from them (there, here).",
      models[0].label);
  for (const std::string& difference : differences) trainings.text += "\n\n" + difference;
  return trainings;
}

std::string sentence_of(const std::vector<std::string>& problems) {
  std::string text;
  for (const std::string& problem : problems) text += (text.empty() ? "" : "; ") + problem;
  return text.empty() ? text : "Not all of it is here: " + text + ".";
}

// What the groups tell: figures before the settings, which end a page, and verdicts after the text.
void add_dissection(Answer& answer, const std::vector<Group>& groups) {
  if (groups.empty()) return;
  const DissectionView view = dissection_view(groups);
  std::vector<Section>& sections = answer.report.sections;
  const auto end = std::find_if(sections.begin(), sections.end(), [](const Section& s) { return !s.listing.empty(); });
  sections.insert(end, view.sections.begin(), view.sections.end());
  answer.text += "\n" + view.verdicts;
}

}  // namespace

Answer answer_of_runs(const std::vector<fs::path>& runs) {
  std::vector<ReadModel> models;
  std::vector<std::string> problems, run_names;
  std::vector<fs::path> folders;
  for (const fs::path& run : runs)
    for (const ModelFolder& folder : models_of(run)) {
      const std::string name = fs::absolute(run / "").lexically_normal().parent_path().filename().string();
      models.push_back(read_model(folder, runs.size() > 1 ? " of " + name : "", problems));
      run_names.push_back(name);
      folders.push_back(folder.path);
    }
  require_different(models, folders);
  std::vector<std::string> labels;
  for (size_t i = 0; i < models.size(); ++i) {
    const ReadModel& model = models[i];
    const bool other_settings = std::any_of(models.begin(), models.end(), [&](const ReadModel& other) {
      return other.settings.encoding.name == model.settings.encoding.name && !trained_alike(other, model);
    });
    labels.push_back(other_settings ? fmt::format("{} ({})", model.settings.encoding.name, run_names[i])
                                    : model.settings.encoding.name);
  }
  std::vector<Measured> measured;
  for (size_t i = 0; i < models.size(); ++i) {
    models[i].label = labels[i];
    if (!models[i].measured) continue;
    measured.push_back(*models[i].measured);
    measured.back().encoding = labels[i];
  }
  const Settings settings = settings_of_run(runs.at(0));
  std::string title = "Runs side by side", verdict;
  if (runs.size() == 1) title = "One training run: " + settings.encoding.name;
  if (runs.size() == 1 && settings.run.question != "none") {
    const Experiment& experiment = question_named(settings.run.question);
    title = experiment.question;
    if (experiment.verdict && problems.empty()) verdict = experiment.verdict(measured, settings);
  }
  const Trainings trainings = runs.size() > 1 ? trainings_of_models(models) : trainings_of(settings);
  Answer answer;
  answer.report.title = title;
  if (!measured.empty()) answer = comparison_answer(title, verdict, measured, trainings);
  try {
    add_dissection(answer, groups_of(models, problems));
  } catch (const ValueError& error) {  // measurements that do not go together
    problems.push_back(std::string("the dissections cannot be shown: ") + error.what());
  }
  answer.report.banner = sentence_of(problems);
  return answer;
}

}  // namespace phasor
