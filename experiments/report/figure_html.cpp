// Figures as HTML and JSON.
#include "experiments/report/figure_html.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "experiments/report/text.hpp"

namespace phasor {
namespace {

using Json = nlohmann::ordered_json;

Json dimension_json(const Dimension& dimension, const FigureAxis& axis) {
  const int64_t shown = axis.first_shown < 0 ? dimension.size() - 1 : axis.first_shown;
  return {{"name", dimension.name},
          {"label", axis.label},
          {"role", name_of(axis.role)},
          {"logarithmic", axis.logarithmic},
          {"shown", shown},
          {"entries", dimension.words.empty() ? Json(dimension.numbers) : Json(dimension.words)}};
}

// Of the largest number, so that it has four digits before the point.
int shared_exponent(const Figure& figure) {
  double largest = 0;
  for (const auto* const numbers : {&figure.means.values, &figure.half_widths})
    for (const double number : *numbers)
      if (std::isfinite(number)) largest = std::max(largest, std::abs(number));
  return largest > 1e-290 ? static_cast<int>(std::floor(std::log10(largest))) - 3 : 0;
}

// With so many significant digits, and no more characters than it needs: 120, not 1.2e+02.
std::string rounded_text(double value, int digits) {
  const std::string text = fmt::format("{:.{}g}", value, digits);
  double rounded = 0;
  std::from_chars(text.data(), text.data() + text.size(), rounded);
  return number_text(rounded);
}

std::string numbers_json(const std::vector<double>& numbers, int exponent, int digits) {
  std::string text = "[";
  for (const double number : numbers) {
    if (text.size() > 1) text += ',';
    if (!std::isfinite(number)) {
      text += "null";
    } else {
      text += rounded_text(number * std::pow(10.0, -exponent), digits);
    }
  }
  return text + "]";
}

// JSON has these three only inside strings.
std::string without_markup(const std::string& json) {
  std::string text;
  for (const char c : json) {
    if (c == '<' || c == '>' || c == '&') {
      fmt::format_to(std::back_inserter(text), "\\u{:04x}", c);
    } else {
      text += c;
    }
  }
  return text;
}

std::string badge(Verdict verdict) {
  const char* const name = name_of(verdict);
  return fmt::format("<span class=\"badge {}\">{}</span>", name, name);
}

}  // namespace

std::string figure_json(const Figure& figure) {
  check(figure);
  Json json = {{"valueLabel", figure.value_label},       {"logarithmic", figure.logarithmic},
               {"diverging", figure.diverging},          {"dimensions", Json::array()},
               {"markDimension", figure.mark_dimension}, {"marks", Json::array()}};
  for (size_t i = 0; i < figure.axes.size(); ++i)
    json["dimensions"].push_back(dimension_json(figure.means.dimensions[i], figure.axes[i]));
  for (const Mark& mark : figure.marks) json["marks"].push_back({{"at", mark.x}, {"label", mark.label}});
  const int exponent = shared_exponent(figure);
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.pop_back();
  return without_markup(text + fmt::format(",\"exponent\":{},\"values\":{},\"halfWidths\":{}}}", exponent,
                                           numbers_json(figure.means.values, exponent, 4),
                                           numbers_json(figure.half_widths, exponent, 2)));
}

std::string figure_html(const Figure& figure) {
  const auto item = [](const char* term, const std::string& text) {
    return text.empty() ? "" : fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", term, escaped(text));
  };
  return fmt::format(
      "<article class=\"figure\" id=\"figure-{}\">\n"
      "<h3>{}</h3>\n<p>{}</p>\n<dl>\n{}{}</dl>\n"
      "<div class=\"stage\"></div>\n<noscript><p>The drawing needs a browser that runs scripts.</p></noscript>\n"
      "<script type=\"application/json\">{}</script>\n{}</article>\n",
      figure.name, escaped(figure.question), badge(figure.verdict),
      item(figure.verdict == Verdict::shown ? "Drawn" : "Measured", figure.measured), item("Claim", figure.claim),
      figure_json(figure),
      figure.command.empty()
          ? ""
          : fmt::format("<p class=\"command\">Draw it again: <code>{}</code></p>\n", escaped(figure.command)));
}

std::string overview_html(const std::vector<const Figure*>& figures) {
  std::string judged, shown;
  for (const Figure* const figure : figures) {
    const std::string link = fmt::format("<a href=\"#figure-{}\">{}</a>", figure->name, escaped(figure->question));
    if (figure->verdict == Verdict::shown) {
      shown += fmt::format("<li>{}</li>\n", link);
    } else {
      judged += fmt::format("<li>{} <div>{} <small>{}</small></div></li>\n", badge(figure->verdict), link,
                            escaped(figure->claim));
    }
  }
  std::string text = "<nav aria-label=\"Questions\">\n";
  if (!judged.empty()) text += "<ol>\n" + judged + "</ol>\n";
  if (!shown.empty())
    text += fmt::format("<p>{}</p>\n<ul>\n{}</ul>\n", judged.empty() ? "Shown:" : "Also shown:", shown);
  return text + "</nav>\n";
}

std::string policy_hash(std::string_view script) {
  std::array<unsigned char, 32> digest;
  require<ResourceError>(EVP_Digest(script.data(), script.size(), digest.data(), nullptr, EVP_sha256(), nullptr) == 1,
                         "html", "OpenSSL computes no SHA-256");
  std::array<unsigned char, 45> text;  // 4 characters for each 3 bytes begun, and a zero
  EVP_EncodeBlock(text.data(), digest.data(), digest.size());
  return fmt::format("'sha256-{}'", reinterpret_cast<const char*>(text.data()));
}

}  // namespace phasor
