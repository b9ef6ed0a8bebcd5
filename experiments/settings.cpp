// Reading, checking and writing settings, all by the one table of keys.
#include "experiments/settings.hpp"

// toml++ asserts that its parser stands where it thinks; a stray bracket proves it wrong. That is the file's error.
#include <stdexcept>
#define TOML_ASSERT(condition) ((condition) ? void() : throw std::logic_error("not valid TOML"))
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wterminate"  // some assert inside noexcept, where both ways end the program
#include <toml++/toml.h>
#pragma GCC diagnostic pop

#include <algorithm>
#include <cctype>
#include <charconv>
#include <concepts>
#include <cstring>
#include <set>
#include <type_traits>

#include "core/error.hpp"
#include "core/nearest_name.hpp"
#include "nn/files.hpp"

namespace phasor {

// ---- numbers and strings as TOML writes them; to_chars and not streams: a locale may print 0,5

static std::string text_of(int64_t value) { return std::to_string(value); }

// A template: a pointer would turn into a bool.
static std::string text_of(std::same_as<bool> auto value) { return value ? "true" : "false"; }

static std::string text_of(double value) {
  char digits[32];
  std::string text(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";  // else TOML reads an integer
  return text;
}

static std::string text_of(const std::string& value) {
  constexpr char hex[] = "0123456789ABCDEF";
  std::string text = "\"";
  for (const char c : value) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text += {'\\', c};
    } else if (code < 0x20 || code == 0x7F) {
      text += std::string("\\u00") + hex[code >> 4] + hex[code & 15];
    } else {
      text += c;
    }
  }
  return text + '"';
}

template <class T>
static std::string text_of(const std::vector<T>& values) {
  std::string text = "[";
  for (const T& value : values) text += (text.size() > 1 ? ", " : "") + text_of(value);
  return text + "]";
}

// ---- one value

// A value that came: as TOML sees it, as a message shows it, and from where ("FILE:LINE:COLUMN" or "--set ...").
struct Given {
  const toml::node& node;
  std::string shown;
  std::string place;
};

[[noreturn]] static void refuse(const std::string& name, const Given& given, const std::string& needed) {
  throw UsageError("settings: " + name + " is " + given.shown + "; needs " + needed + " (" + given.place + ")");
}

static std::string needed(const IntegerRange& range) {
  return "an integer from " + text_of(range.low) + " to " + text_of(range.high);
}

static std::string needed(const RealRange& range) {
  return std::string("a number ") + (range.includes_low ? ">= " : "> ") + text_of(range.low) + " and " +
         (range.includes_high ? "<= " : "< ") + text_of(range.high);
}

static std::string needed(const AnyText& range) {
  return range.may_be_empty ? "text in quotes" : "text in quotes that is not empty";
}

// Whether the node holds such a value; then `value` is it.
static bool read_within(const toml::node& node, int64_t& value, const IntegerRange& range) {
  const toml::value<int64_t>* const integer = node.as_integer();
  if (!integer || integer->get() < range.low || integer->get() > range.high) return false;
  value = integer->get();
  return true;
}

static bool read_within(const toml::node& node, double& value, const RealRange& range) {
  if (!node.is_number()) return false;
  const double number =
      node.is_integer() ? static_cast<double>(node.as_integer()->get()) : node.as_floating_point()->get();
  const bool above = range.includes_low ? number >= range.low : number > range.low;
  const bool below = range.includes_high ? number <= range.high : number < range.high;
  if (!(above && below)) return false;  // NaN is neither
  value = number;
  return true;
}

static bool read_within(const toml::node& node, std::string& value, const AnyText& range) {
  if (range.may_be_number && node.is_number()) {
    value = node.is_integer() ? text_of(node.as_integer()->get()) : text_of(node.as_floating_point()->get());
    return true;
  }
  const toml::value<std::string>* const text = node.as_string();
  if (!text || (text->get().empty() && !range.may_be_empty)) return false;
  value = text->get();
  return true;
}

template <class T, class Range>
static void read_value(const std::string& name, const Given& given, T& value, const Range& range) {
  if (!read_within(given.node, value, range)) refuse(name, given, needed(range));
}

static void read_value(const std::string& name, const Given& given, bool& value, const YesOrNo&) {
  if (!given.node.is_boolean()) refuse(name, given, "true or false");
  value = given.node.as_boolean()->get();
}

static void read_value(const std::string& name, const Given& given, std::string& value, const OneOf& range) {
  const toml::value<std::string>* const text = given.node.as_string();
  if (text && std::find(range.names.begin(), range.names.end(), text->get()) != range.names.end()) {
    value = text->get();
    return;
  }
  std::string choices = "one of";
  for (const std::string& choice : range.names) choices += (&choice == &range.names[0] ? " " : ", ") + text_of(choice);
  refuse(name, given, choices);
}

template <class T, class Range>
static void read_value(const std::string& name, const Given& given, std::vector<T>& value, const Range& range) {
  const char* const form = std::is_same_v<T, std::string> ? "[\"a\", \"b\", ...]" : "[a, b, ...]";
  const std::string list = std::string("a list ") + form + "; each of them " + needed(range);
  if (!given.node.is_array()) refuse(name, given, list);
  std::vector<T> values;
  for (const toml::node& element : *given.node.as_array())
    if (!read_within(element, values.emplace_back(), range)) refuse(name, given, list);
  value = values;
}

// ---- the keys

static std::vector<std::string> setting_names() {
  std::vector<std::string> names;
  const Settings settings;
  visit_settings(settings, [&](std::string_view name, auto&&...) { names.emplace_back(name); });
  return names;
}

static bool is_section(const std::string& name) {
  const std::vector<std::string> names = setting_names();
  return std::any_of(names.begin(), names.end(), [&](const std::string& n) { return n.starts_with(name + "."); });
}

[[noreturn]] static void refuse_unknown(const std::string& name, const std::string& place) {
  // A name without its section is compared without sections: 'lerning_rate' is near train.learning_rate.
  std::vector<std::string> names = setting_names(), compared = names;
  if (name.find('.') == std::string::npos) {
    for (std::string& n : compared) n.erase(0, n.find('.') + 1);
  }
  std::string message = "settings: unknown setting '" + name + "'";
  const std::string nearest = nearest_name(name, compared);
  if (!nearest.empty()) {
    const size_t index = std::find(compared.begin(), compared.end(), nearest) - compared.begin();
    message += "; did you mean '" + names[index] + "'?";
  }
  throw UsageError(message + " (list: phasor list settings) (" + place + ")");
}

static void read_setting(Settings& settings, const std::string& name, const Given& given) {
  bool known = false;
  visit_settings(settings, [&](std::string_view key, std::string_view, auto& value, const auto& range) {
    if (key != name) return;
    known = true;
    read_value(name, given, value, range);
  });
  if (!known) refuse_unknown(name, given.place);
}

// ---- files

static std::string shown(const toml::node& node) {
  if (const auto* text = node.as_string()) return text_of(text->get());
  if (const auto* integer = node.as_integer()) return text_of(integer->get());
  if (const auto* number = node.as_floating_point()) return text_of(number->get());
  if (const auto* boolean = node.as_boolean()) return text_of(boolean->get());
  if (node.is_table()) return "a section";
  if (const auto* array = node.as_array()) {
    std::string text = "[";
    for (const toml::node& element : *array) {
      if (text.size() > 60) return text + ", ...]";
      text += (text.size() > 1 ? ", " : "") + (element.is_array() ? "[...]" : shown(element));
    }
    return text + "]";
  }
  return "a date or time";
}

static std::string place_of(const toml::source_region& region, const std::string& file_name) {
  return file_name + ":" + std::to_string(region.begin.line) + ":" + std::to_string(region.begin.column);
}

static void read_section(Settings& settings, const toml::table& table, const std::string& prefix,
                         const std::string& file_name) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    const Given given{node, shown(node), place_of(key.source(), file_name)};
    if (!is_section(name)) {
      const toml::table* const inner = node.as_table();
      const bool misspelt_section = prefix.empty() && inner && !inner->empty() && name != "corpus";
      if (misspelt_section) refuse_unknown(name + "." + std::string(inner->begin()->first.str()), given.place);
      read_setting(settings, name, given);
    } else if (node.is_table()) {
      read_section(settings, *node.as_table(), name + ".", file_name);
    } else {
      refuse(name, given, "to be a section: [" + name + "] and its settings below");
    }
  }
}

// The longest true file is a few kilobytes. toml++ recurses once per dot of a key: the bound keeps it on the stack.
constexpr size_t largest_file = 1 << 16;

void read_toml(Settings& settings, std::string_view text, const std::string& file_name) {
  if (text.size() > largest_file) {
    throw UsageError("settings: " + file_name + " has " + std::to_string(text.size()) +
                     " bytes; a settings file has at most " + std::to_string(largest_file));
  }
  try {
    read_section(settings, toml::parse(text), "", file_name);
  } catch (const toml::parse_error& error) {
    throw UsageError("settings: " + std::string(error.description()) + " (" + place_of(error.source(), file_name) +
                     ")");
  } catch (const std::logic_error& error) {
    throw UsageError("settings: " + std::string(error.what()) + " (" + file_name + ")");
  }
}

// ---- the command line

static std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

static std::string assigned_name(const std::string& assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UsageError("settings: --set needs key=value, for example train.steps=900; got '" + assignment + "'");
  }
  return trimmed(assignment.substr(0, equals));
}

// [rope, hope] to ["rope", "hope"]; anything else as it is.
static std::string with_quoted_names(const std::string& list) {
  std::string quoted;
  bool inside = false;
  for (const char c : list) {
    const bool of_name = std::isalnum(static_cast<unsigned char>(c)) || c == '_';
    const bool of_other = !of_name && !std::strchr("[], \t", c);
    if (of_other || (of_name && !inside && std::isdigit(static_cast<unsigned char>(c)))) return list;
    if (of_name != inside) quoted += '"';
    inside = of_name;
    quoted += c;
  }
  return quoted;
}

void assign(Settings& settings, const std::string& assignment) {
  const std::string name = assigned_name(assignment), text = trimmed(assignment.substr(assignment.find('=') + 1));
  const std::string place = "--set " + assignment;

  bool wants_text = false, wants_names = false, known = false;
  visit_settings(settings, [&](std::string_view key, std::string_view, auto& value, const auto&) {
    if (key != name) return;
    known = true;
    wants_text = std::is_same_v<decltype(value), std::string&>;
    wants_names = std::is_same_v<decltype(value), std::vector<std::string>&>;
  });
  if (!known) refuse_unknown(name, place);

  const bool is_quoted = text.starts_with('"') || text.starts_with('\'');
  const std::string shown = text.empty() ? "empty" : text;
  toml::table table;
  try {
    table = toml::parse("value = " + (wants_text && !is_quoted ? text_of(text)
                                      : wants_names            ? with_quoted_names(text)
                                                               : text));
  } catch (const toml::parse_error&) {
    if (wants_text)
      throw UsageError("settings: " + name + " is " + shown + "; needs UTF-8 text" +
                       (is_quoted ? " that ends with the quote it begins with, or no quotes (" : " (") + place + ")");
    table.insert("value", text);  // a word where no word belongs: refused below with what is needed
  } catch (const std::logic_error& error) {
    throw UsageError("settings: " + name + " is " + shown + ", which is " + error.what() + " (" + place + ")");
  }
  if (table.size() != 1) throw UsageError("settings: " + name + " is more than one line (" + place + ")");
  read_setting(settings, name, {*table.get("value"), shown, place});
}

Settings apply(Settings settings, const SettingsChanges& changes) {
  if (!changes.config.empty()) {
    const std::vector<std::byte> bytes = read_file(changes.config);
    read_toml(settings, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, changes.config.string());
  }
  std::set<std::string> names;
  for (const std::string& assignment : changes.assignments) {
    const std::string name = assigned_name(assignment);
    if (!names.insert(name).second) {
      throw UsageError("settings: " + name + " is set twice on the command line; needs one value (--set " + assignment +
                       ")");
    }
    assign(settings, assignment);
  }
  validate(settings);
  return settings;
}

std::string differing_keys(const Settings& there, const Settings& here) {
  std::vector<std::string> values;
  visit_settings(there,
                 [&](const char*, const char*, const auto& value, const auto&) { values.push_back(text_of(value)); });
  std::string keys;
  size_t key_index = 0;
  visit_settings(here, [&](const char* key, const char*, const auto& value, const auto&) {
    const std::string& other = values[key_index++];
    if (other != text_of(value))
      keys += (keys.empty() ? "" : ", ") + std::string(key) + " (" + other + " there, " + text_of(value) + " here)";
  });
  return keys;
}

// ---- between settings

std::vector<int64_t> evaluation_lengths(const Settings& settings) {
  const std::set<int64_t> given(settings.eval.lengths.begin(), settings.eval.lengths.end());  // ascending
  if (!given.empty()) return {given.begin(), given.end()};
  const int64_t length = settings.train.length;
  return {length / 2, length, 2 * length, 4 * length, 8 * length};
}

template <class... Parts>
static void require_setting(bool ok, const Parts&... parts) {
  if (ok) return;
  std::string message = "settings: ";
  ((message += parts), ...);
  throw UsageError(message);
}

static void require_divides(const char* name, int64_t divisor, const char* whole_name, int64_t whole) {
  require_setting(whole % divisor == 0, name, " must divide ", whole_name, ": ", text_of(whole), " % ",
                  text_of(divisor), " = ", text_of(whole % divisor));
}

static bool reads_formulas(const std::string& encoding) { return encoding == "expression"; }

Settings with_encoding(Settings settings, const std::string& name) {
  settings.encoding.name = name;
  if (!reads_formulas(name)) settings.encoding.formulas = {};
  return settings;
}

void validate(const Settings& settings) {
  const ModelSettings& model = settings.model;
  const TrainSettings& train = settings.train;
  require_setting(train.seed <= std::numeric_limits<int64_t>::max() - settings.run.seeds,
                  "train.seed + run.seeds is too large: ", text_of(train.seed), " + ", text_of(settings.run.seeds),
                  "; needs a sum below 2^63");
  require_divides("model.heads", model.heads, "model.width", model.width);
  require_setting(model.width / model.heads % 2 == 0, "model.width / model.heads must be even: ", text_of(model.width),
                  " / ", text_of(model.heads), " = ", text_of(model.width / model.heads),
                  "; a component is a pair of channels of a head");
  if (model.kv_heads != 0) require_divides("model.kv_heads", model.kv_heads, "model.heads", model.heads);
  require_divides("train.accumulate", train.accumulate, "train.batch", train.batch);
  require_setting(train.warmup_steps <= train.steps,
                  "train.warmup_steps must be at most train.steps: ", text_of(train.warmup_steps), " > ",
                  text_of(train.steps), "; --set train.warmup_steps=", text_of(train.steps / 10));
  const std::vector<std::string>& several = settings.run.encodings;
  const bool has_formulas = reads_formulas(settings.encoding.name) || std::ranges::any_of(several, reads_formulas);
  const auto require_read = [&](const char* name, const auto& value, const auto& unless) {
    require_setting(has_formulas || value == unless, name, " is ", text_of(value),
                    ", which only encoding.name = \"expression\" reads, not ", text_of(settings.encoding.name),
                    "; leave it at ", text_of(unless));
  };
  const EncodingFormulas &formulas = settings.encoding.formulas, standard = {};
  require_read("encoding.frequency", formulas.frequency, standard.frequency);
  require_read("encoding.bias", formulas.bias, standard.bias);
  require_read("encoding.learned", formulas.learned, standard.learned);
  require_read("encoding.starts", formulas.starts, standard.starts);
  const std::vector<int64_t> lengths = evaluation_lengths(settings);
  require_setting(lengths[0] >= 2, "eval.lengths = [] needs train.length / 2 >= 2: ", text_of(train.length),
                  " / 2 = ", text_of(lengths[0]));
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  require_setting(settings.eval.bytes >= longest,
                  "eval.bytes must hold a window of the longest of eval.lengths: ", text_of(settings.eval.bytes), " < ",
                  text_of(longest));
  const size_t bytes = to_toml(settings).size();
  require_setting(bytes <= largest_file, "all settings take ", std::to_string(bytes),
                  " bytes in settings.toml, which is read up to ", std::to_string(largest_file),
                  "; needs shorter formulas or lists");
}

// ---- writing

std::string to_toml(const Settings& settings) {
  std::string section, text = "# Settings of a run; phasor train --config FILE (or run QUESTION) does it again.\n\n";
  visit_settings(settings, [&](std::string_view key, std::string_view about, const auto& value, const auto&) {
    const size_t dot = key.find('.');
    if (dot != std::string_view::npos && key.substr(0, dot) != section) {
      section = key.substr(0, dot);
      text += "\n[" + section + "]\n";
    }
    const std::string_view name = dot == std::string_view::npos ? key : key.substr(dot + 1);
    text += std::string(name) + " = " + text_of(value) + "  # " + std::string(about) + "\n";
  });
  return text;
}

std::vector<std::string> assignments_of(const Settings& settings, const std::string& prefix) {
  std::vector<std::string> assignments;
  visit_settings(settings, [&](std::string_view key, std::string_view, const auto& value, const auto&) {
    if (key.starts_with(prefix)) assignments.push_back(std::string(key) + "=" + text_of(value));
  });
  return assignments;
}

std::string settings_help() {
  std::string text;
  const Settings defaults;
  visit_settings(defaults, [&](std::string_view key, std::string_view about, const auto& value, const auto&) {
    std::string line = "  " + std::string(key);
    line.resize(std::max(line.size() + 2, size_t{29}), ' ');
    line += text_of(value);
    line.resize(std::max(line.size() + 2, size_t{43}), ' ');
    text += line + std::string(about) + "\n";
  });
  return text;
}

}  // namespace phasor
