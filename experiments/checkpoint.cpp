// Names, contents and pruning of checkpoint files.
#include "experiments/checkpoint.hpp"

#include <algorithm>
#include <charconv>
#include <map>

#include "nn/safetensors.hpp"

namespace phasor {
namespace fs = std::filesystem;

constexpr const char* prefix = "checkpoint-";
constexpr const char* suffix = ".safetensors";

std::vector<CheckpointPlace> checkpoints(const fs::path& folder) {
  std::vector<CheckpointPlace> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    const char* const digits = name.data() + std::string_view(prefix).size();
    const char* const end = name.data() + name.size() - std::string_view(suffix).size();
    int64_t step = 0;
    if (const auto parsed = std::from_chars(digits, end, step); parsed.ec == std::errc() && parsed.ptr == end)
      found.push_back({entry.path(), step});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

void save_checkpoint(const fs::path& folder, const Settings& settings, const ParameterList& parameters,
                     const AdamW& optimizer, const RunPosition& position) {
  TensorFile file;
  const std::vector<Parameter>& all = parameters.all();
  for (size_t i = 0; i < all.size(); ++i) {
    file.tensors.emplace_back(all[i].name, all[i].var.value());
    file.tensors.emplace_back("adamw.first." + all[i].name, optimizer.first[i]);
    file.tensors.emplace_back("adamw.second." + all[i].name, optimizer.second[i]);
  }
  file.metadata = {{"format", "phasor checkpoint 1"},
                   {"step", std::to_string(optimizer.steps)},
                   {"seed", std::to_string(settings.train.seed)},
                   {"metrics_bytes", std::to_string(position.metrics_bytes)},
                   {"corpus_sha256", position.corpus_sha256},
                   {"settings", to_toml(settings)}};
  std::string digits = std::to_string(optimizer.steps);
  digits.insert(0, 10 - std::min<size_t>(10, digits.size()), '0');
  write_safetensors(folder / (prefix + digits + suffix), file);
}

void prune_checkpoints(const fs::path& folder, int64_t newest, int64_t every, int64_t keep) {
  const std::vector<CheckpointPlace> found = checkpoints(folder);
  int64_t kept = 0;
  for (auto place = found.rbegin(); place != found.rend(); ++place) {
    const bool planned = place->step == newest || (place->step < newest && place->step % every == 0);
    std::error_code ignored;  // a checkpoint too many is no reason to stop a run
    if (planned && kept < keep)
      ++kept;
    else
      fs::remove(place->path, ignored);
  }
}

static int64_t integer_metadata(const fs::path& path, const TensorFile& file, const char* key) {
  const auto found = file.metadata.find(key);
  int64_t value = -1;
  if (found != file.metadata.end()) {
    const char* const end = found->second.data() + found->second.size();
    if (std::from_chars(found->second.data(), end, value).ptr != end) value = -1;
  }
  require<FileError>(value >= 0, "checkpoint", path, ": its metadata lacks '", key,
                     "'; it is not a checkpoint of a run");
  return value;
}

// Another run's checkpoint may have the same shapes: what it was made with is compared first.
static void require_settings(const fs::path& path, const TensorFile& file, const Settings& settings) {
  const auto text = file.metadata.find("settings");
  require<FileError>(text != file.metadata.end(), "checkpoint", path,
                     ": its metadata lacks 'settings'; it is not a checkpoint of a run");
  Settings there;
  read_toml(there, text->second, path.string());
  const std::string keys = differing_keys(there, settings);
  require<UsageError>(keys.empty(), "checkpoint", path, " is of a run with other settings: ", keys);
}

RunPosition load_checkpoint(const fs::path& path, const Settings& settings, const ParameterList& parameters,
                            AdamW* optimizer) {
  const TensorFile file = read_safetensors(path);
  require_settings(path, file, settings);
  const int64_t steps = integer_metadata(path, file, "step"),
                metrics_bytes = integer_metadata(path, file, "metrics_bytes");
  std::map<std::string, Tensor> tensors(file.tensors.begin(), file.tensors.end());
  const auto find = [&](const std::string& name, const Tensor& like) {
    const auto at = tensors.find(name);
    require<FileError>(at != tensors.end(), "checkpoint", path, ": no tensor '", name,
                       "'; the file is of another model");
    require<FileError>(at->second.shape() == like.shape() && at->second.dtype() == like.dtype(), "checkpoint", path,
                       ": '", name, "' is ", at->second.dtype(), at->second.shape(), " in the file, ", like.dtype(),
                       like.shape(), " in the model");
    return at->second;
  };
  // Everything is looked up before anything is changed: a file that does not fit leaves the model as it was.
  const std::vector<Parameter>& all = parameters.all();
  require<FileError>(file.tensors.size() == 3 * all.size(), "checkpoint", path, ": ", file.tensors.size(),
                     " tensors in the file, ", 3 * all.size(), " in the model and its optimizer");
  std::vector<Tensor> values, first, second;
  for (const Parameter& p : all) {
    values.push_back(find(p.name, p.var.value()));
    first.push_back(find("adamw.first." + p.name, p.var.value()));
    second.push_back(find("adamw.second." + p.name, p.var.value()));
  }
  for (size_t i = 0; i < all.size(); ++i) all[i].var.assign(values[i]);
  if (optimizer) {
    optimizer->first = std::move(first);
    optimizer->second = std::move(second);
    optimizer->steps = steps;
  }
  return {metrics_bytes, file.metadata.contains("corpus_sha256") ? file.metadata.at("corpus_sha256") : "", steps};
}

}  // namespace phasor
