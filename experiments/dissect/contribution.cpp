// Sums the parts of all scores by distance, a window at a time.
#include "experiments/dissect/contribution.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/parallel.hpp"

namespace phasor {
namespace {

// A measurement as rows [outer, along, inner] about its dimension `name`.
struct Rows {
  int64_t outer = 1, along = 0, inner = 1;
  size_t axis = 0;
  size_t at(int64_t o, int64_t a, int64_t i) const { return static_cast<size_t>((o * along + a) * inner + i); }
};

Rows rows_about(const char* what, const Measurement& m, const std::string& name) {
  Rows rows;
  while (rows.axis < m.dimensions.size() && m.dimensions[rows.axis].name != name) ++rows.axis;
  require<ValueError>(rows.axis < m.dimensions.size(), what, "'", m.name, "' has no dimension '", name, "'");
  rows.along = m.dimensions[rows.axis].size();
  for (size_t i = 0; i < m.dimensions.size(); ++i)
    (i < rows.axis ? rows.outer : rows.inner) *= i == rows.axis ? 1 : m.dimensions[i].size();
  return rows;
}

std::vector<Dimension> without(std::vector<Dimension> dimensions, size_t axis) {
  dimensions.erase(dimensions.begin() + static_cast<std::ptrdiff_t>(axis));
  return dimensions;
}

}  // namespace

Measurement contribution(const Transformer& model, const Tensor& ids) {
  const Components components = components_of(model);
  require<ValueError>(ids.rank() == 2 && ids.size() > 0, "contribution", "ids are ", ids.shape(),
                      "; needs [windows, length], at least a window of one token");
  const int64_t windows = ids.extent(0), length = ids.extent(1), heads = model.shape().heads, size = components.size;
  Measurement result("contribution", {indices("layer", model.shape().layers), indices("head", heads),
                                      indices("component", size), indices("distance", length)});
  std::fill(result.values.begin(), result.values.end(), 0);
  for (int64_t window = 0; window < windows; ++window) {
    visit_layers(model, ids.slice(0, window, window + 1), components.sites(), [&](const LayerValues& layer) {
      std::vector<HeadParts> of_head;
      for (int64_t head = 0; head < heads; ++head) of_head.emplace_back(components, layer, 0, head);
      parallel_for(heads * size, 1, [&](int64_t begin, int64_t end) {
        std::vector<double> parts(static_cast<size_t>(length));
        for (int64_t task = begin; task < end; ++task) {
          double* const sums = result.values.data() + (layer.layer * heads * size + task) * length;
          for (int64_t m = 0; m < length; ++m) {
            of_head[static_cast<size_t>(task / size)].of_query(task % size, m, parts.data());
            for (int64_t n = 0; n <= m; ++n) sums[m - n] += parts[static_cast<size_t>(n)];
          }
        }
      });
    });
  }
  for (size_t i = 0; i < result.values.size(); ++i)
    result.values[i] /= static_cast<double>(windows * (length - static_cast<int64_t>(i) % length));
  return result;
}

Measurement mean_over_heads(const Measurement& measurement) {
  const Rows rows = rows_about("mean_over_heads", measurement, "head");
  Measurement mean(measurement.name, without(measurement.dimensions, rows.axis));
  for (int64_t o = 0; o < rows.outer; ++o)
    for (int64_t i = 0; i < rows.inner; ++i) {
      double sum = 0;
      for (int64_t head = 0; head < rows.along; ++head) sum += measurement.values[rows.at(o, head, i)];
      mean.values[static_cast<size_t>(o * rows.inner + i)] = sum / static_cast<double>(rows.along);
    }
  return mean;
}

Measurement contribution_share(const Measurement& contribution) {
  const Rows rows = rows_about("contribution_share", contribution, "component");
  require<ValueError>(rows.axis + 2 == contribution.dimensions.size(), "contribution_share", "'", contribution.name,
                      "' does not end with the dimensions component and distance");
  const int64_t length = rows.inner;
  Measurement share("contribution_share", without(contribution.dimensions, rows.axis + 1));
  for (int64_t o = 0; o < rows.outer; ++o) {
    // The curve of each component about its mean; the curves of the total add up from them.
    std::vector<std::vector<double>> curves;
    std::vector<double> total(static_cast<size_t>(length), 0);
    for (int64_t c = 0; c < rows.along; ++c) {
      const auto begin = contribution.values.begin() + static_cast<std::ptrdiff_t>(rows.at(o, c, 0));
      std::vector<double>& curve = curves.emplace_back(begin, begin + length);
      const double mean = std::accumulate(curve.begin(), curve.end(), 0.0) / static_cast<double>(length);
      for (size_t d = 0; d < curve.size(); ++d) total[d] += curve[d] -= mean;
    }
    const double variance = std::inner_product(total.begin(), total.end(), total.begin(), 0.0);
    for (int64_t c = 0; c < rows.along; ++c) {
      const std::vector<double>& curve = curves[static_cast<size_t>(c)];
      const double covariance = std::inner_product(curve.begin(), curve.end(), total.begin(), 0.0);
      share.values[static_cast<size_t>(o * rows.along + c)] =
          variance > 0 ? covariance / variance : std::numeric_limits<double>::quiet_NaN();
    }
  }
  return share;
}

Measurement cumulative(const Measurement& contribution) {
  const Rows rows = rows_about("cumulative", contribution, "component");
  Measurement sums = contribution;
  sums.name = "cumulative_contribution";
  for (int64_t o = 0; o < rows.outer; ++o)
    for (int64_t c = 1; c < rows.along; ++c)
      for (int64_t i = 0; i < rows.inner; ++i) sums.values[rows.at(o, c, i)] += sums.values[rows.at(o, c - 1, i)];
  return sums;
}

}  // namespace phasor
