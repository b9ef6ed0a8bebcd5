// CSV and Vega-Lite of figures. That the specifications are valid and draw what they should was seen with Vega-Lite
// 5.20 and its JSON schema, which the tests do without.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "experiments/report/figure_files.hpp"
#include "tests/support/sample_figures.hpp"

namespace phasor {
namespace {

using nlohmann::json;

json specification(const Figure& figure) { return json::parse(figure_vega_lite(figure)); }

TEST_CASE("figure files: a row of CSV for each value") {
  Figure figure = {.name = "small", .axes = {{.role = Role::series}, {.role = Role::x}}};
  figure.means =
      Measurement("loss", {{.name = "encoding", .words = {"a,b", "c"}}, {.name = "step", .numbers = {0.5, 2}}});
  figure.means.values = {1, std::numeric_limits<double>::quiet_NaN(), -0.25, 1e-9};
  CHECK(figure_csv(figure) ==
        "encoding,step,loss\n"
        "\"a,b\",0.5,1\n\"a,b\",2,nan\n"
        "c,0.5,-0.25\nc,2,1e-09\n");
  figure.half_widths = {0.5, 0, 0.25, 0};
  CHECK(figure_csv(figure) ==
        "encoding,step,loss,low,high\n"
        "\"a,b\",0.5,1,0.5,1.5\n\"a,b\",2,nan,nan,nan\n"
        "c,0.5,-0.25,-0.5,0\nc,2,1e-09,1e-09,1e-09\n");
}

TEST_CASE("figure files: Vega-Lite of curves with bands and a mark") {
  const json spec = specification(perplexity_figure());
  CHECK(spec["$schema"] == "https://vega.github.io/schema/vega-lite/v5.json");
  CHECK(spec["data"]["url"] == "perplexity.csv");
  CHECK(spec["data"]["format"]["parse"] == json({{"encoding", "string"},
                                                 {"length", "number"},
                                                 {"perplexity", "number"},
                                                 {"low", "number"},
                                                 {"high", "number"}}));
  const json& layers = spec["layer"];
  REQUIRE(layers.size() == 4);
  CHECK(layers[0]["mark"]["type"] == "area");
  CHECK(layers[0]["encoding"]["y"]["field"] == "low");
  CHECK(layers[0]["encoding"]["y2"]["field"] == "high");
  CHECK(layers[1]["mark"] == json({{"type", "line"}, {"point", true}}));
  CHECK(layers[1]["encoding"]["x"]["scale"] == json({{"type", "log"}, {"base", 2}, {"nice", false}}));
  CHECK(layers[1]["encoding"]["y"]["scale"] == json({{"type", "log"}, {"base", 10}, {"nice", false}}));
  CHECK(layers[1]["encoding"]["color"]["field"] == "encoding");
  CHECK(layers[2]["data"]["values"] == json::parse(R"([{"at": 128}])"));
  CHECK(layers[3]["mark"]["text"] == "L = 128");
}

TEST_CASE("figure files: Vega-Lite against words has points with error bars beside each other, and no lines") {
  const std::vector<Figure> figures = unusual_figures();
  const auto figure =
      std::find_if(figures.begin(), figures.end(), [](const Figure& f) { return f.name == "categories"; });
  json layers = specification(*figure)["layer"];
  REQUIRE(layers.size() == 2);
  CHECK(layers[0]["mark"] == "rule");
  CHECK(layers[1]["mark"] == json({{"type", "point"}, {"filled", true}}));
  for (json& layer : layers) CHECK(layer["encoding"]["xOffset"]["field"] == "encoding");
}

TEST_CASE("figure files: Vega-Lite of a heat map with panels, choices and a slider") {
  const json spec = specification(contribution_figure());
  CHECK(spec["facet"]["field"] == "encoding");
  CHECK(spec["facet"]["sort"] == json({"rope", "hope"}));
  const json& parameters = spec["params"];
  REQUIRE(parameters.size() == 3);
  CHECK(parameters[0]["name"] == "shown_1");
  CHECK(parameters[0]["value"] == 8);
  CHECK(parameters[0]["bind"] ==
        json({{"input", "range"}, {"min", 0}, {"max", 8}, {"step", 1}, {"name", "training step "}}));
  CHECK(parameters[1]["bind"] == json({{"input", "select"}, {"options", {0, 1}}, {"name", "layer "}}));
  const json& transforms = spec["transform"];
  CHECK(transforms[0]["filter"] == "datum[\"step\"] === [0.0,14.0,28.0,56.0,112.0,225.0,450.0,900.0,1800.0][shown_1]");
  CHECK(transforms[1]["filter"] == "datum[\"layer\"] === shown_2");
  CHECK(transforms[3]["filter"] == "datum[\"distance\"] > 0");
  CHECK(transforms[4]["filter"] == "isValid(datum[\"contribution\"])");
  const json& encoding = spec["spec"]["layer"][0]["encoding"];
  CHECK(encoding["x"]["field"] == "distance from");
  CHECK(encoding["x2"]["field"] == "distance to");
  CHECK(encoding["color"]["scale"] == json({{"scheme", "blueorange"}, {"domainMid", 0}}));
}

TEST_CASE("figure files: cells of a heat map meet half way, on a logarithmic axis by ratio") {
  Figure figure = {.name = "cells", .axes = {{.role = Role::y}, {.role = Role::x, .logarithmic = true}}};
  figure.means = Measurement("v", {{.name = "y", .numbers = {0, 1, 4}}, {.name = "x", .numbers = {0, 1, 4, 64}}});
  const json transforms = specification(figure)["transform"];
  REQUIRE(transforms.size() == 6);
  const auto calculated = [&](size_t i) { return transforms[i]["calculate"].get<std::string>(); };
  CHECK(calculated(2) == "[0.5,2.0,16.0][indexof([1.0,4.0,64.0], datum[\"x\"])]");
  CHECK(calculated(3) == "[2.0,16.0,256.0][indexof([1.0,4.0,64.0], datum[\"x\"])]");
  CHECK(calculated(4) == "[-0.5,0.5,2.5][indexof([0.0,1.0,4.0], datum[\"y\"])]");
  CHECK(calculated(5) == "[0.5,2.5,5.5][indexof([0.0,1.0,4.0], datum[\"y\"])]");
}

TEST_CASE("figure files: names with quotes, dots and brackets reach their column") {
  Figure figure = {.name = "names", .axes = {{.role = Role::choice, .label = "c"}, {.role = Role::x, .label = "x"}}};
  figure.means = Measurement("a.b[0]", {{.name = "it's \"x\"", .words = {"only"}}, indices("x", 2)});
  const json spec = specification(figure);
  CHECK(spec["transform"][0]["filter"] == "datum[\"it's \\\"x\\\"\"] === shown_0");
  CHECK(spec["layer"][0]["encoding"]["y"]["field"] == "a\\.b\\[0\\]");
}

}  // namespace
}  // namespace phasor
