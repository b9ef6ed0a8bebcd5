// Figures as text: what of them can be drawn, their JSON in the page.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "experiments/report/figure_html.hpp"
#include "experiments/report/html.hpp"
#include "tests/support/sample_figures.hpp"

namespace phasor {
namespace {

TEST_CASE("figure: the samples can be drawn, and the page holds their numbers") {
  for (const Figure& figure : sample_figures()) {
    CHECK_NOTHROW(check(figure));
    const auto json = nlohmann::json::parse(figure_json(figure));
    CHECK(json["values"].size() == figure.means.values.size());
  }
}

}  // namespace
}  // namespace phasor
