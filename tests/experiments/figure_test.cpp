// Figures as text: what can be drawn, the JSON and the article of the page. How it looks in a browser is
// report_page_test.cpp's.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "experiments/report/figure_html.hpp"
#include "experiments/report/html.hpp"
#include "tests/support/sample_figures.hpp"

namespace phasor {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A curve of four values.
Figure small_figure(const std::vector<double>& values) {
  Figure figure = {.name = "small", .axes = {{.role = Role::x, .label = "component"}}, .value_label = "share"};
  figure.means = Measurement("share", {indices("component", static_cast<int64_t>(values.size()))});
  figure.means.values = values;
  return figure;
}

TEST_CASE("figure: the samples can be drawn") {
  for (const Figure& figure : sample_figures()) CHECK_NOTHROW(check(figure));
}

TEST_CASE("figure: what cannot be drawn is refused in words") {
  struct Fault {
    std::function<void(Figure&)> plant;
    const char* said;
  };
  // Of contribution_figure: dimensions encoding, step, layer, head, component, distance.
  const std::vector<Fault> faults = {
      {[](Figure& f) { f.name = "../a b"; }, "is named '../a b'; need a-z, 0-9, _ and -"},
      {[](Figure& f) { f.axes.pop_back(); }, "5 axes for 6 dimensions"},
      {[](Figure& f) { f.means.values.pop_back(); }, "43775 values; its dimensions need 43776"},
      {[](Figure& f) { f.half_widths = {1}; }, "1 half widths for 43776 values"},
      {[](Figure& f) { f.axes[2].role = Role::x; }, "2 dimensions are x; needs one"},
      {[](Figure& f) { f.axes[5].role = Role::choice; }, "0 dimensions are x; needs one"},
      {[](Figure& f) { f.axes[1].role = Role::panel; }, "2 dimensions are panel; needs one at most"},
      {[](Figure& f) { f.axes[1].role = Role::series; }, "has y and series"},
      {[](Figure& f) { f.logarithmic = true; }, "a heat map with logarithmic values"},
      {[](Figure& f) { f.axes[0].logarithmic = true; }, "'encoding' has words; a logarithmic axis needs numbers"},
      {[](Figure& f) { f.axes[1].first_shown = 9; }, "'step' has 9 entries; cannot show entry 9 first"},
      {[](Figure& f) { f.axes[1].first_shown = -2; }, "cannot show entry -2 first"},
      {[](Figure& f) { f.means.dimensions[5].numbers[1] = 0; }, "'distance' does not ascend"},
      {[](Figure& f) { f.means.dimensions[5].numbers[18] = infinity; }, "'distance' has an entry that is not finite"},
      {[](Figure& f) {
         f.means.dimensions[0].numbers = {1, 2};
       },
       "'encoding' has 2 numbers and 2 words"},
      {[](Figure& f) { f.means.dimensions[1].name = "layer"; }, "a dimension is named 'layer'"},
      {[](Figure& f) { f.means.dimensions[1].name = "high"; }, "a dimension is named 'high'"},
      {[](Figure& f) { f.means.name = "low"; }, "its values are named 'low'"},
      {[](Figure& f) { f.mark_dimension = "head"; }, "marks on dimension 'head'; need numbers along x or y"},
      {[](Figure& f) { f.marks[0].x = nan; }, "mark 'wavelength = L' stands at a value that is not finite"},
  };
  for (const Fault& fault : faults) {
    Figure figure = contribution_figure();
    fault.plant(figure);
    CHECK_THROWS_WITH_AS(check(figure), doctest::Contains(fault.said), ValueError);
    CHECK_THROWS_AS(html({.sections = {{.figures = {figure}}}}), ValueError);
  }
  CHECK_THROWS_WITH_AS(html({.sections = {{.figures = {u_shape_figure()}}, {.figures = {u_shape_figure()}}}}),
                       doctest::Contains("two figures are named 'u_shape'"), ValueError);
}

TEST_CASE("figure: values of the page have four digits and a shared exponent; what is not finite is null") {
  Figure figure = small_figure({0.0123456, -0.00099996, nan, infinity, 0, 1e-9});
  figure.half_widths = {0.00123, nan, 0, 0.00999, 1e-7, 5e-5};
  const auto json = nlohmann::json::parse(figure_json(figure));
  CHECK(json["exponent"] == -5);
  CHECK(json["values"].dump() == "[1235,-100,null,null,0,0.0001]");
  CHECK(json["halfWidths"].dump() == "[120,null,0,1000,0.01,5]");
  for (const double size : {1e300, 1e-280, 5e-324}) {
    const auto extreme = nlohmann::json::parse(figure_json(small_figure({size})));
    const double value = extreme["values"][0].get<double>() * std::pow(10, extreme["exponent"].get<int>());
    CHECK(value == doctest::Approx(size).epsilon(0.0005));
  }
}

TEST_CASE("figure: 100 000 values take less than 800 000 bytes of the page") {
  Figure figure = {.name = "large", .axes = {{.role = Role::y}, {.role = Role::x}}};
  figure.means = Measurement("v", {indices("y", 250), indices("x", 400)});
  for (int i = 0; i < 100000; ++i)
    figure.means.values[static_cast<size_t>(i)] = std::sin(i * 0.7) * std::exp(-i * 3e-5);
  CHECK(figure_json(figure).size() < 800000);
}

TEST_CASE("figure: no text in the JSON of a page can end its element") {
  Figure figure = small_figure({1, 2});
  figure.means.dimensions[0] = {.name = hostile_text, .words = {hostile_text + "1", "\xff\x80"}};
  figure.axes[0].label = figure.value_label = hostile_text;
  const std::string text = figure_json(figure);
  CHECK(text.find_first_of("<>&") == std::string::npos);
  const auto json = nlohmann::json::parse(text);
  CHECK(json["valueLabel"] == hostile_text);
  CHECK(json["dimensions"][0]["entries"][0] == hostile_text + "1");
  CHECK(json["dimensions"][0]["entries"][1] == "\uFFFD\uFFFD");
}

TEST_CASE("figure: question, claim, finding, verdict and command stand in the page as text") {
  Figure figure = small_figure({1, 2});
  figure.question = figure.claim = figure.measured = figure.command = hostile_text;
  figure.verdict = Verdict::contradicted;
  const std::string page = html({.sections = {{.figures = {figure}}}});
  CHECK(!contains(page, "<img"));
  const std::string escaped_text = "&lt;/script&gt;&lt;img src=x";
  for (const char* const place :
       {"<h3>", "<dt>Measured</dt><dd>", "<dt>Claim</dt><dd>", "<code>", "<a href=\"#figure-small\">", "<small>"})
    CHECK_MESSAGE(contains(page, place + escaped_text), place);
  CHECK(contains(page, "id=\"figure-small\""));
  CHECK(contains(page, "<span class=\"badge contradicted\">contradicted</span>"));
  figure.claim = figure.command = "";
  const std::string shorter = html({.sections = {{.figures = {figure}}}});
  CHECK(!contains(shorter, "Claim"));
  CHECK(!contains(shorter, "Draw it again"));
}

TEST_CASE("figure: the overview has what was judged first, with its claim, and the others in a list below") {
  Figure shown = small_figure({1, 2}), judged = small_figure({1, 2});
  shown.name = "shown_first";
  shown.question = "What?";
  judged.name = "judged";
  judged.question = "Whether?";
  judged.claim = "It does.";
  judged.verdict = Verdict::supported;
  CHECK(overview_html({&shown, &judged}) ==
        "<nav aria-label=\"Questions\">\n<ol>\n"
        "<li><span class=\"badge supported\">supported</span> <div><a href=\"#figure-judged\">Whether?</a> "
        "<small>It does.</small></div></li>\n</ol>\n"
        "<p>Also shown:</p>\n<ul>\n<li><a href=\"#figure-shown_first\">What?</a></li>\n</ul>\n</nav>\n");
  CHECK(overview_html({&shown}) ==
        "<nav aria-label=\"Questions\">\n<p>Shown:</p>\n<ul>\n"
        "<li><a href=\"#figure-shown_first\">What?</a></li>\n</ul>\n</nav>\n");
  CHECK(!contains(overview_html({&judged}), "hown"));
}

TEST_CASE("figure: a page allows its own script by its hash, and no other") {
  // Of no bytes and of "abc", from FIPS 180-2's digests.
  CHECK(policy_hash("") == "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
  CHECK(policy_hash("abc") == "'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='");
  const std::string page = html({.sections = {{.figures = {small_figure({1})}}}});
  const size_t start = page.find("<script type=\"module\">") + 22, end = page.find("</script>", start);
  CHECK(contains(page, "default-src 'none'; style-src 'unsafe-inline'; script-src " +
                           policy_hash(page.substr(start, end - start)) + "\">"));
  CHECK(page.find("<script", end) == std::string::npos);
  CHECK(!contains(html({.sections = {{.text = "none"}}}), "script"));
}

}  // namespace
}  // namespace phasor
