// Two passes over the parts of scores: one finds their ranges, the other counts what lies outside.
#include "experiments/dissect/score_range.hpp"

#include <algorithm>
#include <limits>

#include "core/parallel.hpp"

namespace phasor {
namespace {

constexpr int64_t tile = 32;  // queries of a task
constexpr double infinity = std::numeric_limits<double>::infinity();

int64_t tiles_of(int64_t length) { return (length + tile - 1) / tile; }

// parts[n]: the part of the score of `query` and key n, for n = 0 to query; part is a component, or components.size for
// the whole score. Calls of one task come one after the other, those of different tasks in parallel:
// task = (layer x heads + head) x tiles_of(length) + tile.
using VisitRow = FunctionRef<void(int64_t task, int64_t query, int64_t part, const double* parts)>;

void visit_rows(const Transformer& model, const Components& components, const Tensor& ids, VisitRow visit) {
  const int64_t length = ids.extent(1), tiles = tiles_of(length), heads = model.shape().heads;
  for (int64_t window = 0; window < ids.extent(0); ++window) {
    visit_layers(model, ids.slice(0, window, window + 1), components.sites(), [&](const LayerValues& layer) {
      std::vector<HeadParts> of_head;
      for (int64_t head = 0; head < heads; ++head) of_head.emplace_back(components, layer, 0, head);
      parallel_for(heads * tiles, 1, [&](int64_t begin, int64_t end) {
        std::vector<double> parts(static_cast<size_t>(length)), total(parts.size());
        for (int64_t i = begin; i < end; ++i) {
          const int64_t first = i % tiles * tile, task = layer.layer * heads * tiles + i;
          for (int64_t m = first; m < std::min(first + tile, length); ++m) {
            std::fill(total.begin(), total.end(), 0);
            for (int64_t c = 0; c < components.size; ++c) {
              of_head[static_cast<size_t>(i / tiles)].of_query(c, m, parts.data());
              for (size_t n = 0; n <= static_cast<size_t>(m); ++n) total[n] += parts[n];
              visit(task, m, c, parts.data());
            }
            visit(task, m, components.size, total.data());
          }
        }
      });
    });
  }
}

Measurement empty_range(const Transformer& model, const Components& components) {
  return {"score_range",
          {{.name = "bound", .words = {"lowest", "highest"}},
           indices("layer", model.shape().layers),
           indices("head", model.shape().heads),
           components_and_total(components.size)}};
}

}  // namespace

Dimension components_and_total(int64_t components) {
  Dimension dimension{.name = "component"};
  for (int64_t c = 0; c < components; ++c) dimension.words.push_back(std::to_string(c));
  dimension.words.push_back("total");
  return dimension;
}

Measurement score_range(const Transformer& model, const Tensor& ids) {
  const Components components = components_of(model);
  require<ValueError>(ids.rank() == 2 && ids.extent(0) >= 1 && ids.extent(1) == components.train_length, "score_range",
                      "ids are ", ids.shape(), "; needs [windows, ", components.train_length,
                      "], at least a window of the training length");
  const int64_t tiles = tiles_of(ids.extent(1)), parts = components.size + 1;
  const int64_t heads = model.shape().layers * model.shape().heads;
  std::vector<double> low(static_cast<size_t>(heads * tiles * parts), infinity), high(low.size(), -infinity);
  visit_rows(model, components, ids, [&](int64_t task, int64_t query, int64_t part, const double* scores) {
    const auto [least, greatest] = std::minmax_element(scores, scores + query + 1);
    const auto i = static_cast<size_t>(task * parts + part);
    low[i] = std::min(low[i], *least);
    high[i] = std::max(high[i], *greatest);
  });
  Measurement range = empty_range(model, components);
  for (int64_t head = 0; head < heads; ++head)
    for (int64_t part = 0; part < parts; ++part) {
      double lowest = infinity, highest = -infinity;
      for (int64_t t = 0; t < tiles; ++t) {
        const auto i = static_cast<size_t>((head * tiles + t) * parts + part);
        lowest = std::min(lowest, low[i]);
        highest = std::max(highest, high[i]);
      }
      range.values[static_cast<size_t>(head * parts + part)] = lowest;
      range.values[static_cast<size_t>((heads + head) * parts + part)] = highest;
    }
  return range;
}

std::vector<int64_t> distance_bins(int64_t length, int64_t train_length) {
  std::vector<int64_t> begins;
  for (int64_t octave = 1; octave < length; octave *= 2)
    for (int64_t quarter = 0; quarter < 4; ++quarter)
      if (octave * quarter % 4 == 0) begins.push_back(octave + octave * quarter / 4);
  begins.push_back(train_length);
  std::sort(begins.begin(), begins.end());
  begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
  std::erase_if(begins, [&](int64_t begin) { return begin < 1 || begin >= length; });
  return begins;
}

Measurement beyond_range(const Transformer& model, const Measurement& range, const Tensor& ids) {
  const Components components = components_of(model);
  require<ValueError>(ids.rank() == 2 && ids.extent(0) >= 1 && ids.extent(1) >= 2, "beyond_range", "ids are ",
                      ids.shape(), "; needs [windows, length], at least a window of two tokens");
  require<ValueError>(range.dimensions == empty_range(model, components).dimensions, "beyond_range", "'", range.name,
                      "' is not the score range of a model with these layers, heads and components");
  const int64_t length = ids.extent(1), tiles = tiles_of(length), parts = components.size + 1;
  const int64_t layers = model.shape().layers, heads = model.shape().heads;
  const std::vector<int64_t> begins = distance_bins(length, components.train_length);
  const int64_t bins = std::ssize(begins);
  std::vector<int64_t> outside(static_cast<size_t>(layers * heads * tiles * parts * bins), 0);
  visit_rows(model, components, ids, [&](int64_t task, int64_t query, int64_t part, const double* scores) {
    const int64_t head = task / tiles;
    const double lowest = range.values[static_cast<size_t>(head * parts + part)],
                 highest = range.values[static_cast<size_t>((layers * heads + head) * parts + part)];
    int64_t* const counts = outside.data() + (task * parts + part) * bins;
    for (int64_t bin = 0; bin < bins && begins[static_cast<size_t>(bin)] <= query; ++bin) {
      const int64_t last = query - begins[static_cast<size_t>(bin)];  // key at the bin's first distance
      const int64_t next = bin + 1 < bins ? begins[static_cast<size_t>(bin + 1)] : length;
      int64_t count = 0;
      for (int64_t n = std::max<int64_t>(0, query - next + 1); n <= last; ++n)
        count += !((lowest <= scores[n]) & (scores[n] <= highest));  // a NaN counts too
      counts[bin] += count;
    }
  });

  Dimension distance{.name = "distance"};
  for (const int64_t begin : begins) distance.numbers.push_back(static_cast<double>(begin));
  Measurement share("beyond_range", {indices("layer", layers), components_and_total(components.size), distance});
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t part = 0; part < parts; ++part)
      for (int64_t bin = 0; bin < bins; ++bin) {
        int64_t count = 0, pairs = 0;
        for (int64_t i = layer * heads * tiles; i < (layer + 1) * heads * tiles; ++i)
          count += outside[static_cast<size_t>((i * parts + part) * bins + bin)];
        const int64_t next = bin + 1 < bins ? begins[static_cast<size_t>(bin + 1)] : length;
        for (int64_t d = begins[static_cast<size_t>(bin)]; d < next; ++d) pairs += length - d;
        share.at({layer, part, bin}) = static_cast<double>(count) / static_cast<double>(pairs * heads * ids.extent(0));
      }
  return share;
}

Measurement leaves_range_at(const Measurement& beyond_range, int64_t train_length) {
  const std::vector<Dimension>& dimensions = beyond_range.dimensions;
  require<ValueError>(dimensions.size() == 3 && dimensions[2].name == "distance", "leaves_range_at", "'",
                      beyond_range.name, "' does not have the dimensions of beyond_range");
  Measurement at("leaves_range_at", {dimensions[0], dimensions[1]});
  for (int64_t layer = 0; layer < dimensions[0].size(); ++layer)
    for (int64_t part = 0; part < dimensions[1].size(); ++part)
      for (int64_t bin = dimensions[2].size() - 1; bin >= 0; --bin) {
        const double begin = dimensions[2].numbers[static_cast<size_t>(bin)];
        if (begin >= static_cast<double>(train_length) && beyond_range.at({layer, part, bin}) > left_range)
          at.at({layer, part}) = begin;
      }
  return at;
}

}  // namespace phasor
