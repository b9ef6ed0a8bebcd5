// Sets a table in columns of text.
#include "experiments/report/table.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "core/error.hpp"
#include "experiments/report/text.hpp"

namespace phasor {
namespace {

constexpr size_t gap = 2;

// A cell as it may reach a terminal: one line, no escape sequences.
std::string printable(std::string text) {
  for (char& c : text) {
    if ((c >= 0 && c < ' ') || c == 0x7F) c = '?';
  }
  return text;
}

std::string padded(const std::string& text, size_t width, bool to_the_right) {
  const std::string space(width - character_count(text), ' ');
  return to_the_right ? space + text : text + space;
}

std::string without_trailing_spaces(const std::string& line) { return line.substr(0, line.find_last_not_of(' ') + 1); }

// Lines of whole words; a word longer than a line is cut.
std::string wrapped(const std::string& text, size_t width) {
  std::istringstream words(text);
  std::string lines, line;
  for (std::string word; words >> word;) {
    word = shortened(word, width);
    if (!line.empty() && character_count(line) + 1 + character_count(word) > width) {
      lines += line + '\n';
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return line.empty() ? lines : lines + line + '\n';
}

}  // namespace

// 1.5, -2, 1e5, and what from_chars does not take: +0.011, 3%.
static bool is_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.ends_with('%')) text.remove_suffix(1);
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec != std::errc::invalid_argument && result.ptr == text.data() + text.size();
}

bool is_number_column(const Table& table, size_t column) {
  constexpr std::string_view plus_minus = " ±";
  bool found = false;
  for (const auto& row : table.rows) {
    const std::string_view cell = row[column];
    if (cell.empty() || cell == "-") continue;
    const size_t middle = std::min(cell.find(plus_minus), cell.size());
    const std::string_view half_width = cell.substr(std::min(middle + plus_minus.size(), cell.size()));
    if (!is_number(cell.substr(0, middle)) || (middle < cell.size() && !is_number(half_width))) return false;
    found = true;
  }
  return found;
}

std::string text_table(const Table& table, size_t width) {
  const size_t count = table.columns.size();
  for (const auto& row : table.rows) {
    require<ValueError>(row.size() == count, "text_table", "a row has ", row.size(), " cells; the table has ", count,
                        " columns");
  }
  if (count == 0) return "";

  std::vector<std::vector<std::string>> lines = {table.columns};
  lines.insert(lines.end(), table.rows.begin(), table.rows.end());
  // The first column names the rows and is repeated; it leaves room for at least one other.
  const size_t widest_first = count == 1 ? width : width / 2;
  std::vector<size_t> widths(count, 0);
  for (size_t column = 0; column < count; ++column) {
    const size_t widest = column == 0 ? widest_first : width - widths[0] - gap;
    for (auto& line : lines) {
      line[column] = shortened(printable(line[column]), widest);
      widths[column] = std::max(widths[column], character_count(line[column]));
    }
  }

  std::string text;
  text += wrapped(printable(table.caption), width);
  for (size_t first = 1; first < count || (first == 1 && count == 1);) {
    size_t last = first, used = widths[0];
    while (last < count && used + gap + widths[last] <= width) used += gap + widths[last++];
    if (first > 1) text += '\n';
    for (size_t row = 0; row < lines.size(); ++row) {
      std::string line = padded(lines[row][0], widths[0], is_number_column(table, 0));
      for (size_t column = first; column < last; ++column) {
        line += std::string(gap, ' ') + padded(lines[row][column], widths[column], is_number_column(table, column));
      }
      text += without_trailing_spaces(line) + '\n';
      if (row == 0) {
        for (size_t dash = 0; dash < used; ++dash) text += "─";
        text += '\n';
      }
    }
    if (count == 1) break;
    first = last;
  }
  return text;
}

}  // namespace phasor
