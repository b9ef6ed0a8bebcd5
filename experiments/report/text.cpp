// Numbers, escapes and line breaks.
#include "experiments/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace phasor {
namespace {

// Bytes of the well-formed UTF-8 character at the front of `text`, 0 if there is none (Unicode 15, table 3-7).
size_t character_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto follows = [&](size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    return follows(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF) && follows(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    return follows(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

// Of one character: U+0000 to U+001F but newline and tab, and U+007F to U+009F.
bool is_control(std::string_view character) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1) return byte(0) == 0x7F || (byte(0) < 0x20 && byte(0) != '\n' && byte(0) != '\t');
  return character.size() == 2 && byte(0) == 0xC2 && byte(1) < 0xA0;
}

// Whether bytes that are no whole character may be the first ones of one. What may follow a first byte is a range that
// holds 0x80 or 0xBF.
bool may_become_character(const std::string& bytes) {
  return character_bytes(bytes + "\x80\x80\x80") > 0 || character_bytes(bytes + "\xBF\xBF\xBF") > 0;
}

std::string in_hexadecimal(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  return text;
}

}  // namespace

std::string number_text(double value) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  return {buffer, result.ptr};
}

std::string fixed_text(double value, int decimals) { return fmt::format("{:.{}f}", value, decimals); }

std::string escaped(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t bytes = character_bytes(text);
    const char first = text.front();
    if (bytes == 0 || is_control(text.substr(0, bytes)))
      result += "\uFFFD";
    else if (first == '&')
      result += "&amp;";
    else if (first == '<')
      result += "&lt;";
    else if (first == '>')
      result += "&gt;";
    else if (first == '"')
      result += "&quot;";
    else if (first == '\'')
      result += "&#39;";
    else
      result += text.substr(0, bytes);
    text.remove_prefix(bytes ? bytes : 1);
  }
  return result;
}

std::string PrintableText::add(uint8_t byte) {
  begun_ += static_cast<char>(byte);
  std::string shown;
  while (!begun_.empty()) {
    const size_t bytes = character_bytes(begun_);
    if (bytes == 0 && may_become_character(begun_)) break;
    const std::string first = begun_.substr(0, std::max<size_t>(1, bytes));
    shown += bytes == 0 || is_control(first) ? in_hexadecimal(first) : first;
    begun_.erase(0, first.size());
  }
  return shown;
}

std::string PrintableText::rest() { return in_hexadecimal(std::exchange(begun_, {})); }

size_t character_count(std::string_view text) {
  size_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(std::max<size_t>(character_bytes(text), 1));
  return count;
}

std::string shortened(std::string_view text, size_t count) {
  if (character_count(text) <= count) return std::string(text);
  std::string_view rest = text;
  for (size_t i = 1; i < count; ++i) rest.remove_prefix(std::max<size_t>(character_bytes(rest), 1));
  return std::string(text.substr(0, text.size() - rest.size())) + "…";
}

std::string wrapped(std::string_view text, size_t width) {
  std::string lines;
  size_t column = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t length = character_count(word);
    if (column > 0 && column + 1 + length > width)
      lines += '\n', column = 0;
    else if (column > 0)
      lines += ' ', ++column;
    lines += word;
    column += length;
  }
  return lines;
}

}  // namespace phasor
