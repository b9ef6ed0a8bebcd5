// Scores of the last query, averaged by group of windows, so that the spread between groups tells the error.
#include "experiments/dissect/u_shape.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "core/random.hpp"
#include "experiments/corpora/corpus.hpp"
#include "experiments/dissect/components.hpp"
#include "experiments/evaluation.hpp"
#include "experiments/statistics.hpp"

namespace phasor {
namespace {

constexpr int64_t most_groups = 8;
constexpr uint64_t window_stream = 0x755f7368617065;  // "u_shape"

// Means over the windows of each group and the heads, f64 [layers + 1, groups, 1 + components, keys]. Part 0 is the
// score, the others are its components; the last layer is the average of all.
struct Scores {
  Tensor means;
  std::vector<int64_t> windows;  // of each group
};

// To sums [1 + components, keys] adds the last query's scores over windows and heads, divided by the heads and by
// `all_windows`, of which these are some.
void add_scores(const Tensor& sums, const LayerValues& layer, const std::optional<Components>& components,
                int64_t all_windows) {
  const Tensor all = layer[Site::score_biased];
  const int64_t windows = all.extent(0), heads = all.extent(1), keys = all.extent(3);
  const Tensor scores = all.select(2, all.extent(2) - 1).to(Dtype::f64);
  const double weight = 1 / static_cast<double>(all_windows * heads);
  const View<double> from = scores.view<double>(), to = sums.view<double>();
  for (int64_t window = 0; window < windows; ++window)
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t key = 0; key < keys; ++key) to(0, key) += weight * from(window, head, key);
  if (!components) return;
  std::vector<double> part(static_cast<size_t>(keys));
  for (int64_t window = 0; window < windows; ++window)
    for (int64_t head = 0; head < heads; ++head) {
      const HeadParts parts(*components, layer, window, head);
      for (int64_t c = 0; c < components->size; ++c) {
        parts.of_query(c, keys - 1, part.data());
        for (int64_t key = 0; key < keys; ++key) to(1 + c, key) += weight * part[static_cast<size_t>(key)];
      }
    }
}

Scores scores_by_group(const Transformer& model, const Tensor& ids, const std::optional<Components>& components) {
  const int64_t windows = ids.extent(0), layers = model.shape().layers, groups = std::min(most_groups, windows),
                at_once = windows_at_once(ids.extent(1));
  std::vector<Site> sites = components ? components->sites() : std::vector<Site>();
  sites.push_back(Site::score_biased);
  Scores scores;
  scores.means =
      Tensor::zeros({layers + 1, groups, 1 + (components ? components->size : 0), ids.extent(1)}, Dtype::f64);
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = group * windows / groups, last = (group + 1) * windows / groups;
    scores.windows.push_back(last - first);
    for (int64_t window = first; window < last; window += at_once)
      visit_layers(model, ids.slice(0, window, std::min(window + at_once, last)), sites, [&](const LayerValues& layer) {
        add_scores(scores.means.select(0, layer.layer).select(0, group), layer, components, last - first);
      });
  }
  const View<double> means = scores.means.view<double>();
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t group = 0; group < groups; ++group)
      for (int64_t part = 0; part < scores.means.extent(2); ++part)
        for (int64_t key = 0; key < ids.extent(1); ++key)
          means(layers, group, part, key) += means(layer, group, part, key) / static_cast<double>(layers);
  return scores;
}

using Curve = std::vector<double>;  // of the keys after [bos]

double mean_of(const Curve& x, int64_t first, int64_t count) {
  const auto begin = x.begin() + first;
  return std::accumulate(begin, begin + count, 0.0) / static_cast<double>(count);
}

double mean_of(const Curve& x) { return mean_of(x, 0, std::ssize(x)); }

// Mean over the keys of (x - mean x) (y - mean y).
double covariance(const Curve& x, const Curve& y) {
  const double mean_x = mean_of(x), mean_y = mean_of(y);
  double sum = 0;
  for (size_t key = 0; key < x.size(); ++key) sum += (x[key] - mean_x) * (y[key] - mean_y);
  return sum / static_cast<double>(x.size());
}

// Where on a curve the ends and the middle are.
struct Regions {
  int64_t keys, edge, middle;
  Regions(int64_t keys_, const DissectSettings& s) : keys(keys_), edge(share(s.edge)), middle(share(s.middle)) {}
  int64_t share(double of_keys) const {
    return std::max<int64_t>(1, static_cast<int64_t>(of_keys * static_cast<double>(keys)));
  }
  double middle_of(const Curve& x) const { return mean_of(x, (keys - middle) / 2, middle); }
  double depth(const Curve& x) const { return mean_of(x, 0, edge) - middle_of(x); }
  double recency(const Curve& x) const { return mean_of(x, keys - edge, edge) - middle_of(x); }
};

struct PartMeans {
  const Scores& scores;
  int64_t layer;

  Curve of_group(int64_t group, int64_t part) const {
    const Tensor keys = scores.means.select(0, layer).select(0, group).select(0, part);
    return keys.slice(0, 1, keys.extent(0)).to_vector<double>();
  }
  // Over all windows, of keys [first, last).
  Curve whole(int64_t part, int64_t first, int64_t last) const {
    Curve mean(static_cast<size_t>(last - first));
    const auto windows = static_cast<double>(std::accumulate(scores.windows.begin(), scores.windows.end(), int64_t{0}));
    for (int64_t group = 0; group < std::ssize(scores.windows); ++group)
      for (int64_t key = first; key < last; ++key)
        mean[static_cast<size_t>(key - first)] += static_cast<double>(scores.windows[static_cast<size_t>(group)]) /
                                                  windows * scores.means.view<double>()(layer, group, part, key);
    return mean;
  }
};

Dimension layer_dimension(int64_t layers) {
  Dimension dimension{.name = "layer"};
  for (int64_t layer = 0; layer < layers; ++layer) dimension.words.push_back(std::to_string(layer));
  dimension.words.push_back("all");
  return dimension;
}

}  // namespace

Tensor random_windows(std::span<const uint8_t> text, int64_t windows, int64_t length) {
  require<ValueError>(!text.empty() && windows >= 1 && length >= 1, "random_windows", text.size(), " bytes of text, ",
                      windows, " windows of ", length, " tokens; each must be at least 1");
  std::vector<bool> occurs(256);
  for (const uint8_t byte : text) occurs[byte] = true;
  std::vector<int32_t> alphabet;
  for (int32_t byte = 0; byte < 256; ++byte)
    if (occurs[static_cast<size_t>(byte)]) alphabet.push_back(byte);
  const Tensor ids = Tensor::empty({windows, length}, Dtype::i32);
  Random random{.seed = 0, .stream = window_stream};
  for (int64_t window = 0; window < windows; ++window)
    for (int64_t token = 0; token < length; ++token)
      ids.view<int32_t>()(window, token) =
          token == 0 ? bos_token : alphabet[static_cast<size_t>(random.below(std::ssize(alphabet)))];
  return ids;
}

UShape u_shape(const Transformer& model, const Tensor& ids, const DissectSettings& settings) {
  require(ids.rank() == 2 && ids.extent(0) >= 2 && ids.extent(1) >= 2, "u_shape", "ids are ", ids.shape(),
          "; needs [windows, length], at least 2 windows of 2 tokens");
  const int64_t layers = model.shape().layers, length = ids.extent(1);
  std::optional<Components> components;
  if (model.encoding().rotation) components = components_of(model);
  const int64_t size = components ? components->size : 0;
  const Scores scores = scores_by_group(model, ids, components);

  const Dimension layer_axis = layer_dimension(layers), component_axis = indices("component", size);
  Dimension key_axis{.name = "key"};
  for (int64_t key = 1; key < length; ++key) key_axis.numbers.push_back(static_cast<double>(key));
  UShape u{.curve = {"u_curve", {layer_axis, key_axis}},
           .bos = {"u_bos", {layer_axis}},
           .depth = {"u_depth", {layer_axis}},
           .depth_half_width = {"u_depth_half_width", {layer_axis}},
           .recency = {"u_recency", {layer_axis}},
           .component = {"u_component", {layer_axis, component_axis, key_axis}},
           .share = {"u_share", {layer_axis, component_axis}},
           .activated = {"u_activated", {layer_axis, component_axis}}};

  const Regions regions(length - 1, settings);
  for (int64_t layer = 0; layer <= layers; ++layer) {
    const PartMeans means{scores, layer};
    const Curve score = means.whole(0, 1, length);
    const double mean = mean_of(score), variance = covariance(score, score), deviation = std::sqrt(variance);
    if (!(deviation > 0)) continue;
    for (int64_t key = 1; key < length; ++key)
      u.curve.at({layer, key - 1}) = (score[static_cast<size_t>(key - 1)] - mean) / deviation;
    u.bos.at({layer}) = (means.whole(0, 0, 1)[0] - mean) / deviation;
    u.depth.at({layer}) = regions.depth(score) / deviation;
    u.recency.at({layer}) = regions.recency(score) / deviation;
    // The deviation counts as known: it is that of a curve over all windows.
    std::vector<double> depths;
    for (int64_t group = 0; group < std::ssize(scores.windows); ++group)
      depths.push_back(regions.depth(means.of_group(group, 0)) / deviation);
    u.depth_half_width.at({layer}) = interval_of_mean(depths).half_width;
    for (int64_t c = 0; c < size; ++c) {
      const Curve part = means.whole(1 + c, 1, length);
      const double part_mean = mean_of(part), share = covariance(part, score) / variance;
      for (int64_t key = 1; key < length; ++key)
        u.component.at({layer, c, key - 1}) = (part[static_cast<size_t>(key - 1)] - part_mean) / deviation;
      u.share.at({layer, c}) = share;
      u.activated.at({layer, c}) = share > settings.activated / static_cast<double>(size) ? 1 : 0;
    }
  }
  return u;
}

}  // namespace phasor
