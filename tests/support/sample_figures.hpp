// Figures like those of a dissection, of made-up numbers: every role, intervals, marks, gaps.
#pragma once

#include <string>
#include <vector>

#include "experiments/report/figure.hpp"

namespace phasor {

// Text that would be markup, a script or a change of direction if a page did not keep it text.
extern const std::string hostile_text;

// contribution: a heat map of component and distance for two encodings, layers, heads and nine steps. u_shape: curves
// by component for each step, NaN at first. perplexity: five curves with bands and a mark on logarithmic axes.
Figure contribution_figure();
Figure u_shape_figure();
Figure perplexity_figure();
std::vector<Figure> sample_figures();  // these three

// many_curves: forty. words: a heat map of words. panels: six drawings of curves. grid: 12 layers of 16 heads. Of no
// number that can be drawn: nothing, no_logarithm. one_value, constant, large, small; decades: logarithmic.
// categories: three encodings against words, with intervals. many_encodings: twelve curves, named by words. many_marks:
// a heat map with marks that lie near each other.
std::vector<Figure> unusual_figures();

}  // namespace phasor
