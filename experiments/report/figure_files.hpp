// Figures as files for other programs: a CSV table, and a Vega-Lite specification that draws it.
#pragma once

#include <string>

#include "experiments/report/figure.hpp"

namespace phasor {

// A row for each value, in their order: a column for each dimension, one named as the measurement, and with intervals
// the columns low and high. Numbers in their shortest exact form; "nan" where there is nothing.
std::string figure_csv(const Figure& figure);

// Vega-Lite 5 (https://vega.github.io/vega-lite): reads NAME.csv beside it. Curves and bands, or a heat map; panels are
// facets, choices and sliders are parameters with an input each.
std::string figure_vega_lite(const Figure& figure);

}  // namespace phasor
