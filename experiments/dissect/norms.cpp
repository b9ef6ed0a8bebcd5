// Sums over tokens of lengths, vectors and squares of what the projections give.
#include "experiments/dissect/norms.hpp"

#include <cmath>
#include <limits>
#include <utility>

namespace phasor {
namespace {

constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

// Of one head's queries, keys or values.
struct Sums {
  std::vector<double> lengths;                 // [component], of the two channels; empty where channels do not pair
  std::vector<std::array<double, 2>> vectors;  // [component]
  std::vector<double> squares;                 // [channel]
};

Dimension sites(std::vector<std::string> names) { return {.name = "site", .words = std::move(names)}; }

// x [1, heads, length, width]: adds this head's tokens.
void add_tokens(Sums& sums, const Components& components, const Tensor& x, int64_t head) {
  const Tensor tokens = x.select(0, 0).select(0, head).to(Dtype::f64);
  const View<double> at = tokens.view<double>();
  sums.lengths.resize(static_cast<size_t>(components.size), 0);
  sums.vectors.resize(static_cast<size_t>(components.size), {0, 0});
  for (int64_t token = 0; token < tokens.extent(0); ++token)
    for (size_t c = 0; c < components.channels.size(); ++c) {
      const auto [first, second] = components.channels[c];
      sums.lengths[c] += std::hypot(at(token, first), at(token, second));
      sums.vectors[c][0] += at(token, first);
      sums.vectors[c][1] += at(token, second);
    }
}

void add_squares(Sums& sums, const Tensor& x, int64_t head) {
  const Tensor tokens = x.select(0, 0).select(0, head).to(Dtype::f64);
  sums.squares.resize(static_cast<size_t>(tokens.extent(1)), 0);
  for (int64_t token = 0; token < tokens.extent(0); ++token)
    for (int64_t channel = 0; channel < tokens.extent(1); ++channel) {
      const double value = tokens.view<double>()(token, channel);
      sums.squares[static_cast<size_t>(channel)] += value * value;
    }
}

// What an encoding that widens queries or keys makes of x, before it turns them.
Tensor widened(const Transformer& model, const LayerValues& layer, PositionalEncoding::Side side) {
  const Tensor &q = layer[Site::q], &k = layer[Site::k];
  const Tensor& x = side == PositionalEncoding::Side::query ? q : k;
  if (!model.encoding().features) return x;
  PositionalContext context;
  context.layer = layer.layer;
  context.heads = q.extent(1);
  context.kv_heads = k.extent(1);
  context.q = q;
  context.k = k;
  context.q_positions = context.k_positions = consecutive_positions(q.extent(2));
  context.current_length = q.extent(2);
  context.train_length = model.shape().train_length;
  const NoGradient scope;
  return model.encoding().features(x, side, context).value();
}

}  // namespace

Norms norms(const Transformer& model, const Tensor& ids) {
  const Components components = components_of(model);
  require<ValueError>(ids.rank() == 2 && ids.size() > 0, "norms", "ids are ", ids.shape(),
                      "; needs [windows, length], at least a window of one token");
  const int64_t layers = model.shape().layers, heads = model.shape().heads, size = components.size,
                head_dim = model.shape().width / heads;
  const bool v_pairs = !model.encoding().features;
  std::vector<Sums> all(static_cast<size_t>(3 * layers * heads));  // [site, layer, head]
  for (int64_t window = 0; window < ids.extent(0); ++window)
    visit_layers(model, ids.slice(0, window, window + 1), {Site::q, Site::k, Site::v}, [&](const LayerValues& layer) {
      const Tensor projected[] = {layer[Site::q], layer[Site::k], layer[Site::v]};
      const Tensor paired[] = {widened(model, layer, PositionalEncoding::Side::query),
                               widened(model, layer, PositionalEncoding::Side::key), layer[Site::v]};
      for (int64_t site = 0; site < 3; ++site)
        for (int64_t head = 0; head < heads; ++head) {
          Sums& sums = all[static_cast<size_t>((site * layers + layer.layer) * heads + head)];
          const int64_t of_group = head / (heads / projected[site].extent(1));
          add_squares(sums, projected[site], of_group);
          if (site < 2 || v_pairs) add_tokens(sums, components, paired[site], of_group);
        }
    });

  const Dimension layer_axis = indices("layer", layers), head_axis = indices("head", heads),
                  component_axis = indices("component", size);
  Norms result{.norm = {"norm", {sites({"q", "k", "v"}), layer_axis, head_axis, component_axis}},
               .offset = {"offset", {sites({"q", "k"}), layer_axis, head_axis, component_axis}},
               .offset_angle = {"offset_angle", {layer_axis, head_axis, component_axis}},
               .massive = {"massive", {sites({"q", "k", "v"}), layer_axis, head_axis, indices("channel", head_dim)}}};
  const auto tokens = static_cast<double>(ids.size());
  for (int64_t row = 0; row < 3 * layers * heads; ++row) {  // of a site, layer and head
    const Sums& sums = all[static_cast<size_t>(row)];
    for (size_t c = 0; c < sums.lengths.size(); ++c) {
      const size_t i = static_cast<size_t>(row * size) + c;
      const auto [x, y] = sums.vectors[c];
      result.norm.values[i] = sums.lengths[c] / tokens;
      if (row < 2 * layers * heads)
        result.offset.values[i] = sums.lengths[c] > 0 ? std::hypot(x, y) / sums.lengths[c] : unknown;
    }
    double mean = 0;
    for (const double square : sums.squares) mean += std::sqrt(square) / static_cast<double>(head_dim);
    for (size_t channel = 0; channel < sums.squares.size(); ++channel)
      result.massive.values[static_cast<size_t>(row * head_dim) + channel] =
          mean > 0 ? std::sqrt(sums.squares[channel]) / mean : unknown;
  }
  for (int64_t row = 0; row < layers * heads; ++row)
    for (size_t c = 0; c < static_cast<size_t>(size); ++c) {
      const auto [qx, qy] = all[static_cast<size_t>(row)].vectors[c];
      const auto [kx, ky] = all[static_cast<size_t>(layers * heads + row)].vectors[c];
      if ((qx != 0 || qy != 0) && (kx != 0 || ky != 0))
        result.offset_angle.values[static_cast<size_t>(row * size) + c] =
            std::atan2(kx * qy - ky * qx, kx * qx + ky * qy);
    }
  return result;
}

}  // namespace phasor
