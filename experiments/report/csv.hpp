// CSV files: a header and rows, quoted as in RFC 4180 (with \n as line end), numbers in their shortest exact form.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace phasor {

using CsvValue = std::variant<std::string, double, int64_t>;

class Csv {
 public:
  explicit Csv(const std::vector<std::string>& columns);
  void add(const std::vector<CsvValue>& row);  // ValueError unless it has one value for each column
  const std::string& text() const { return text_; }

 private:
  size_t columns_;
  std::string text_;
};

}  // namespace phasor
