// ablations.jsonl.
#include "experiments/dissect/ablation_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.hpp"

namespace phasor {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

static Json which_json(Ablation ablation, const Ablated& which) {
  return {{"ablation", name_of(ablation)},
          {"first", which.first},
          {"last", which.last},
          {"layer", which.layer},
          {"head", which.head}};
}

static std::vector<double> numbers_in(const Json& list) {
  std::vector<double> numbers;
  for (const Json& number : list)
    numbers.push_back(number.is_null() ? std::numeric_limits<double>::quiet_NaN() : number.get<double>());
  return numbers;
}

static std::string text_in(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return "";
  const std::vector<std::byte> bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

AblationLog::AblationLog(const fs::path& path, int64_t step, const std::vector<std::string>& settings) {
  const std::string first = Json{{"format", "phasor ablations 1"}, {"step", step}, {"settings", settings}}.dump();
  const std::string text = text_in(path);
  size_t kept = 0;  // bytes
  if (text.starts_with(first + "\n")) {
    kept = first.size() + 1;
    for (size_t end = 0; (end = text.find('\n', kept)) != std::string::npos; kept = end + 1) {
      try {
        const Json line = Json::parse(text.substr(kept, end - kept));
        effects_[line.at("which").dump()] = {.loss = numbers_in(line.at("loss")),
                                             .loss_half_width = numbers_in(line.at("loss_half_width")),
                                             .u_depth = numbers_in(line.at("u_depth")),
                                             .head_score = numbers_in(line.at("head_score"))};
      } catch (const nlohmann::json::exception&) {
        fmt::print(stderr, "warning: {} is damaged after {} ablations; the others are run again\n", path.string(),
                   effects_.size());
        break;
      }
    }
  } else if (const auto lines = std::count(text.begin(), text.end(), '\n'); lines > 1) {
    fmt::print(stderr, "warning: {} is of other weights or settings; its {} ablations are dropped\n", path.string(),
               lines - 1);
  }
  file_.emplace(path, static_cast<int64_t>(kept));
  if (kept == 0) file_->append(first);
}

const AblationEffect* AblationLog::find(Ablation ablation, const Ablated& which) const {
  const auto found = effects_.find(which_json(ablation, which).dump());
  return found == effects_.end() ? nullptr : &found->second;
}

void AblationLog::add(Ablation ablation, const Ablated& which, const AblationEffect& effect) {
  const Json key = which_json(ablation, which);
  for (const auto* numbers : {&effect.loss, &effect.loss_half_width, &effect.u_depth, &effect.head_score})
    require<ValueError>(std::none_of(numbers->begin(), numbers->end(), [](double x) { return std::isinf(x); }),
                        "ablation", "an infinity was measured: ", key.dump());
  file_->append(Json{{"which", key},
                     {"loss", effect.loss},
                     {"loss_half_width", effect.loss_half_width},
                     {"u_depth", effect.u_depth},
                     {"head_score", effect.head_score}}
                    .dump());
  effects_[key.dump()] = effect;
}

}  // namespace phasor
