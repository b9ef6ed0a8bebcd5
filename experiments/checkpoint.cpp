// Names, contents and pruning of checkpoint files.
#include "experiments/checkpoint.hpp"

#include <algorithm>
#include <charconv>
#include <map>

#include "nn/safetensors.hpp"

namespace phasor {
namespace fs = std::filesystem;

constexpr const char* checkpoint_prefix = "checkpoint-";
constexpr const char* snapshot_prefix = "weights-";
constexpr const char* suffix = ".safetensors";

// PREFIX-0000000900.safetensors ..., from the first to the last step.
static std::vector<CheckpointPlace> places(const fs::path& folder, std::string_view prefix) {
  std::vector<CheckpointPlace> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix) || !name.ends_with(suffix)) continue;
    const char* const digits = name.data() + prefix.size();
    const char* const end = name.data() + name.size() - std::string_view(suffix).size();
    int64_t step = 0;
    if (const auto parsed = std::from_chars(digits, end, step); parsed.ec == std::errc() && parsed.ptr == end)
      found.push_back({entry.path(), step});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

static fs::path place_of(const fs::path& folder, const char* prefix, int64_t step) {
  std::string digits = std::to_string(step);
  digits.insert(0, 10 - std::min<size_t>(10, digits.size()), '0');
  return folder / (prefix + digits + suffix);
}

std::vector<CheckpointPlace> checkpoints(const fs::path& folder) { return places(folder, checkpoint_prefix); }
std::vector<CheckpointPlace> snapshots(const fs::path& folder) { return places(folder, snapshot_prefix); }

std::vector<int64_t> snapshot_steps(const Settings& settings) {
  std::vector<int64_t> steps;
  for (int64_t k = settings.checkpoint.snapshots; k >= 1; --k)
    if (const int64_t step = settings.train.steps >> k; step >= 1 && (steps.empty() || step > steps.back()))
      steps.push_back(step);
  return steps;
}

void save_snapshot(const fs::path& folder, const Settings& settings, const ParameterList& parameters, int64_t step) {
  TensorFile file;
  for (const Parameter& p : parameters.all()) file.tensors.emplace_back(p.name, p.var.value());
  file.metadata = {{"format", "phasor weights 1"}, {"step", std::to_string(step)}, {"settings", to_toml(settings)}};
  write_safetensors(place_of(folder, snapshot_prefix, step), file);
}

void remove_later_snapshots(const fs::path& folder, int64_t step) {
  std::error_code ignored;  // one that stays is written over, or is of no step that is kept
  for (const CheckpointPlace& snapshot : snapshots(folder))
    if (snapshot.step > step) fs::remove(snapshot.path, ignored);
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
  write_safetensors(place_of(folder, checkpoint_prefix, optimizer.steps), file);
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

namespace {

// The tensors of a file, each as the model needs it.
class NamedTensors {
 public:
  NamedTensors(const fs::path& path, const TensorFile& file)
      : path_(path), tensors_(file.tensors.begin(), file.tensors.end()) {}
  Tensor operator()(const std::string& name, const Tensor& like) const {
    const auto at = tensors_.find(name);
    require<FileError>(at != tensors_.end(), "checkpoint", path_, ": no tensor '", name,
                       "'; the file is of another model");
    require<FileError>(at->second.shape() == like.shape() && at->second.dtype() == like.dtype(), "checkpoint", path_,
                       ": '", name, "' is ", at->second.dtype(), at->second.shape(), " in the file, ", like.dtype(),
                       like.shape(), " in the model");
    return at->second;
  }

 private:
  const fs::path& path_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace

void load_snapshot(const fs::path& path, const Settings& settings, const ParameterList& parameters) {
  const TensorFile file = read_safetensors(path);
  require_settings(path, file, settings);
  const std::vector<Parameter>& all = parameters.all();
  require<FileError>(file.tensors.size() == all.size(), "checkpoint", path, ": ", file.tensors.size(),
                     " tensors in the file, ", all.size(), " in the model");
  const NamedTensors find(path, file);
  std::vector<Tensor> values;
  for (const Parameter& p : all) values.push_back(find(p.name, p.var.value()));
  for (size_t i = 0; i < all.size(); ++i) all[i].var.assign(values[i].to(all[i].var.device()));
}

RunPosition load_checkpoint(const fs::path& path, const Settings& settings, const ParameterList& parameters,
                            AdamW* optimizer) {
  const TensorFile file = read_safetensors(path);
  require_settings(path, file, settings);
  const int64_t steps = integer_metadata(path, file, "step"),
                metrics_bytes = integer_metadata(path, file, "metrics_bytes");
  const NamedTensors find(path, file);
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
  for (size_t i = 0; i < all.size(); ++i) all[i].var.assign(values[i].to(all[i].var.device()));
  if (optimizer) {
    for (size_t i = 0; i < all.size(); ++i) {
      first[i] = first[i].to(all[i].var.device());
      second[i] = second[i].to(all[i].var.device());
    }
    optimizer->first = std::move(first);
    optimizer->second = std::move(second);
    optimizer->steps = steps;
  }
  return {metrics_bytes, file.metadata.contains("corpus_sha256") ? file.metadata.at("corpus_sha256") : "", steps};
}

}  // namespace phasor
