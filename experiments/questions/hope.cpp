// The main job: does HoPE read on where RoPE stops?
//
// The paper's claim (Chen et al., arXiv:2410.21216): a model trained with HoPE at length L is as good as RoPE's at L
// and keeps its quality beyond, where RoPE's breaks down.
#include <fmt/format.h>

#include <limits>

#include "experiments/comparison.hpp"
#include "experiments/dissect/measure.hpp"
#include "experiments/dissect/run_report.hpp"
#include "experiments/experiment.hpp"

namespace phasor::question {

static std::string verdict(const std::vector<Measured>& measured, const Settings& settings) {
  const int64_t train_length = settings.train.length;
  const auto perplexity = [&](const char* encoding, int64_t multiple) {
    return mean_perplexity(measured, encoding, multiple * train_length);
  };
  const double at_length = perplexity("hope", 1) / perplexity("rope", 1);
  const double hope_grows = perplexity("hope", 4) / perplexity("hope", 1),
               rope_grows = perplexity("rope", 4) / perplexity("rope", 1);
  // Bars set before the run; hope.md beside this file says where they come from.
  const bool free_inside = at_length <= 1.03, holds = hope_grows <= 1.4, breaks = rope_grows >= 2;
  return fmt::format(
      "{}: at L = {} HoPE's perplexity is {:.4f} times RoPE's (bar: at most 1.03), and at 4L it is {:.2f} times "
      "its own at L (bar: at most 1.4) where RoPE's is {:.2f} times (bar: at least 2).",
      free_inside && holds && breaks ? "Supported"
      : holds && breaks              ? "Partly supported: HoPE costs too much at L"
      : holds                        ? "Undecided: RoPE has not learned to fail"
                                     : "Contradicted",
      train_length, at_length, hope_grows, rope_grows);
}

// Trains, measures, and takes the models apart as far as that takes seconds.
static Answer run(const QuestionRun& job) {
  compare(job);
  const std::filesystem::path folder = job.folder.path();
  std::vector<ModelFolder> models = models_of(folder);
  for (ModelFolder& model : models) model.settings.device = job.settings.device;
  dissect_models(models, job.settings.dissect, job.corpus, Depth::probes, job.quiet);
  return answer_of_runs({folder});
}

Experiment hope() {
  return {.question = "Does HoPE read on beyond the training length where RoPE stops?",
          .defaults = {},
          .encodings = {"rope", "hope"},
          .check =
              [](const Settings& s) {
                require_multiples("hope", s, {1, 4});
                require_dissectable(s, std::numeric_limits<double>::infinity());
              },
          .verdict = verdict,
          .run = run};
}

}  // namespace phasor::question
