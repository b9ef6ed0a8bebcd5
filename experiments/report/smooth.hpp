// Smoothing of curves by position.
#pragma once

#include <span>
#include <vector>

namespace phasor {

// Moving average whose window grows with position: entry i (position i + 1) becomes the mean of the entries within
// `reach` * (i + 1) of it. On a logarithmic axis that is the same width everywhere: the first positions, where a curve
// falls fast and points lie far apart, stay as they are; where hundreds of points share a centimetre, they are
// averaged. Where the end of the curve or a missing value makes the window lopsided, a plain mean would bend the curve
// flat; so the result is the value at i of the least-squares line through the window, which in a whole window is the
// mean. Values that are not finite are missing: they are left out and stay where they are.
std::vector<double> smoothed_by_position(std::span<const double> values, double reach = 0.08);

}  // namespace phasor
