// What tests of pages with figures do in a browser: open them, read drawings, tooltips and tables.
#pragma once

#include "experiments/report/html.hpp"
#include "tests/support/browser.hpp"

namespace phasor::testing {

using nlohmann::json;

// The folder must outlive what is looked at.
inline Browser& opened(const TemporaryFolder& folder, const std::vector<Figure>& figures, const View& view = {}) {
  write_text(folder / "report.html", html({.title = "Components", .sections = {{.figures = figures}}}));
  testing::browser().open(folder / "report.html", view);
  return testing::browser();
}

inline std::string text_of(Browser& page, const std::string& element) {
  return page.run("return document.querySelector(arguments[0]).textContent", {element});
}

// The drawing as a number that differs where it differs: all pixels of its canvases and all its SVG.
inline std::string drawing_of(Browser& page, const std::string& figure) {
  return page.run(
      "const stage = document.querySelector(arguments[0] + ' .panels');"
      "return stage.innerHTML + [...stage.querySelectorAll('canvas')].map(canvas => canvas.toDataURL()).join()",
      {figure});
}

// Moves the pointer over the first drawing of a figure, to where its ticks say that x and y stand, and returns the
// tooltip's rows as [label, value]. An empty y: to the middle of the drawing.
inline json rows_at(Browser& page, const std::string& figure, const std::string& x, const std::string& y) {
  return page.run(R"(
      const [figure, x, y] = arguments;
      const drawing = document.querySelector(figure + ' .drawing');
      drawing.scrollIntoView({block: 'center', behavior: 'instant'});
      const tick = (text, anchor) => {
        const all = [...drawing.querySelectorAll(`.tick[text-anchor=${anchor}]`)];
        return all.find(tick => tick.textContent === text).getBoundingClientRect();
      };
      const box = drawing.getBoundingClientRect(), at = tick(x, 'middle');
      const clientX = at.x + at.width / 2;
      let clientY = box.y + box.height / 2;
      if (y) { const at = tick(y, 'end'); clientY = at.y + at.height / 2; }
      const target = document.elementFromPoint(clientX, clientY);
      target.dispatchEvent(new PointerEvent('pointermove', {clientX, clientY, bubbles: true}));
      const tooltip = document.querySelector('.tooltip');
      return tooltip.hidden ? null : [...tooltip.children].map(row =>
          [row.querySelector('span:not(.swatch)').textContent, row.querySelector('b').textContent]))",
                  {figure, x, y});
}

// Opens the table of a figure's numbers; its rows.
inline json opened_table(Browser& page, const std::string& figure) {
  page.click(figure + " summary");
  return page.run(R"(
      return new Promise(resolve => {
        const look = () => {
          const rows = [...document.querySelectorAll(arguments[0] + ' tr:not(.grid tr)')];
          if (rows.length === 0) return requestAnimationFrame(look);
          resolve(rows.map(row => [...row.children].map(cell => cell.textContent)));
        };
        look();
      }))",
                  {figure});
}

// As the page says it: with four digits.
inline double number(const json& text) { return std::stod(text.get<std::string>()); }

}  // namespace phasor::testing
