// Quoting of CSV fields.
#include "experiments/report/csv.hpp"

#include "core/error.hpp"
#include "experiments/report/text.hpp"

namespace phasor {
namespace {

std::string quoted(const std::string& text) {
  const bool has_outer_space = !text.empty() && (text.front() == ' ' || text.back() == ' ');
  // An empty text is quoted too: alone in its row it would be an empty line, which readers skip.
  if (!text.empty() && !has_outer_space && text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string result = "\"";
  for (const char c : text) result += c == '"' ? std::string("\"\"") : std::string(1, c);
  return result + '"';
}

std::string cell_text(const CsvValue& value) {
  if (const double* number = std::get_if<double>(&value)) return number_text(*number);
  if (const int64_t* number = std::get_if<int64_t>(&value)) return std::to_string(*number);
  return quoted(std::get<std::string>(value));
}

}  // namespace

Csv::Csv(const std::vector<std::string>& columns) : columns_(columns.size()) {
  add(std::vector<CsvValue>(columns.begin(), columns.end()));
}

void Csv::add(const std::vector<CsvValue>& row) {
  require<ValueError>(row.size() == columns_, "csv", "a row has ", row.size(), " values; the header has ", columns_);
  for (size_t i = 0; i < row.size(); ++i) {
    if (i > 0) text_ += ',';
    text_ += cell_text(row[i]);
  }
  text_ += '\n';
}

}  // namespace phasor
