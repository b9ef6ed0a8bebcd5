// A table of text, for the console and for the report.
#pragma once

#include <string>
#include <vector>

namespace phasor {

struct Table {
  std::vector<std::string> columns = {};
  std::vector<std::vector<std::string>> rows = {};  // each as long as `columns`
  std::string caption = {};
};

// Columns of numbers are set to the right. A cell that is empty or "-" is a missing number; "+0.3 ±0.1" is one, too.
bool is_number_column(const Table& table, size_t column);

// For a terminal: no line is longer than `width`. A table that is wider continues below with its first column repeated;
// a single cell that is too wide is cut. ValueError for rows of another length.
std::string text_table(const Table& table, size_t width = 80);

}  // namespace phasor
