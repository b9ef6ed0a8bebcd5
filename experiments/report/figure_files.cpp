// Vega-Lite joins encodings by the names of columns; its expressions are those of Vega
// (https://vega.github.io/vega/docs/expressions).
#include "experiments/report/figure_files.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/report/csv.hpp"

namespace phasor {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t most_markers = 24;    // points of a curve that get a marker each
constexpr int64_t most_unordered = 8;  // series that get unlike colours; more numbers than that get a scale of them
constexpr int plot_width = 720, panel_width = 340, plot_height = 320;

std::string text_of(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// A column in an expression.
std::string datum(const std::string& column) { return "datum[" + text_of(column) + "]"; }

// A column in an encoding, where dots and brackets would lead into objects.
std::string field(const std::string& column) {
  std::string text;
  for (const char c : column) {
    if (c == '.' || c == '[' || c == ']' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

Json entries_of(const Dimension& dimension) {
  return dimension.words.empty() ? Json(dimension.numbers) : Json(dimension.words);
}

// Where cells meet: half way between entries, on a logarithmic axis by ratio, and as far beyond the outermost ones.
std::vector<double> cell_edges(const std::vector<double>& entries, bool logarithmic) {
  std::vector<double> places = entries, edges;
  if (logarithmic) std::transform(places.begin(), places.end(), places.begin(), [](double x) { return std::log2(x); });
  for (size_t i = 0; i <= places.size(); ++i) {
    const size_t right = std::clamp<size_t>(i, 1, std::max<size_t>(places.size() - 1, 1));
    const double gap = places.size() > 1 ? places[right] - places[right - 1] : 1;
    edges.push_back(i < places.size() ? places[i] - gap / 2 : places.back() + gap / 2);
  }
  if (logarithmic) std::transform(edges.begin(), edges.end(), edges.begin(), [](double x) { return std::exp2(x); });
  return edges;
}

class VegaLite {
 public:
  explicit VegaLite(const Figure& figure) : figure_(figure), dimensions_(figure.means.dimensions) {}

  Json specification() const {
    Json spec = {{"$schema", "https://vega.github.io/schema/vega-lite/v5.json"},
                 {"title", title()},
                 {"description", figure_.measured},
                 {"data", {{"url", figure_.name + ".csv"}, {"format", {{"type", "csv"}, {"parse", types()}}}}},
                 {"params", parameters()},
                 {"transform", transforms()}};
    const int64_t panel = axis_of(figure_, Role::panel);
    Json plot = {{"width", panel < 0 ? plot_width : panel_width}, {"height", plot_height}, {"layer", layers()}};
    if (panel < 0) {
      spec.update(plot);
    } else {
      spec["facet"] = column(panel);
      spec["facet"]["sort"] = entries_of(dimension(panel));
      spec["columns"] = 2;
      spec["spec"] = plot;
    }
    return spec;
  }

 private:
  const Dimension& dimension(int64_t axis) const { return dimensions_[static_cast<size_t>(axis)]; }
  const FigureAxis& axis(int64_t index) const { return figure_.axes[static_cast<size_t>(index)]; }
  int64_t axes() const { return static_cast<int64_t>(figure_.axes.size()); }

  static std::string parameter(int64_t axis) { return "shown_" + std::to_string(axis); }

  // The question, and below it the entries that sliders stand at: their inputs show an index only.
  Json title() const {
    std::string lines = text_of(figure_.question);
    for (int64_t i = 0; i < axes(); ++i) {
      if (axis(i).role != Role::slider) continue;
      lines +=
          ", " + text_of(axis(i).label + " ") + " + " + text_of(entries_of(dimension(i))) + "[" + parameter(i) + "]";
    }
    return {{"text", {{"expr", "[" + lines + "]"}}}, {"anchor", "start"}};
  }

  Json types() const {
    Json types;
    for (const Dimension& dimension : dimensions_)
      types[dimension.name] = dimension.words.empty() ? "number" : "string";
    types[figure_.means.name] = "number";
    if (!figure_.half_widths.empty()) types["low"] = types["high"] = "number";
    return types;
  }

  Json parameters() const {
    Json parameters = Json::array();
    for (int64_t i = 0; i < axes(); ++i) {
      const int64_t last = dimension(i).size() - 1, shown = axis(i).first_shown < 0 ? last : axis(i).first_shown;
      const std::string label = axis(i).label + " ";
      if (axis(i).role == Role::choice) {
        const Json entries = entries_of(dimension(i));
        parameters.push_back({{"name", parameter(i)},
                              {"value", entries[static_cast<size_t>(shown)]},
                              {"bind", {{"input", "select"}, {"options", entries}, {"name", label}}}});
      } else if (axis(i).role == Role::slider) {
        parameters.push_back({{"name", parameter(i)},
                              {"value", shown},
                              {"bind", {{"input", "range"}, {"min", 0}, {"max", last}, {"step", 1}, {"name", label}}}});
      }
    }
    return parameters;
  }

  Json transforms() const {
    Json transforms = Json::array();
    for (int64_t i = 0; i < axes(); ++i) {
      const std::string value = datum(dimension(i).name);
      if (axis(i).role == Role::choice) transforms.push_back({{"filter", value + " === " + parameter(i)}});
      if (axis(i).role == Role::slider) {
        transforms.push_back(
            {{"filter", value + " === " + text_of(entries_of(dimension(i))) + "[" + parameter(i) + "]"}});
      }
      if (axis(i).logarithmic) transforms.push_back({{"filter", value + " > 0"}});
    }
    if (axis_of(figure_, Role::y) < 0) return transforms;
    transforms.push_back({{"filter", "isValid(" + datum(figure_.means.name) + ")"}});
    for (const Role role : {Role::x, Role::y}) add_edges(transforms, axis_of(figure_, role));
    return transforms;
  }

  // Columns with the two ends of the cell of each entry.
  void add_edges(Json& transforms, int64_t index) const {
    if (!dimension(index).words.empty()) return;
    std::vector<double> entries;
    for (const double entry : dimension(index).numbers)
      if (!axis(index).logarithmic || entry > 0) entries.push_back(entry);
    const std::vector<double> edges = cell_edges(entries, axis(index).logarithmic);
    const std::string place = "indexof(" + text_of(entries) + ", " + datum(dimension(index).name) + ")";
    for (const int end : {0, 1}) {
      const std::vector<double> ends(edges.begin() + end, edges.end() - 1 + end);
      transforms.push_back({{"calculate", text_of(ends) + "[" + place + "]"}, {"as", edge_column(index, end)}});
    }
  }

  std::string edge_column(int64_t index, int end) const { return dimension(index).name + (end == 0 ? " from" : " to"); }

  Json layers() const { return axis_of(figure_, Role::y) < 0 ? curve_layers() : heat_map_layers(); }

  // An axis whose entries stand side by side, as names or numbers.
  Json column(int64_t index) const {
    return {{"field", field(dimension(index).name)}, {"type", "nominal"}, {"title", axis(index).label}};
  }

  static Json scale(bool logarithmic, int base) {
    Json scale = {{"type", logarithmic ? "log" : "linear"}};
    if (logarithmic) {
      scale["base"] = base;
      scale["nice"] = false;  // which would run to the next power
    } else {
      scale["zero"] = false;
    }
    return scale;
  }

  Json tooltip() const {
    Json fields = Json::array();
    for (int64_t i = 0; i < axes(); ++i) fields.push_back(column(i));
    fields.push_back({{"field", field(figure_.means.name)}, {"type", "quantitative"}, {"title", figure_.value_label}});
    if (figure_.half_widths.empty()) return fields;
    for (const char* const end : {"low", "high"}) fields.push_back({{"field", end}, {"type", "quantitative"}});
    return fields;
  }

  Json curve_layers() const {
    const int64_t x = axis_of(figure_, Role::x), series = axis_of(figure_, Role::series);
    Json x_encoding = column(x);
    if (dimension(x).words.empty()) {
      x_encoding["type"] = "quantitative";
      x_encoding["scale"] = scale(axis(x).logarithmic, 2);
    } else {
      x_encoding["sort"] = nullptr;
    }
    const auto y = [&](const std::string& column) -> Json {
      return {{"field", field(column)},
              {"type", "quantitative"},
              {"title", figure_.value_label},
              {"scale", scale(figure_.logarithmic, 10)}};
    };
    Json line = {{"x", x_encoding}, {"y", y(figure_.means.name)}, {"tooltip", tooltip()}};
    Json band = {{"x", x_encoding}, {"y", y("low")}, {"y2", {{"field", "high"}}}};
    if (series >= 0) {
      Json color = column(series);
      color["sort"] = nullptr;
      if (dimension(series).words.empty() && dimension(series).size() > most_unordered) color["type"] = "ordinal";
      line["color"] = band["color"] = color;
    }
    Json layers = Json::array();
    if (!dimension(x).words.empty()) {  // between which there is nothing to join
      if (series >= 0) line["xOffset"] = band["xOffset"] = line["color"];
      if (!figure_.half_widths.empty()) layers.push_back({{"mark", "rule"}, {"encoding", band}});
      layers.push_back({{"mark", {{"type", "point"}, {"filled", true}}}, {"encoding", line}});
      return layers;
    }
    if (!figure_.half_widths.empty())
      layers.push_back({{"mark", {{"type", "area"}, {"opacity", 0.2}}}, {"encoding", band}});
    const bool has_markers = dimension(x).size() <= static_cast<int64_t>(most_markers);
    layers.push_back({{"mark", {{"type", "line"}, {"point", has_markers}}}, {"encoding", line}});
    add_marks(layers, "x", x);
    return layers;
  }

  Json heat_map_layers() const {
    Json encoding;
    for (const Role role : {Role::x, Role::y}) {
      const int64_t index = axis_of(figure_, role);
      const std::string name = role == Role::x ? "x" : "y";
      if (!dimension(index).words.empty()) {
        encoding[name] = column(index);
        encoding[name]["sort"] = nullptr;
        continue;
      }
      Json numeric = scale(axis(index).logarithmic, 2);
      numeric["nice"] = false;
      encoding[name] = {{"field", field(edge_column(index, 0))},
                        {"type", "quantitative"},
                        {"title", axis(index).label},
                        {"axis", {{"grid", false}}},
                        {"scale", numeric}};
      encoding[name + "2"] = {{"field", field(edge_column(index, 1))}};
    }
    Json colors = {{"scheme", figure_.diverging ? "blueorange" : "yellowgreenblue"}};
    if (figure_.diverging) colors["domainMid"] = 0;
    encoding["color"] = {{"field", field(figure_.means.name)},
                         {"type", "quantitative"},
                         {"title", figure_.value_label},
                         {"scale", colors}};
    encoding["tooltip"] = tooltip();
    Json layers = {{{"mark", "rect"}, {"encoding", encoding}}};
    for (const Role role : {Role::x, Role::y}) add_marks(layers, role == Role::x ? "x" : "y", axis_of(figure_, role));
    return layers;
  }

  // Lines at values of the axis, if it has them, with their labels at the end, those of x one below the other.
  void add_marks(Json& layers, const std::string& channel, int64_t index) const {
    if (figure_.marks.empty() || dimension(index).name != figure_.mark_dimension) return;
    const bool is_x = channel == "x";
    int row = 0;
    for (const Mark& mark : figure_.marks) {
      const Json data = {{"values", {{{"at", mark.x}}}}};
      const Json place = {{"field", "at"}, {"type", "quantitative"}, {"title", axis(index).label}};
      const Json end = {{"value", is_x ? Json(0) : Json("width")}};
      layers.push_back(
          {{"data", data}, {"mark", {{"type", "rule"}, {"strokeDash", {5, 4}}}}, {"encoding", {{channel, place}}}});
      layers.push_back({{"data", data},
                        {"mark",
                         {{"type", "text"},
                          {"text", mark.label},
                          {"align", is_x ? "left" : "right"},
                          {"dx", is_x ? 4 : -4},
                          {"dy", is_x ? 8 + 14 * row++ : -7}}},
                        {"encoding", {{channel, place}, {is_x ? "y" : "x", end}}}});
    }
  }

  const Figure& figure_;
  const std::vector<Dimension>& dimensions_;
};

}  // namespace

std::string figure_csv(const Figure& figure) {
  check(figure);
  const std::vector<Dimension>& dimensions = figure.means.dimensions;
  std::vector<std::string> columns;
  for (const Dimension& dimension : dimensions) columns.push_back(dimension.name);
  columns.push_back(figure.means.name);
  if (!figure.half_widths.empty()) columns.insert(columns.end(), {"low", "high"});
  Csv csv(columns);
  std::vector<CsvValue> row(columns.size());
  for (size_t offset = 0; offset < figure.means.values.size(); ++offset) {
    size_t rest = offset;
    for (size_t i = dimensions.size(); i-- > 0;) {
      const Dimension& dimension = dimensions[i];
      const size_t entry = rest % static_cast<size_t>(dimension.size());
      rest /= static_cast<size_t>(dimension.size());
      if (dimension.words.empty()) {
        row[i] = dimension.numbers[entry];
      } else {
        row[i] = dimension.words[entry];
      }
    }
    const double mean = figure.means.values[offset];
    row[dimensions.size()] = mean;
    if (!figure.half_widths.empty()) {
      row[dimensions.size() + 1] = mean - figure.half_widths[offset];
      row[dimensions.size() + 2] = mean + figure.half_widths[offset];
    }
    csv.add(row);
  }
  return csv.text();
}

std::string figure_vega_lite(const Figure& figure) {
  check(figure);
  return VegaLite(figure).specification().dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace phasor
