// Text that goes into reports and onto terminals: numbers without locale, and strings of unknown origin made harmless.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace phasor {

// The shortest decimal text that reads back as the same number; "nan", "inf", "-inf".
std::string number_text(double value);

// With a fixed number of decimals, for tables: fixed_text(4.2613, 2) is "4.26".
std::string fixed_text(double value, int decimals);

// For element content and quoted attributes of HTML and inline SVG: & < > " ' become entities; bytes that are not UTF-8
// and control characters become U+FFFD.
std::string escaped(std::string_view text);

// Bytes that come one by one, for a terminal: newline, tab and each character of UTF-8 that is no control character as
// they are, once whole; all other bytes as \xNN.
class PrintableText {
 public:
  std::string add(uint8_t byte);  // what can be shown now, or nothing yet
  std::string rest();             // what was begun and does not end

 private:
  std::string begun_;  // up to three bytes of a character
};

// Characters of UTF-8 text; a byte that is not UTF-8 counts as one.
size_t character_count(std::string_view text);

// At most `count` characters; a longer text is cut and ends in "…".
std::string shortened(std::string_view text, size_t count);

// Lines broken at blanks, none longer than `width` unless one word is.
std::string wrapped(std::string_view text, size_t width);

}  // namespace phasor
