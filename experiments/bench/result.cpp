// Tables and JSON of a benchmark.
#include "experiments/bench/result.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/blas.hpp"
#include "core/device.hpp"
#include "experiments/bench/ceilings.hpp"
#include "experiments/machine.hpp"
#include "experiments/report/table.hpp"
#include "experiments/report/text.hpp"

namespace phasor {
namespace {

// Three significant digits or whole numbers: enough for a benchmark, and columns stay narrow.
std::string short_text(double value) {
  const double size = std::abs(value);
  return fixed_text(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

// A column for each name that some row has, in the order in which they come.
std::vector<std::string> names_of(const BenchGroup& group, std::vector<NamedNumber> BenchRow::*part) {
  std::vector<std::string> names;
  for (const BenchRow& row : group.rows)
    for (const auto& [name, value] : row.*part)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

std::string value_of(const std::vector<NamedNumber>& numbers, const std::string& name, bool is_percent) {
  for (const auto& [known, value] : numbers)
    if (known == name) return is_percent ? fixed_text(value, value < 10 ? 1 : 0) : short_text(value);
  return "";
}

Table table_of(const BenchGroup& group) {
  const auto any = [&](auto has) { return std::any_of(group.rows.begin(), group.rows.end(), has); };
  const bool timed = any([](const BenchRow& row) { return row.timing.has_value(); });
  const bool rated = any([](const BenchRow& row) { return row.rate.has_value(); });
  const bool noisy = any([](const BenchRow& row) { return row.timing && row.timing->is_noisy(); });
  const std::vector<std::string> percents = names_of(group, &BenchRow::percents),
                                 numbers = names_of(group, &BenchRow::numbers);
  Table table{.columns = {""}, .caption = group.title};
  // The mark stands before its number, in a column that is set by hand: a table sets words to the left.
  const auto spread_cell = [&](const std::string& text) { return noisy ? fmt::format("{:>11}", text) : text; };
  if (timed) table.columns.insert(table.columns.end(), {"ms", spread_cell("spread %")});
  if (rated) table.columns.push_back(group.rate_unit);
  table.columns.insert(table.columns.end(), percents.begin(), percents.end());
  table.columns.insert(table.columns.end(), numbers.begin(), numbers.end());
  for (const BenchRow& row : group.rows) {
    std::vector<std::string> cells = {row.name};
    if (timed) {
      cells.push_back(row.timing ? short_text(row.timing->seconds * 1e3) : "");
      const std::string spread = row.timing ? fixed_text(row.timing->spread * 100, 1) : "";
      cells.push_back(spread_cell(row.timing && row.timing->is_noisy() ? "noisy " + spread : spread));
    }
    if (rated) cells.push_back(row.rate ? short_text(*row.rate * 1e-9) : "");
    for (const std::string& name : percents) cells.push_back(value_of(row.percents, name, true));
    for (const std::string& name : numbers) cells.push_back(value_of(row.numbers, name, false));
    table.rows.push_back(cells);
  }
  return table;
}

nlohmann::ordered_json machine(const BenchResult& result) {
  nlohmann::ordered_json machine = nlohmann::ordered_json::parse(machine_json(result.threads));
  machine["blas_core"] = blas_core_name();
  if (result.device == Device::cpu) return machine;
  const DeviceProperties gpu = gpu_properties();
  machine["gpu"] = {{"name", gpu.name},
                    {"compute_capability", gpu.compute_capability},
                    {"processors", gpu.processors},
                    {"memory_bytes", gpu.memory_bytes},
                    {"driver", gpu.driver},
                    {"runtime", gpu.runtime}};
  return machine;
}

// What the benchmark ran on, in words.
std::string machine_text(const BenchResult& result) {
  const nlohmann::ordered_json on = machine(result);
  if (result.device == Device::cpu)
    return fmt::format("{}, {} {}; OpenBLAS takes its kernels for {}", on["processor"].get<std::string>(),
                       result.threads, result.threads == 1 ? "thread" : "threads", on["blas_core"].get<std::string>());
  const DeviceProperties gpu = gpu_properties();
  const auto version = [](int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); };
  return fmt::format("{}, driver for CUDA {}, built with {}", gpu.name, version(gpu.driver), version(gpu.runtime));
}

}  // namespace

std::string ceiling_note(const BenchOptions& options) {
  return options.threads == 1
             ? std::string("% sgemm: of sgemm(1024^3) on one core, measured in this run.")
             : fmt::format("% sgemm: of {} times sgemm(1024^3) on one core, measured in this run.", options.threads);
}

BenchRow row_of(const Subject& subject, const Timing& timing) {
  BenchRow row{.name = subject.name, .timing = timing};
  if (subject.work > 0) row.rate = subject.work / timing.seconds;
  return row;
}

BenchGroup time_operations(const std::string& title, std::vector<Subject> subjects, const BenchOptions& options) {
  subjects.push_back(gemm_ceiling());
  subjects.push_back(multiply_add_ceiling());
  const std::vector<Timing> timings = time_interleaved("bench", subjects, options.effort());
  BenchGroup group{.title = title};
  for (size_t i = 0; i < subjects.size(); ++i) group.rows.push_back(row_of(subjects[i], timings[i]));
  const double ceiling = options.threads * *group.rows[group.rows.size() - 2].rate;
  for (BenchRow& row : group.rows)
    if (row.rate) row.percents.emplace_back("% sgemm", 100 * *row.rate / ceiling);
  return group;
}

std::string to_text(const BenchResult& result) {
  std::string text = wrapped(fmt::format("phasor bench {}: {}", result.name, machine_text(result)), 80);
  text += '\n';
  for (const std::string& note : result.notes) text += wrapped(note, 80) + '\n';
  bool noisy = false;
  for (const BenchGroup& group : result.groups) {
    text += '\n' + text_table(table_of(group));
    for (const std::string& remark : group.remarks) text += wrapped(remark, 80) + '\n';
    for (const BenchRow& row : group.rows) noisy = noisy || (row.timing && row.timing->is_noisy());
  }
  if (noisy)
    text += '\n' +
            wrapped(
                "noisy: the quartiles of the repetitions are more than 10 % of the median apart. Something else "
                "used the machine; do not quote the number.",
                80) +
            '\n';
  return text;
}

std::string to_json(const BenchResult& result) {
  nlohmann::ordered_json json{{"bench", result.name}, {"machine", machine(result)}, {"notes", result.notes}};
  json["groups"] = nlohmann::ordered_json::array();
  for (const BenchGroup& group : result.groups) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const BenchRow& row : group.rows) {
      nlohmann::ordered_json entry{{"name", row.name}};
      if (row.timing) {
        entry["seconds"] = row.timing->seconds;
        entry["spread"] = row.timing->spread;
        entry["repetitions"] = row.timing->repetitions;
        entry["noisy"] = row.timing->is_noisy();
      }
      if (row.rate) entry[group.rate_unit] = *row.rate * 1e-9;
      for (const auto& [name, value] : row.percents) entry[name] = value;
      for (const auto& [name, value] : row.numbers) entry[name] = value;
      rows.push_back(entry);
    }
    nlohmann::ordered_json entry{{"title", group.title}, {"rows", rows}, {"remarks", group.remarks}};
    for (const auto& [name, value] : group.numbers) entry[name] = value;
    json["groups"].push_back(entry);
  }
  return json.dump(2) + "\n";
}

}  // namespace phasor
