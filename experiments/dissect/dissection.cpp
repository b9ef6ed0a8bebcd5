// dissection.json.
#include "experiments/dissect/dissection.hpp"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "nn/files.hpp"

namespace phasor {
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* format = "phasor dissection 1";

const Measurement* Dissection::find(const std::string& name) const {
  for (const Measurement& m : measurements)
    if (m.name == name) return &m;
  return nullptr;
}

void save_dissection(const fs::path& file, const Dissection& dissection) {
  Json json = {{"format", format}, {"step", dissection.step}, {"settings", dissection.settings}};
  Json& measurements = json["measurements"] = Json::array();
  for (const Measurement& m : dissection.measurements) {
    Json dimensions = Json::array(), values = Json::array();
    for (const Dimension& d : m.dimensions)
      dimensions.push_back(d.numbers.empty() ? Json{{"name", d.name}, {"words", d.words}}
                                             : Json{{"name", d.name}, {"numbers", d.numbers}});
    for (const double value : m.values) {
      require<ValueError>(!std::isinf(value), "dissection", m.name, " holds an infinity");
      values.push_back(std::isnan(value) ? Json() : Json(value));
    }
    measurements.push_back({{"name", m.name}, {"dimensions", dimensions}, {"values", values}});
  }
  write_file_atomically(file, json.dump() + "\n");
}

static Measurement measurement_in(const Json& json) {
  std::vector<Dimension> dimensions;
  for (const Json& d : json.at("dimensions")) {
    Dimension& dimension = dimensions.emplace_back();
    dimension.name = d.at("name").get<std::string>();
    if (d.contains("numbers"))
      dimension.numbers = d.at("numbers").get<std::vector<double>>();
    else
      dimension.words = d.at("words").get<std::vector<std::string>>();
  }
  const Json& values = json.at("values");
  double size = 1;  // before memory is taken for it; in double, which does not wrap around
  for (const Dimension& dimension : dimensions) size *= static_cast<double>(dimension.size());
  require<ValueError>(size == static_cast<double>(values.size()), "dissection", values.size(), " values for ", size);
  Measurement measurement(json.at("name").get<std::string>(), dimensions);
  for (size_t i = 0; i < values.size(); ++i)
    measurement.values[i] = values[i].is_null() ? std::numeric_limits<double>::quiet_NaN() : values[i].get<double>();
  return measurement;
}

Dissection load_dissection(const fs::path& file) {
  const std::vector<std::byte> bytes = read_file(file);
  const char* const text = reinterpret_cast<const char*>(bytes.data());
  Dissection dissection;
  try {
    const Json json = Json::parse(text, text + bytes.size());
    const std::string version = json.at("format").get<std::string>();
    require<FileError>(version == format, "dissection", file, " is of another version: '", version, "'; needs '",
                       format, "'");
    dissection.step = json.at("step").get<int64_t>();
    dissection.settings = json.at("settings").get<std::vector<std::string>>();
    for (const Json& m : json.at("measurements")) dissection.measurements.push_back(measurement_in(m));
  } catch (const nlohmann::json::exception& error) {
    throw FileError("dissection: " + file.string() + " is damaged: " + error.what());
  } catch (const ValueError& error) {
    throw FileError("dissection: " + file.string() + " is damaged: " + error.what());
  }
  return dissection;
}

}  // namespace phasor
