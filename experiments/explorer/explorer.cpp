// Puts the page together from its files, and checks where it begins.
#include "experiments/explorer/explorer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/error.hpp"
#include "core/nearest_name.hpp"
#include "experiments/report/figure_html.hpp"
#include "experiments/report/text.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor {

extern const std::string_view explorer_body, explorer_style, explorer_script;

namespace {

void require_within(const char* key, double value, double low, double high) {
  require<UsageError>(value >= low && value <= high, "explore", key, " is ", number_text(value), "; the page shows ",
                      number_text(low), " to ", number_text(high));
}

void require_shown(const Settings& start) {
  Settings rest = start;
  const Settings defaults = explorer_defaults();
  rest.encoding = defaults.encoding;
  rest.encoding.layout = start.encoding.layout;
  rest.model.width = defaults.model.width;
  rest.model.heads = defaults.model.heads;
  rest.train.length = defaults.train.length;
  const std::string keys = differing_keys(defaults, rest);
  require<UsageError>(keys.empty(), "explore", "the page knows nothing of ", keys,
                      "; it has encoding.name, base, fraction and factor, train.length, model.width and model.heads");

  encoding_named(start.encoding.name);  // says the nearest name
  std::string known;
  for (const std::string& name : explorer_encodings()) known += (known.empty() ? "" : ", ") + name;
  const bool is_known = std::count(explorer_encodings().begin(), explorer_encodings().end(), start.encoding.name) > 0;
  require<UsageError>(is_known, "explore", start.encoding.name,
                      " has no table of frequencies that its settings fix; needs one of: ", known);
  require_within("the head size (model.width / model.heads)",
                 static_cast<double>(start.model.width / start.model.heads), 8, 128);
  require_within("train.length", static_cast<double>(start.train.length), 16, 8192);
  require_within("encoding.factor", start.encoding.factor, 1, 64);
  require_within("encoding.base", start.encoding.base, 10, 1e7);
  require_within("encoding.fraction", start.encoding.fraction, 0.25, 1);
}

}  // namespace

Settings explorer_defaults() {
  Settings settings;
  settings.encoding.name = "hope";
  return settings;
}

const std::vector<std::string>& explorer_encodings() {
  static const std::vector<std::string> names = {"rope",    "hope",         "p_rope", "partial",    "interpolation",
                                                 "ntk",     "ntk_by_parts", "yarn",   "yarn_paper", "llama3",
                                                 "clipped", "clipped_hard", "xpos",   "nope"};
  return names;
}

std::string explorer_page(const Settings& start) {
  require_shown(start);
  const std::string begins =
      fmt::format("encoding={}&base={}&head={}&length={}&factor={}&fraction={}&distance={}", start.encoding.name,
                  number_text(start.encoding.base), start.model.width / start.model.heads, start.train.length,
                  number_text(start.encoding.factor), number_text(start.encoding.fraction), 2 * start.train.length);
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src "
      "data:; script-src {}\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>Positional encodings, component by component</title>\n<style>\n{}</style>\n</head>\n"
      "<body data-start=\"{}\">\n{}<script>{}</script>\n</body>\n</html>\n",
      policy_hash(explorer_script), explorer_style, escaped(begins), explorer_body, explorer_script);
}

}  // namespace phasor
