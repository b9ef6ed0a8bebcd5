// What a run runs on.
#include "experiments/machine.hpp"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "core/device.hpp"
#include "nn/files.hpp"

namespace phasor {
namespace fs = std::filesystem;
namespace {

using Json = nlohmann::ordered_json;

// An object; without what was written, if that is missing or damaged: it only tells.
Json read(const fs::path& folder) {
  std::ifstream in(folder / "machine.json");
  Json json = in ? Json::parse(in, nullptr, false) : Json::object();
  return json.is_object() ? json : Json::object();
}

void write(const fs::path& folder, const Json& json) {
  write_file_atomically(folder / "machine.json", json.dump(2) + "\n");
}

std::string processor() {
  std::string line;
  for (std::ifstream info("/proc/cpuinfo"); std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

struct Stretch {
  int64_t from_step;
  std::string device;
};

std::vector<Stretch> stretches(const Json& json) {
  std::vector<Stretch> found;
  if (!json.contains("devices") || !json["devices"].is_array()) return found;
  for (const Json& one : json["devices"])
    if (one.is_object() && one.contains("from_step") && one["from_step"].is_number_integer() &&
        one.contains("device") && one["device"].is_string())
      found.push_back({one["from_step"], one["device"]});
  return found;
}

std::string mixed_devices_of(const fs::path& folder) {
  const std::vector<Stretch> all = stretches(read(folder));
  std::set<std::string> devices;
  for (const Stretch& s : all) devices.insert(s.device);
  if (devices.size() < 2) return "";
  std::string text;
  for (size_t i = 0; i < all.size(); ++i)
    text += i + 1 < all.size() ? fmt::format("{} took the steps before {}, ", all[i].device, all[i + 1].from_step)
                               : fmt::format("{} those from there", all[i].device);
  return text;
}

}  // namespace

std::string machine_json(int threads) {
  const Json json = {{"processor", processor()},
                     {"cores", std::thread::hardware_concurrency()},
                     {"threads", threads},
                     {"compiler", "GCC " __VERSION__}};
  return json.dump();
}

void record_machine(const fs::path& folder, int threads) {
  Json json = Json::parse(machine_json(threads));
  if (const Json before = read(folder); before.contains("devices")) json["devices"] = before["devices"];
  write(folder, json);
}

void record_device(const fs::path& folder, Device device, int64_t step) {
  const std::string name = device == Device::cpu ? "cpu" : gpu_properties().name;
  Json json = read(folder), kept = Json::array();
  for (const Stretch& s : stretches(json))  // steps that a checkpoint has lost are taken again
    if (s.from_step < step) kept.push_back({{"from_step", s.from_step}, {"device", s.device}});
  if (kept.empty() || kept.back()["device"] != name) kept.push_back({{"from_step", step}, {"device", name}});
  if (json.contains("devices") && json["devices"] == kept) return;
  json["devices"] = kept;
  write(folder, json);
}

std::string mixed_devices(const fs::path& folder) {
  std::vector<fs::path> folders = {folder};
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error))
    if (entry.is_directory(error)) folders.push_back(entry.path());
  std::sort(folders.begin() + 1, folders.end());
  std::string text;
  for (const fs::path& one : folders)
    if (const std::string mixed = mixed_devices_of(one); !mixed.empty())
      text += (text.empty() ? "Trained on more than one device: " : "; ") +
              (one == folder ? mixed : one.filename().string() + ": " + mixed);
  return text.empty() ? "" : text + ". The numbers are those of neither device alone.";
}

}  // namespace phasor
