// Reports: hostile text stays text, pages are well formed and ask for nothing, charts survive what runs produce.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <locale>
#include <sstream>

#include "core/error.hpp"
#include "experiments/report/axis.hpp"
#include "experiments/report/chart.hpp"
#include "experiments/report/csv.hpp"
#include "experiments/report/html.hpp"
#include "experiments/report/smooth.hpp"
#include "experiments/report/table.hpp"
#include "experiments/report/text.hpp"

namespace phasor {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

bool is_name(std::string_view text) {
  return !text.empty() && text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == text.npos;
}

// What stands between < and >, such as `path d="M0 0"`: a lower-case name and quoted attributes.
bool is_tag(std::string_view text) {
  const size_t name_end = std::min(text.find(' '), text.size());
  if (!is_name(text.substr(0, name_end))) return false;
  text.remove_prefix(name_end);
  while (!text.empty()) {
    const size_t equals = text.find("=\"");
    if (text[0] != ' ' || equals == text.npos) return false;
    std::string name(text.substr(1, equals - 1));
    if (name == "viewBox") name = "view-box";
    const size_t end = text.find('"', equals + 2);
    if (!is_name(name) || end == text.npos) return false;
    text.remove_prefix(end + 1);
  }
  return true;
}

// The first fault of the markup, "" if there is none: every tag is closed in order, every attribute is quoted, every &
// is one of the entities that escaped() writes.
std::string markup_fault(std::string_view text) {
  if (text.starts_with("<!doctype html>")) text.remove_prefix(15);
  std::vector<std::string_view> open;
  while (!text.empty()) {
    const size_t special = std::min(text.find_first_of("<>&"), text.size());
    text.remove_prefix(special);
    if (text.empty()) break;
    const std::string here(text.substr(0, 60));
    if (text[0] == '&') {
      const std::string_view entity = text.substr(0, text.find(';') + 1);
      if (entity != "&amp;" && entity != "&lt;" && entity != "&gt;" && entity != "&quot;" && entity != "&#39;") {
        return "not an entity: " + here;
      }
      text.remove_prefix(entity.size());
      continue;
    }
    const size_t end = text.find('>');
    if (text[0] == '>' || end == text.npos) return "stray: " + here;
    std::string_view tag = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return "closed out of order: " + here;
      open.pop_back();
      continue;
    }
    const bool is_closed = tag.ends_with('/');
    if (is_closed) tag.remove_suffix(1);
    if (tag.find('<') != tag.npos || !is_tag(tag)) return "not a tag: " + here;
    if (!is_closed && !tag.starts_with("meta ")) open.push_back(tag.substr(0, tag.find(' ')));
  }
  return open.empty() ? "" : "left open: " + std::string(open.back());
}

// The texts right after the start tag of every element of this name.
std::vector<std::string> texts_of(const std::string& page, const std::string& name) {
  std::vector<std::string> texts;
  for (size_t at = page.find('<' + name); at != std::string::npos; at = page.find('<' + name, at + 1)) {
    const char after = page[at + 1 + name.size()];
    if (after != ' ' && after != '>') continue;
    const size_t start = page.find('>', at) + 1;
    texts.push_back(page.substr(start, page.find('<', start) - start));
  }
  return texts;
}

const std::vector<double> lengths = {64, 128, 256, 512, 1024};
const std::string hostile =
    "</script><script>alert('1')</script> & \"quoted\" \u202Eright to left <img src=x onerror=y>";

Chart sample_chart() {
  return {
      .title = "Perplexity",
      .x_label = "length",
      .y_label = "perplexity",
      .log_x = true,
      .series = {{"rope", lengths, {4.35, 4.26, 6.62, 12.5, 17.5}}, {"hope", lengths, {4.36, 4.23, 4.46, 5.28, 6.39}}},
      .marks = {{128, "L = 128"}}};
}

TEST_CASE("report: the check of markup sees faults") {
  for (const char* wrong : {"<p>", "</p>", "<p><b></p></b>", "<p", "a < b", "a > b", "a & b", "<p class=x></p>", "&lt",
                            "<p title=\"<\"></p>", "<P></P>"}) {
    CAPTURE(wrong);
    CHECK(!markup_fault(wrong).empty());
  }
  CHECK(markup_fault("<p a=\"b\">1 &lt; 2<path d=\"M0 0\"/></p>").empty());
}

TEST_CASE("report: text is escaped") {
  CHECK(escaped("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#39;");
  CHECK(escaped("gr\u00fc\u00df \u4e2d \U0001F600\n\t") == "gr\u00fc\u00df \u4e2d \U0001F600\n\t");
  // NUL, escape, a lone continuation byte, an overlong slash, a surrogate, a cut-off character.
  CHECK(escaped(std::string("\0\x1b", 2)) == "\uFFFD\uFFFD");
  CHECK(escaped("a\x80"
                "b") == "a\uFFFDb");
  CHECK(escaped("\xC0\xAF") == "\uFFFD\uFFFD");
  CHECK(escaped("\xED\xA0\x80") == "\uFFFD\uFFFD\uFFFD");
  CHECK(escaped("\xE4\xB8") == "\uFFFD\uFFFD");
  CHECK(shortened("gr\u00fc\u00dfe", 5) == "gr\u00fc\u00dfe");
  CHECK(shortened("gr\u00fc\u00dfe", 4) == "gr\u00fc…");
}

TEST_CASE("report: bytes for a terminal come out as whole characters or as their numbers") {
  const auto shown = [](const std::string& bytes) {
    PrintableText text;
    std::string all;
    for (const char byte : bytes) all += text.add(static_cast<uint8_t>(byte));
    return all + text.rest();
  };
  const std::string plain = "a\n\t~ \u00a0\u00fc\u07ff \u0800\u4e2d\ud7ff\uffff \U00010000\U0001F600\U0010FFFF";
  CHECK(shown(plain) == plain);
  // Controls: C0 but newline and tab, DEL, and C1, which begin with C2.
  CHECK(shown(std::string("\0\x1b\r\x7f", 4)) == "\\x00\\x1b\\x0d\\x7f");
  CHECK(shown("\u0080\u009b\u009f") == "\\xc2\\x80\\xc2\\x9b\\xc2\\x9f");
  // No UTF-8: bytes that begin nothing, overlong forms, surrogates, beyond U+10FFFF, characters that end too soon.
  CHECK(shown("\x80\xff\xc0\xaf\xf5") == "\\x80\\xff\\xc0\\xaf\\xf5");
  CHECK(shown("\xe0\x9f\xbf") == "\\xe0\\x9f\\xbf");
  CHECK(shown("\xed\xa0\x80") == "\\xed\\xa0\\x80");
  CHECK(shown("\xf4\x90\x80\x80\xf0\x8f\xbf\xbf") == "\\xf4\\x90\\x80\\x80\\xf0\\x8f\\xbf\\xbf");
  CHECK(shown("\xe4\xb8"
              "a\xc3\xc3\xbc\xf0\x9f\x98") ==
        "\\xe4\\xb8"
        "a\\xc3\u00fc\\xf0\\x9f\\x98");
  // Each as soon as it is whole, or cannot become so any more.
  PrintableText text;
  CHECK(text.add(0xE4) == "");
  CHECK(text.add(0xB8) == "");
  CHECK(text.add(0xAD) == "\u4e2d");
  CHECK(text.add(0xC3) == "");
  CHECK(text.add('a') ==
        "\\xc3"
        "a");
  CHECK(text.add(0xF0) == "");
  CHECK(text.rest() == "\\xf0");
  CHECK(text.rest() == "");
}

TEST_CASE("report: the page is well formed whatever the text") {
  Chart chart = sample_chart();
  chart.title = chart.x_label = chart.y_label = chart.series[0].name = chart.marks[0].label = hostile;
  const Report report{
      .title = hostile,
      .verdict = hostile,
      .banner = hostile,
      .sections = {{.heading = hostile,
                    .text = hostile + "\n\n" + hostile,
                    .tables = {{.columns = {hostile, "x"}, .rows = {{hostile, "1"}}, .caption = hostile}},
                    .charts = {chart, sample_chart()},
                    .listing = hostile}}};
  const std::string page = html(report);
  CHECK(markup_fault(page) == "");
  CHECK(!contains(page, "<script"));
  CHECK(!contains(page, "<img"));
  CHECK(texts_of(page, "pre") == std::vector<std::string>{escaped(hostile)});
  CHECK(texts_of(page, "h1") == std::vector<std::string>{escaped(hostile)});
  CHECK(texts_of(page, "p").size() == 4);  // banner, verdict, two paragraphs
  CHECK(html(report) == page);
}

TEST_CASE("report: the page asks for nothing") {
  const std::string page = html({.title = "t", .verdict = "v", .sections = {{.charts = {sample_chart()}}}});
  CHECK(contains(
      page, "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"));
  CHECK(page.find("Content-Security-Policy") < page.find("<title>"));
  for (const char* request :
       {"http:", "https:", "src=", "href", "url(", "@import", "<link", "<script", "data:", "<iframe"}) {
    CAPTURE(request);
    CHECK(!contains(page, request));
  }
  CHECK(contains(page, "prefers-color-scheme:dark"));
  CHECK(contains(page, "@media print"));
}

TEST_CASE("report: a banner only for runs that need one") {
  CHECK(!contains(html({.title = "t"}), "role=\"alert\""));
  CHECK(contains(html({.title = "t", .banner = "not finished"}), "role=\"alert\">not finished"));
}

TEST_CASE("report: tables") {
  const Table table{.columns = {"encoding", "64", "note"}, .rows = {{"rope", "4.35", "a"}, {"hope", "-", ""}}};
  CHECK(!is_number_column(table, 0));
  CHECK(is_number_column(table, 1));
  const std::string page = html({.sections = {{.tables = {table}}}});
  CHECK(contains(page, "<td class=\"number\">4.35</td>"));
  CHECK(contains(page, "<th scope=\"row\">rope</th>"));
  CHECK_THROWS_AS(html({.sections = {{.tables = {{.columns = {"a"}, .rows = {{"1", "2"}}}}}}}), ValueError);
}

TEST_CASE("report: what a column of numbers may hold") {
  for (const char* number : {"1", "-2.5", "+0.011", "1e+05", "3.2%", "+0.3 ±0.1", "nan", "inf"})
    CHECK_MESSAGE(is_number_column({.columns = {"x"}, .rows = {{number}, {""}, {"-"}}}, 0), number);
  for (const char* text : {"rope", "1 2", "+", "++1", "+0.3 ±", "+0.3 ±x", "x ±0.1", "%"})
    CHECK_MESSAGE(!is_number_column({.columns = {"x"}, .rows = {{"1"}, {text}}}, 0), text);
  CHECK(!is_number_column({.columns = {"x"}, .rows = {{""}, {"-"}}}, 0));
}

TEST_CASE("report: a table on the console") {
  const Table table{.columns = {"encoding", "64", "1024"},
                    .rows = {{"rope", "4.35", "17.5"}, {"h\u00f6pe", "4.36", "6.39"}},
                    .caption = "Perplexity"};
  CHECK(text_table(table) ==
        "Perplexity\n"
        "encoding    64  1024\n"
        "────────────────────\n"
        "rope      4.35  17.5\n"
        "h\u00f6pe      4.36  6.39\n");
  CHECK(text_table({}) == "");
  CHECK_THROWS_AS(text_table({.columns = {"a"}, .rows = {{}}}), ValueError);
}

TEST_CASE("report: a wide table stays within the width and loses no column") {
  Table table{.columns = {std::string(100, 'n')},
              .rows = {{"\x1b[31mred\n"}},
              .caption = std::string(50, 'c') + ' ' + std::string(120, 'd')};
  for (int i = 0; i < 30; ++i) {
    table.columns.push_back("column " + std::to_string(i));
    table.rows[0].push_back("value " + std::to_string(i));
  }
  table.rows[0].back() = std::string(500, 'x');
  for (const size_t width : {20, 40, 80}) {
    const std::string text = text_table(table, width);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) CHECK(character_count(line) <= width);
    CHECK(!contains(text, "\x1b"));
    if (width < 40) continue;
    for (int i = 0; i < 29; ++i) CHECK(contains(text, "value " + std::to_string(i)));
  }
}

TEST_CASE("chart: what it shows") {
  const std::string drawing = svg(sample_chart());
  CHECK(markup_fault(drawing) == "");
  const std::vector<std::string> texts = texts_of(drawing, "text");
  for (const char* length : {"64", "128", "256", "512", "1024", "L = 128", "length", "perplexity", "Perplexity"}) {
    CAPTURE(length);
    CHECK(std::find(texts.begin(), texts.end(), length) != texts.end());
  }
  CHECK(texts_of(drawing, "title") ==
        std::vector<std::string>{"rope", "rope: 64, 4.35", "rope: 128, 4.26", "rope: 256, 6.62", "rope: 512, 12.5",
                                 "rope: 1024, 17.5", "hope", "hope: 64, 4.36", "hope: 128, 4.23", "hope: 256, 4.46",
                                 "hope: 512, 5.28", "hope: 1024, 6.39", "rope", "hope"});
  CHECK_THROWS_AS(svg({.series = {{"a", {1, 2}, {1}}}}), ValueError);
}

// The subpaths of the first curve.
int subpaths(const std::string& drawing) {
  const size_t begin = drawing.find("<g><title>");
  const size_t path = drawing.find("<path d=\"", begin);
  return count(drawing.substr(path, drawing.find('/', path) - path), "M");
}

TEST_CASE("chart: values that cannot be drawn leave gaps") {
  const auto drawn = [](const std::vector<double>& y, bool log_y) {
    const std::string drawing = svg({.log_x = true, .log_y = log_y, .series = {{"s", {1, 2, 3, 4, 5}, y}}});
    CHECK(markup_fault(drawing) == "");
    CHECK(!contains(drawing, "nan"));
    CHECK(!contains(drawing, "inf"));
    return drawing;
  };
  CHECK(subpaths(drawn({1, 2, 3, 4, 5}, false)) == 1);
  CHECK(subpaths(drawn({1, 2, nan, 4, 5}, false)) == 2);
  CHECK(subpaths(drawn({1, infinity, 3, -infinity, 5}, false)) == 3);
  CHECK(subpaths(drawn({nan, 2, 3, 4, nan}, false)) == 1);
  CHECK(subpaths(drawn({1, 0, 3, -4, 5}, false)) == 1);
  CHECK(subpaths(drawn({1, 0, 3, -4, 5}, true)) == 3);
  CHECK(count(drawn({1, nan, 3, nan, 5}, false), "<circle") == 3);
}

TEST_CASE("chart: nothing to draw, or as good as nothing") {
  for (const Chart& chart : std::vector<Chart>{{},
                                               {.series = {{"empty", {}, {}}}},
                                               {.series = {{"bad", {1, 2}, {nan, infinity}}}, .marks = {{1, "m"}}},
                                               {.log_x = true, .series = {{"zero", {0, -1}, {1, 2}}}}}) {
    const std::string drawing = svg(chart);
    CHECK(markup_fault(drawing) == "");
    CHECK(contains(drawing, "no data"));
  }
  for (const bool log : {false, true}) {
    for (const double value : {1.0, 1e-300, 1e299, 123456.0, 0.0}) {
      const std::string drawing =
          svg({.log_x = log, .log_y = log, .series = {{"point", {value}, {value}}, {"flat", {1, 2}, {value, value}}}});
      CHECK(markup_fault(drawing) == "");
      CHECK(!contains(drawing, "nan"));
      CHECK(!contains(drawing, "inf"));
    }
  }
}

TEST_CASE("chart: names at the right end never touch") {
  // Some end together at the bottom, some in the middle, one at the top.
  Chart chart;
  for (const double end : {1.0, 1.001, 1.002, 1.003, 2.0, 2.0, 2.001, 2.001, 3.0}) {
    chart.series.push_back({"series", {1, 2}, {1, end}});
  }
  const std::string drawing = svg(chart);
  const std::string after = "\" font-weight=\"600\" fill";
  std::vector<double> heights;
  for (size_t at = drawing.find(after); at != std::string::npos; at = drawing.find(after, at + 1)) {
    heights.push_back(std::stod(drawing.substr(drawing.rfind('"', at - 1) + 1)));
  }
  REQUIRE(heights.size() == 9);
  for (size_t i = 1; i < heights.size(); ++i) CHECK(heights[i] - heights[i - 1] > 16);
  CHECK(heights.back() < 360);
}

std::vector<std::string> tick_labels(Scale scale, double low, double high) {
  std::vector<std::string> labels;
  for (const Tick& tick : Axis(scale, {low, high}).ticks()) labels.push_back(tick.label);
  return labels;
}

TEST_CASE("axis: ticks a person would choose") {
  using Labels = std::vector<std::string>;
  CHECK(tick_labels(Scale::log2, 64, 1024) == Labels{"64", "128", "256", "512", "1024"});
  CHECK(tick_labels(Scale::log2, 1, 65536) == Labels{"1", "4", "16", "64", "256", "1024", "4096", "16384", "65536"});
  CHECK(tick_labels(Scale::log10, 0.001, 10) == Labels{"0.001", "0.01", "0.1", "1", "10"});
  CHECK(tick_labels(Scale::log10, 1.5, 90) == Labels{"2", "5", "10", "20", "50", "100"});
  CHECK(tick_labels(Scale::log10, 4.2, 17.5) == Labels{"4", "5", "7", "10", "15"});
  CHECK(tick_labels(Scale::log10, 1.1, 1.4) == Labels{"1.10", "1.15", "1.20", "1.25", "1.30", "1.35", "1.40"});
  CHECK(tick_labels(Scale::linear, 0, 1) == Labels{"0.0", "0.2", "0.4", "0.6", "0.8", "1.0"});
  CHECK(tick_labels(Scale::linear, -1, 1) == Labels{"-1.0", "-0.5", "0.0", "0.5", "1.0"});
  CHECK(tick_labels(Scale::linear, 3, 3) == Labels{"2.7", "2.8", "2.9", "3.0", "3.1", "3.2", "3.3"});
  for (const auto& [low, high] : {std::pair{1e-12, 3e-12}, {0.0, 1e12}, {-7e5, 3.0}, {1.0, 1.0001}}) {
    const size_t ticks = tick_labels(Scale::linear, low, high).size();
    CHECK(ticks >= 4);
    CHECK(ticks <= 12);
  }
}

TEST_CASE("csv: header, quoting and exact numbers") {
  Csv csv({"encoding", "length", "perplexity"});
  csv.add({"rope", int64_t{1024}, 17.5});
  csv.add({"a,b", int64_t{INT64_MIN}, 0.1});
  csv.add({"say \"x\"\r\n", int64_t{0}, 1.0 / 3});
  csv.add({" space", int64_t{0}, nan});
  csv.add({"", int64_t{0}, -infinity});
  CHECK(csv.text() ==
        "encoding,length,perplexity\n"
        "rope,1024,17.5\n"
        "\"a,b\",-9223372036854775808,0.1\n"
        "\"say \"\"x\"\"\r\n\",0,0.3333333333333333\n"
        "\" space\",0,nan\n"
        "\"\",0,-inf\n");
  CHECK_THROWS_AS(csv.add({"rope"}), ValueError);
}

struct DecimalComma : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

TEST_CASE("report: numbers do not depend on the locale") {
  const std::string expected = svg(sample_chart());
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new DecimalComma));
  std::ostringstream stream;
  stream << 1234567.5;
  CHECK(contains(stream.str(), ","));
  Csv csv({"x", "n"});
  csv.add({1234567.5, int64_t{1234567}});
  CHECK(csv.text() == "x,n\n1234567.5,1234567\n");
  CHECK(fixed_text(1234567.5, 2) == "1234567.50");
  CHECK(svg(sample_chart()) == expected);
  CHECK(is_number_column({.columns = {"x"}, .rows = {{"1.5"}}}, 0));
  std::locale::global(before);
}

TEST_CASE("smoothing: the window grows with position") {
  const std::vector<double> falling = {5, 4, 3, 2, 1};
  CHECK(smoothed_by_position(falling, 0.1) == falling);  // half a window of less than one position
  // At reach 0.5, entries 2 and 3 are means of three. The end cuts the windows of entries 4 (positions 2 .. 5:
  // mean 29.5 at 3.5, slope 149 / 5) and 5 (positions 3 .. 5: mean 116 / 3 at 4, slope 47).
  const std::vector<double> smooth = smoothed_by_position(std::vector<double>{1, 2, 6, 10, 100}, 0.5);
  CHECK(smooth[0] == 1);
  CHECK(smooth[1] == 3);
  CHECK(smooth[2] == 6);
  CHECK(smooth[3] == doctest::Approx(29.5 + 0.5 * 149 / 5));
  CHECK(smooth[4] == doctest::Approx(116.0 / 3 + 47));
  CHECK(smoothed_by_position({}).empty());
  CHECK_THROWS_AS(smoothed_by_position(falling, 1), ValueError);

  // A straight line stays what it is, also at its end and beside a missing value.
  std::vector<double> line(1000);
  for (size_t i = 0; i < line.size(); ++i) line[i] = 3 - 0.25 * static_cast<double>(i);
  line[950] = nan;
  const std::vector<double> still = smoothed_by_position(line, 0.1);
  for (size_t i = 0; i < line.size(); ++i) CHECK((i == 950 || std::abs(still[i] - line[i]) < 1e-9));
}

TEST_CASE("smoothing: missing values stay missing and spoil no neighbour") {
  const std::vector<double> smooth = smoothed_by_position(std::vector<double>{1, 1, 1, nan, infinity, 1, 1, 1}, 0.5);
  CHECK(std::isnan(smooth[3]));
  CHECK(std::isinf(smooth[4]));
  for (const size_t i : {0, 1, 2, 5, 6, 7}) CHECK(smooth[i] == 1);
}

}  // namespace
}  // namespace phasor
