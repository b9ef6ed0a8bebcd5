// The page with figures in a browser: it draws them, follows the controls, says the numbers, and keeps text text.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <numbers>

#include "experiments/report/html.hpp"
#include "tests/support/figure_page.hpp"
#include "tests/support/sample_figures.hpp"

namespace phasor {
namespace {

using namespace testing;

TEST_SUITE("full") {
  TEST_CASE("page: every figure is drawn, without a message or a request") {
    const TemporaryFolder folder;
    for (const ColourScheme scheme : {ColourScheme::light, ColourScheme::dark}) {
      Browser& page = opened(folder, sample_figures(), {.scheme = scheme});
      CHECK(page.messages().empty());
      CHECK(page.requests().empty());
      CHECK(page.run("return document.querySelectorAll('.drawing').length") == 4);  // two encodings side by side
      CHECK(page.run("return [...document.querySelectorAll('#figure-u_shape .curve')].length") == 9);
      CHECK(page.run("return [...document.querySelectorAll('#figure-perplexity .band')].length") == 5);
      CHECK(page.run("return [...document.querySelectorAll('#figure-perplexity .marker')].length") == 25);
      // Bands reach above their curves, and stay inside the plot.
      CHECK(page.run(R"(
          const top = part => Math.min(...[...document.querySelectorAll(`#figure-perplexity ${part}`)].map(
              element => element.getBBox().y));
          return top('.grid') < top('.band') && top('.band') < top('.curve'))") == true);
      // Every coordinate is a number inside the page.
      CHECK(page.run(R"(
          const texts = [...document.querySelectorAll('.drawing svg *')].flatMap(element =>
              ['d', 'x', 'y', 'width', 'height', 'transform', 'points'].map(name => element.getAttribute(name) ?? ''));
          const numbers = texts.join(' ').match(/[-\d.]+|NaN|Infinity|undefined|null/g);
          return numbers.filter(number => !(Math.abs(Number(number)) < 2000)))") == json::array());
      // Canvases hold many colours.
      CHECK(page.run(R"(
          return [...document.querySelectorAll('canvas')].every(canvas => {
            const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size > 50;
          }))") == true);
      CHECK(
          page.run("return [...document.querySelectorAll('nav a')].every(link => document.querySelector(link.hash))") ==
          true);
    }
  }

  TEST_CASE("page: buttons and sliders show another part of the numbers, from mouse and keys") {
    const TemporaryFolder folder;
    const Figure figure = contribution_figure();
    Browser& page = opened(folder, {figure});
    const std::string id = "#figure-contribution", first = drawing_of(page, id);
    CHECK(text_of(page, id + " .state") == "training step 1800 · layer 0 · head 0");
    const auto button = [&](int row, int column) {
      return id + " table.grid tr:nth-child(" + std::to_string(row) + ") td:nth-of-type(" + std::to_string(column) +
             ") button";
    };
    page.click(button(2, 3));
    CHECK(text_of(page, id + " .state") == "training step 1800 · layer 1 · head 2");
    CHECK(page.run("return [...document.querySelectorAll('[aria-pressed=true]')].map(button => button.ariaLabel)") ==
          json({"layer 1, head 2"}));
    const std::string other_head = drawing_of(page, id);
    CHECK(other_head != first);
    page.press(testing::key::left + testing::key::up + testing::key::enter);
    CHECK(text_of(page, id + " .state") == "training step 1800 · layer 0 · head 1");

    page.click(button(1, 1));
    CHECK(drawing_of(page, id) == first);
    page.run("document.querySelector('input[type=range]').focus()");
    page.press(testing::key::left);
    CHECK(text_of(page, id + " .slider output") == "900");
    CHECK(drawing_of(page, id) != first);
    page.press(testing::key::home);
    CHECK(text_of(page, id + " .state") == "training step 0 · layer 0 · head 0");
    page.run(R"(
        const output = document.querySelector('.slider output');
        window.played = [];
        new MutationObserver(() => played.push(output.textContent)).observe(output, {childList: true}))");
    page.click(id + " .play");  // from this step to the last
    const json played = page.run(R"(
        return new Promise(resolve => {
          const look = () => played.length < 2 ? setTimeout(look, 20) : resolve(played);
          look();
        }))");
    page.click(id + " .play");
    CHECK(played[0] == "14");
    CHECK(played[1] == "28");
    // Tab leads from the slider over the play button and the pressed button of the grid to the drawing.
    page.run("document.querySelector('input[type=range]').focus()");
    page.press(testing::key::home + testing::key::tab + testing::key::tab + testing::key::tab);
    CHECK(page.run("return document.activeElement.className") == "drawing");
    CHECK(page.run("return document.querySelector('.tooltip').hidden") == false);
    CHECK(page.messages().empty());
  }

  TEST_CASE("page: a pointer on a cell or a curve is told the figure's number") {
    const TemporaryFolder folder;
    const Figure heat_map = contribution_figure(), curves = perplexity_figure();
    Browser& page = opened(folder, {heat_map, curves});
    // rope, the last step, layer 0, head 0, component 4, distance 8.
    const json cell = rows_at(page, "#figure-contribution", "8", "4");
    REQUIRE(cell.size() == 7);
    CHECK(cell[0] == json({"training step", "1800"}));
    CHECK(cell[3] == json({"encoding", "rope"}));
    CHECK(cell[4] == json({"component (0 is the fastest)", "4"}));
    CHECK(cell[5] == json({"distance (tokens)", "8"}));
    CHECK(cell[6][0] == "contribution to the score");
    CHECK(number(cell[6][1]) == doctest::Approx(heat_map.means.at({0, 8, 0, 0, 4, 6})).epsilon(0.0005));

    const json point = rows_at(page, "#figure-perplexity", "512", "");
    REQUIRE(point.size() == 6);
    CHECK(point[0] == json({"length of the window (tokens)", "512"}));
    CHECK(point[2][0] == "hope");
    CHECK(number(point[2][1]) == doctest::Approx(curves.means.at({1, 3})).epsilon(0.0005));
    const std::string text = point[2][1];
    CHECK(number(text.substr(text.find("± ") + 3)) == doctest::Approx(curves.half_widths[8]).epsilon(0.05));

    page.hover("#figure-contribution h3");
    CHECK(page.run("return document.querySelector('.tooltip').hidden") == true);
    // With the mouse itself; scrolling, which comes first, hides the tooltip.
    page.run(
        "document.querySelector('.drawing').scrollIntoView({block: 'center', behavior: 'instant'});"
        "return new Promise(resolve => setTimeout(resolve, 100))");
    page.hover("#figure-contribution .drawing");
    CHECK(page.run("return document.querySelector('.tooltip').hidden") == false);
    // Keys lead from cell to cell.
    page.run("document.querySelector('#figure-contribution .drawing').focus()");
    rows_at(page, "#figure-contribution", "8", "4");
    page.press(testing::key::right + testing::key::up);
    CHECK(text_of(page, ".tooltip").find("component (0 is the fastest)5distance (tokens)11") != std::string::npos);
  }

  TEST_CASE("page: the numbers are there without a pointer") {
    const TemporaryFolder folder;
    const Figure curves = perplexity_figure(), heat_map = contribution_figure();
    Browser& page = opened(folder, {curves, heat_map});
    CHECK(page.run("return document.querySelectorAll('.numbers table').length") == 0);  // made when opened
    const json table = opened_table(page, "#figure-perplexity");
    REQUIRE(table.size() == 7);
    CHECK(table[0] == json({"", "encoding"}));
    CHECK(table[1] == json({"length of the window (tokens)", "rope", "hope", "nope", "alibi", "yarn"}));
    for (int64_t length = 0; length < 5; ++length)
      for (int64_t encoding = 0; encoding < 5; ++encoding)
        CHECK(number(table[static_cast<size_t>(length + 2)][static_cast<size_t>(encoding + 1)]) ==
              doctest::Approx(curves.means.at({encoding, length})).epsilon(0.0005));
    // HoPE at distance 512 has none. The table follows the controls: head 2.
    const json cells = opened_table(page, "#figure-contribution");
    CHECK(cells.back().back() == "–");
    page.run("document.querySelectorAll('table.grid button')[2].click()");
    const json cell = page.run("return document.querySelector('#figure-contribution .numbers tbody td').textContent");
    CHECK(number(cell) == doctest::Approx(heat_map.means.at({0, 8, 0, 2, 0, 0})).epsilon(0.0005));
  }

  TEST_CASE("page: hostile names stay text, and nothing but its own script runs") {
    const TemporaryFolder folder;
    Figure figure = contribution_figure();
    figure.question = figure.claim = figure.measured = figure.command = figure.value_label = hostile_text;
    figure.means.name = figure.means.dimensions[0].name = hostile_text;
    figure.means.dimensions[0].name += "2";
    figure.means.dimensions[0].words = {hostile_text, "__proto__"};
    for (FigureAxis& axis : figure.axes) axis.label = hostile_text;
    for (Mark& mark : figure.marks) mark.label = hostile_text;
    Browser& page = opened(folder, {figure}, {.width = 400});
    opened_table(page, ".figure");
    const json rows = rows_at(page, ".figure", "8", "5");
    CHECK(rows[3][1] == hostile_text);
    CHECK(page.run("return document.querySelectorAll('img').length") == 0);
    CHECK(text_of(page, "h3") == hostile_text);
    CHECK(page.run("return document.title") == "Components");
    CHECK(page.run("return document.documentElement.scrollWidth <= innerWidth") == true);
    CHECK(page.messages().empty());

    page.run(
        "const script = document.createElement('script'); script.textContent = \"document.title = 'run'\";"
        "document.body.append(script)");
    page.run("document.body.insertAdjacentHTML('beforeend', '<img src=x.png onerror=\"document.title=1\">')");
    CHECK(page.run("return document.title") == "Components");
    const std::vector<std::string> refused = page.messages();
    REQUIRE(refused.size() == 3);
    const char* const planted[] = {"inline script", "inline event handler", "x.png"};
    for (size_t i = 0; i < 3; ++i) {
      CHECK_MESSAGE(refused[i].find(planted[i]) != std::string::npos, refused[i]);
      CHECK_MESSAGE(refused[i].find("Content Security Policy") != std::string::npos, refused[i]);
    }
  }

  TEST_CASE("page: dark is not light, narrow is not cut off, and paper is light") {
    const TemporaryFolder folder;
    const std::string fits = "return document.documentElement.scrollWidth <= innerWidth";
    const std::string pixels = "return document.querySelector('canvas').toDataURL()";
    Browser& page = opened(folder, sample_figures());
    CHECK(page.run(fits) == true);
    const json light = page.run(pixels);
    page.open(folder / "report.html", {.scheme = ColourScheme::dark});
    CHECK(page.run(fits) == true);
    CHECK(page.run(pixels) != light);
    page.run("dispatchEvent(new Event('beforeprint'))");
    CHECK(page.run(pixels) == light);
    page.run("dispatchEvent(new Event('afterprint'))");
    CHECK(page.run(pixels) != light);
    for (const ColourScheme scheme : {ColourScheme::light, ColourScheme::dark}) {
      page.open(folder / "report.html", {.width = 400, .scheme = scheme});
      CHECK(page.run(fits) == true);
      // The two panels stand one above the other, as wide as there is room.
      const json boxes = page.run(
          "return [...document.querySelectorAll('#figure-contribution .drawing')].map(drawing => "
          "{const box = drawing.getBoundingClientRect(); return [box.x, box.width]})");
      CHECK(boxes[0] == boxes[1]);
      CHECK(boxes[0][1].get<double>() > 340);
    }
    // Another width draws anew: text keeps its size.
    const std::string width = "return document.querySelector('#figure-u_shape .drawing svg').viewBox.baseVal.width";
    const double before = page.run(width);
    page.run("document.querySelector('main').style.width = '300px'; dispatchEvent(new Event('resize'))");
    CHECK(page.run(width).get<double>() < before - 50);
  }

  TEST_CASE("page: at 400 pixels tables and charts are whole without a sideways scroll") {
    const TemporaryFolder folder;
    Section section;
    section.tables = {{.columns = {"encoding", "64 = L/2", "128 = L", "256 = 2L", "512 = 4L", "1024 = 8L"},
                       .rows = {{"rope", "4.476", "4.350", "8.297", "15.538", "21.511"}},
                       .caption = "Perplexity per byte"}};
    section.charts = {{.title = "Perplexity per byte against the length of the window",
                       .x_label = "length of the window (tokens)",
                       .y_label = "perplexity per byte",
                       .log_x = true,
                       .series = {{"rope", {64, 128, 256, 512, 1024}, {4.5, 4.4, 8.3, 15.5, 21.5}},
                                  {"ntk_by_parts", {64, 128, 256, 512, 1024}, {4.5, 4.4, 4.8, 5.8, 7.4}}},
                       .marks = {{128, "L"}}}};
    write_text(folder / "report.html", html({.title = "Held-out text", .sections = {section}}));
    Browser& page = testing::browser();
    page.open(folder / "report.html", {.width = 400});
    CHECK(page.run(R"(
        return [...document.querySelectorAll('.wide, figure')].map(part => part.scrollWidth <= part.clientWidth))") ==
          json({true, true}));
    CHECK(page.run(R"(
        const {right} = document.querySelector('figure').getBoundingClientRect();
        return [...document.querySelectorAll('figure text')].filter(text => text.getBoundingClientRect().right > right)
            .map(text => text.textContent))") == json::array());
    // Letters are at least 7 pixels high in all, ticks 8.
    CHECK(page.run(R"(
        const svg = document.querySelector('figure svg'), scale = svg.getBoundingClientRect().width / 760;
        return [...svg.querySelectorAll('text')].every(text => parseFloat(getComputedStyle(text).fontSize) * scale > 7))") ==
          true);
  }

  TEST_CASE("page: lightness alone tells values apart, and small ones lie near the ground") {
    const TemporaryFolder folder;
    Figure diverging = contribution_figure(), sequential = contribution_figure();
    sequential.name = "sequential";
    sequential.diverging = false;
    for (const ColourScheme scheme : {ColourScheme::light, ColourScheme::dark}) {
      Browser& page = opened(folder, {diverging, sequential}, {.scheme = scheme});
      // CIE 1976 lightness, 0 to 100, along the bar.
      const auto lightness = [&](const std::string& figure) {
        return page
            .run(R"(
            return [...document.querySelectorAll(arguments[0] + ' .color-bar rect')].map(rect => {
              const [r, g, b] = rect.getAttribute('fill').match(/\d+/g).map(byte =>
                  byte / 255 <= 0.04045 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4);
              const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
              return luminance > 0.008856 ? 116 * Math.cbrt(luminance) - 16 : 903.3 * luminance;
            }))",
                 {figure})
            .get<std::vector<double>>();
      };
      const double sign = scheme == ColourScheme::light ? -1 : 1;
      const std::vector<double> even = lightness("#figure-sequential"), both = lightness("#figure-contribution");
      REQUIRE(even.size() == 64);
      const double step = (even.back() - even.front()) / 63;
      CHECK(std::abs(step) > 1);
      for (size_t i = 1; i < 64; ++i) {
        CAPTURE(i);
        CHECK((even[i] - even[i - 1]) / step > 0.5);
        CHECK((even[i] - even[i - 1]) / step < 1.6);
        CHECK((both[i] - both[i - 1]) * sign * (i < 32 ? -1 : 1) >= (i == 32 ? -1 : 0.5));
        CHECK(std::abs(both[i] - both[63 - i]) < 8);  // as far from 0, as light
      }
    }
  }

  TEST_CASE("page: figures of unusual shape are drawn, or say that there is nothing") {
    const TemporaryFolder folder;
    Browser& page = opened(folder, unusual_figures());
    CHECK(page.messages().empty());
    const std::string wrong = "return document.querySelector('main').innerHTML.match(/NaN|Infinity|undefined/g)";
    CHECK(page.run(wrong) == nullptr);
    CHECK(page.run("return document.querySelectorAll('#figure-many_curves .legend .key').length") == 40);
    CHECK(page.run("return document.querySelectorAll('#figure-panels .drawing').length") == 6);
    CHECK(page.run("return document.querySelectorAll('#figure-grid button').length") == 12 * 16);
    for (const char* const empty : {"nothing", "no_logarithm"})
      CHECK_MESSAGE(text_of(page, std::string("#figure-") + empty + " .drawing") == "nothing to draw", empty);
    CHECK(page.run("return document.querySelectorAll('#figure-one_value .marker').length") == 1);
    CHECK(page.run("return [...document.querySelectorAll('#figure-large .tick')].some(tick => "
                   "tick.textContent === '2e12')") == true);
    CHECK(page.run("return [...document.querySelectorAll('#figure-decades .tick[text-anchor=end]')].map(tick => "
                   "tick.textContent)") == json({"5", "10", "20", "50", "100", "200", "500"}));
    // Small numbers keep their digits: 0.001 + sin(1 / 3) * 1e-5 + sin(1) / 4 * 1e-5 at 1.
    CHECK(rows_at(page, "#figure-small", "1", "").back()[1] == "0.001005 ± 0.0000023");
    CHECK(opened_table(page, "#figure-small")[2] == json({"1", "0.001005 ± 0.0000023"}));
    // One of many curves is told by the pointer.
    const json rows = rows_at(page, "#figure-many_curves", "4", "");
    CHECK(rows.size() == 2);
    page.open(folder / "report.html", {.width = 400, .scheme = ColourScheme::dark});
    CHECK(page.run("return document.documentElement.scrollWidth <= innerWidth") == true);
    CHECK(page.run(wrong) == nullptr);
    CHECK(page.messages().empty());
  }

  TEST_CASE("page: against words there are points with error bars beside each other, and no lines") {
    const TemporaryFolder folder;
    Browser& page = opened(folder, unusual_figures());
    const std::string id = "#figure-categories";
    const auto count = [&](const std::string& part) {
      return page.run("return document.querySelectorAll(arguments[0]).length", {id + " .drawing " + part});
    };
    CHECK(count(".curve") == 3);
    CHECK(count(".marker") == 9);
    CHECK(count(".error-bar") == 9);
    CHECK(count(".line") == 0);
    CHECK(count(".band") == 0);
    CHECK(page.run("return document.querySelectorAll('#figure-categories .legend .key path').length") == 3);
    // The middle encoding stands at the words, the others left and right of it.
    const auto places = page.run(R"(
        const x = (element) => { const box = element.getBoundingClientRect(); return box.x + box.width / 2; };
        const all = (part) => [...document.querySelectorAll('#figure-categories .drawing ' + part)].map(x);
        return [all('.tick[text-anchor=middle]'), all('.marker')])");
    for (size_t word = 0; word < 3; ++word) {
      const double tick = places[0][word];
      CHECK(places[1][3 + word].get<double>() == doctest::Approx(tick).epsilon(0.001));
      CHECK(places[1][word].get<double>() < tick - 8);
      CHECK(places[1][6 + word].get<double>() > tick + 8);
    }
    CHECK(rows_at(page, id, "all", "").size() == 4);
  }

  TEST_CASE("page: of many curves the one that is pointed at stands out, in the drawing and in the legend") {
    const TemporaryFolder folder;
    Browser& page = opened(folder, unusual_figures());
    const auto standing_out = [&](const std::string& figure) {
      return page.run(R"(
          const curves = [...document.querySelectorAll(arguments[0] + ' .curve')];
          return curves.flatMap((curve, i) => curve.classList.contains('faded') ? [] : [i]))",
                      {"#figure-" + figure});
    };
    CHECK(standing_out("many_encodings").size() == 12);
    rows_at(page, "#figure-many_encodings", "30", "");  // scrolls there, which hides the tooltip
    page.run("return new Promise(resolve => setTimeout(resolve, 100))");
    rows_at(page, "#figure-many_encodings", "30", "");
    CHECK(standing_out("many_encodings").size() == 1);
    page.hover("#figure-many_encodings h3");
    CHECK(standing_out("many_encodings").size() == 12);
    page.hover("#figure-panels .legend span:nth-child(3)");
    CHECK(standing_out("panels") == json({2, 6, 10, 14, 18, 22}));  // of each of the six drawings
    page.hover("#figure-panels h3");
    CHECK(standing_out("panels").size() == 24);
    // No two of the twelve look alike.
    CHECK(page.run(R"(
        const lines = [...document.querySelectorAll('#figure-many_encodings .line')];
        return new Set(lines.map(line => line.getAttribute('stroke') + line.getAttribute('stroke-dasharray'))).size)") ==
          12);
  }

  TEST_CASE("page: labels of marks do not touch") {
    const TemporaryFolder folder;
    for (const int width : {1280, 400}) {
      Browser& page = opened(folder, unusual_figures(), {.width = width});
      CHECK(page.run(R"(
          const boxes = [...document.querySelectorAll('#figure-many_marks .plate')].map(plate => plate.getBBox());
          const touch = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
          return boxes.length === 3 && !boxes.some((a, i) => boxes.slice(i + 1).some(b => touch(a, b))))") == true);
    }
  }

  TEST_CASE("page: fifteen figures are there within a second") {
    const TemporaryFolder folder;
    std::vector<Figure> figures;
    for (int i = 0; i < 15; ++i) {
      figures.push_back(sample_figures()[static_cast<size_t>(i % 3)]);
      figures.back().name += std::to_string(i);
    }
    double best = 1e9;
    for (int i = 0; i < 5 && best >= 1000; ++i) {  // the machine may have other work
      Browser& page = opened(folder, figures);
      CHECK(page.run("return document.querySelectorAll('.drawing svg').length") == 20);
      best = std::min<double>(best, page.run("return performance.getEntriesByType('navigation')[0].loadEventEnd"));
    }
    CHECK(best < 1000);
  }
}

}  // namespace
}  // namespace phasor
