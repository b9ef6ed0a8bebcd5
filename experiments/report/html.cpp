// The page around tables and charts.
#include "experiments/report/html.hpp"

#include <set>

#include "core/error.hpp"
#include "experiments/report/figure_html.hpp"
#include "experiments/report/text.hpp"

namespace phasor {
namespace {

// The series colours of the dark page are the palette's, lightened where they would sink into the ground.
constexpr const char* style = R"(
:root{color-scheme:light dark;--paper:#fff;--ink:#1c1e21;--muted:#62676e;--grid:#e3e5e8;--tint:#f5f6f8;--warn:#fff3d6;--warn-edge:#e69f00;--series-0:#d55e00;--series-1:#0072b2;--series-2:#009e73;--series-3:#cc79a7;--series-4:#b97f00;--series-5:#2f93c9;--series-6:#7f7f7f;--series-7:#a39a00}
@media (prefers-color-scheme:dark){:root{--paper:#15171a;--ink:#e6e8ea;--muted:#9aa1a9;--grid:#30343a;--tint:#1e2125;--warn:#3a2f12;--warn-edge:#e69f00;--series-0:#ff8a3d;--series-1:#5ab0ee;--series-2:#2cc79b;--series-3:#e59cc4;--series-4:#f0b429;--series-5:#8fd0f5;--series-6:#a9a9a9;--series-7:#f0e442}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:860px;margin:0 auto;padding:40px 24px 64px}
h1{font-size:28px;line-height:1.25;margin:0 0 12px}
h2{font-size:20px;margin:44px 0 12px}
p{margin:0 0 12px;max-width:70ch}
.verdict{font-size:18px;line-height:1.5;margin:0 0 8px;padding:12px 16px;background:var(--tint);border-left:4px solid var(--series-1,#0072b2);border-radius:4px;max-width:none}
.banner{margin:0 0 20px;padding:12px 16px;background:var(--warn);border-left:4px solid var(--warn-edge);border-radius:4px;max-width:none}
h1,h2,p,th,td,caption,pre{unicode-bidi:isolate;overflow-wrap:anywhere}
.wide{overflow-x:auto;margin:16px 0 24px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{caption-side:top;text-align:left;color:var(--muted);font-size:14px;padding:0 0 8px}
th,td{padding:6px 22px 6px 0;text-align:left;border-bottom:1px solid var(--grid);overflow-wrap:normal}
th{font-weight:600;color:var(--muted);font-size:14px}
.number{text-align:right;padding:6px 0 6px 22px}
tbody th{color:var(--ink);font-size:16px}
figure{margin:20px 0 28px;overflow-x:auto}
svg{display:block;width:100%;min-width:560px;height:auto}
pre{background:var(--tint);padding:14px 16px;border-radius:4px;font:13px/1.5 ui-monospace,monospace;white-space:pre-wrap}
@media (max-width:600px){main{padding:24px 16px 48px}th,td,tbody th{font-size:14px;padding-right:10px}.number{padding:6px 0 6px 10px}figure{padding-right:12px}figure svg{min-width:0;overflow:visible}figure text{font-size:19px}figure text[font-weight="600"]:not([x="0"]){font-size:16px}}
@media print{:root{color-scheme:light}main{max-width:none;padding:0}h2,caption{break-after:avoid}figure,tr,.verdict,.banner{break-inside:avoid}pre,.verdict,.banner{border:1px solid #999}}
)";

std::string element(const std::string& name, const std::string& attributes, const std::string& text) {
  return "<" + name + attributes + ">" + escaped(text) + "</" + name + ">\n";
}

std::string paragraphs(const std::string& text) {
  std::string result;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find("\n\n", start), text.size());
    if (end > start) result += element("p", "", text.substr(start, end - start));
    start = end + 2;
  }
  return result;
}

std::string table_html(const Table& table) {
  std::string text = "<div class=\"wide\"><table>\n";
  if (!table.caption.empty()) text += element("caption", "", table.caption);
  std::vector<std::string> attributes;
  for (size_t column = 0; column < table.columns.size(); ++column) {
    for (const auto& row : table.rows) {
      require<ValueError>(row.size() == table.columns.size(), "html", "a row of table '", table.caption, "' has ",
                          row.size(), " cells; the table has ", table.columns.size(), " columns");
    }
    attributes.push_back(is_number_column(table, column) ? " class=\"number\"" : "");
  }
  text += "<thead><tr>\n";
  for (size_t column = 0; column < table.columns.size(); ++column) {
    text += element("th", " scope=\"col\"" + attributes[column], table.columns[column]);
  }
  text += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    text += "<tr>\n";
    for (size_t column = 0; column < row.size(); ++column) {
      // The first cell names the row.
      text += column == 0 ? element("th", " scope=\"row\"" + attributes[column], row[column])
                          : element("td", attributes[column], row[column]);
    }
    text += "</tr>\n";
  }
  return text + "</tbody>\n</table></div>\n";
}

std::vector<const Figure*> figures_of(const Report& report) {
  std::vector<const Figure*> figures;
  std::set<std::string> names;
  for (const Section& section : report.sections) {
    for (const Figure& figure : section.figures) {
      require<ValueError>(names.insert(figure.name).second, "html", "two figures are named '", figure.name,
                          "'; each needs a name of its own");
      figures.push_back(&figure);
    }
  }
  return figures;
}

}  // namespace

std::string html(const Report& report) {
  const std::vector<const Figure*> figures = figures_of(report);
  std::string policy = "default-src 'none'; style-src 'unsafe-inline'";
  if (!figures.empty()) policy += "; script-src " + policy_hash(page_script);
  std::string page =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"" +
      policy +
      "\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  page += element("title", "", report.title);
  page += std::string("<style>") + style + "</style>\n";
  if (!figures.empty()) page += "<style>" + std::string(page_style) + "</style>\n";
  page += "</head>\n<body>\n<main>\n";
  if (!report.banner.empty()) page += element("p", " class=\"banner\" role=\"alert\"", report.banner);
  page += element("h1", "", report.title);
  if (!report.verdict.empty()) page += element("p", " class=\"verdict\"", report.verdict);
  if (!figures.empty()) page += overview_html(figures);
  for (const Section& section : report.sections) {
    page += "<section>\n";
    if (!section.heading.empty()) page += element("h2", "", section.heading);
    page += paragraphs(section.text);
    for (const Table& table : section.tables) page += table_html(table);
    for (const Chart& chart : section.charts) page += "<figure>\n" + svg(chart) + "</figure>\n";
    for (const Figure& figure : section.figures) page += figure_html(figure);
    if (!section.listing.empty()) page += element("pre", "", section.listing);
    page += "</section>\n";
  }
  page += "</main>\n";
  if (!figures.empty()) page += "<script type=\"module\">" + std::string(page_script) + "</script>\n";
  return page + "</body>\n</html>\n";
}

}  // namespace phasor
