// Finds the folders of a question's trainings, as compare() names them.
#include "experiments/dissect/model_folders.hpp"

#include <fmt/format.h>

#include "experiments/comparison.hpp"

namespace phasor {
namespace fs = std::filesystem;

std::vector<ModelFolder> models_of(const fs::path& run) {
  const Settings settings = settings_of_run(run);
  if (settings.run.question == "none") return {{run, settings}};
  const std::vector<std::string>& encodings =
      settings.run.encodings.empty() ? question_named(settings.run.question).encodings : settings.run.encodings;
  std::vector<ModelFolder> models;
  for (const std::string& encoding : encodings)
    for (int64_t i = 0; i < settings.run.seeds; ++i) {
      const Settings one = settings_for(settings, encoding, settings.train.seed + i);
      const fs::path folder = run / fmt::format("{}-seed{}", encoding, one.train.seed);
      std::error_code error;
      // Such an encoding may have read with a model of rope's, and then it was not trained.
      if (encoding_named(encoding).reads_rope && !fs::exists(folder, error)) continue;
      models.push_back({folder, one});
    }
  return models;
}

}  // namespace phasor
