// Sums over tokens of lengths, vectors and squares of what the projections give.
#include "experiments/dissect/norms.hpp"

#include <cmath>
#include <utility>

namespace phasor {
namespace {

// Of one head's queries, keys or values.
struct Sums {
  std::vector<double> lengths;                 // [component], of the two channels; none where channels do not pair
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
  return model.encoding().features(x, side, context).value().to(Device::cpu);
}

}  // namespace

Norms norms(const Transformer& model, const Tensor& ids) {
  const Components components = components_of(model);
  require<ValueError>(ids.rank() == 2 && ids.size() > 0, "norms", "ids are ", ids.shape(),
                      "; needs [windows, length], at least a window of one token");
  enum { q_site, k_site, v_site, site_count };
  const int64_t layers = model.shape().layers, heads = model.shape().heads, head_dim = model.shape().width / heads;
  const bool v_pairs = !model.encoding().features;
  std::vector<Sums> sums(static_cast<size_t>(site_count * layers * heads));
  const auto sums_of = [&](int64_t site, int64_t layer, int64_t head) -> Sums& {
    return sums[static_cast<size_t>((site * layers + layer) * heads + head)];
  };
  for (int64_t window = 0; window < ids.extent(0); ++window)
    visit_layers(model, ids.slice(0, window, window + 1), {Site::q, Site::k, Site::v}, [&](const LayerValues& layer) {
      const Tensor projected[] = {layer[Site::q], layer[Site::k], layer[Site::v]};
      const Tensor paired[] = {widened(model, layer, PositionalEncoding::Side::query),
                               widened(model, layer, PositionalEncoding::Side::key), layer[Site::v]};
      for (int64_t site = 0; site < site_count; ++site)
        for (int64_t head = 0; head < heads; ++head) {
          const int64_t own_head = head / (heads / projected[site].extent(1));
          add_squares(sums_of(site, layer.layer, head), projected[site], own_head);
          if (site != v_site || v_pairs)
            add_tokens(sums_of(site, layer.layer, head), components, paired[site], own_head);
        }
    });

  const Dimension layer_axis = indices("layer", layers), head_axis = indices("head", heads),
                  component_axis = indices("component", components.size);
  Norms result{.norm = {"norm", {sites({"q", "k", "v"}), layer_axis, head_axis, component_axis}},
               .offset = {"offset", {sites({"q", "k"}), layer_axis, head_axis, component_axis}},
               .offset_angle = {"offset_angle", {layer_axis, head_axis, component_axis}},
               .massive = {"massive", {sites({"q", "k", "v"}), layer_axis, head_axis, indices("channel", head_dim)}}};
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t site = 0; site < site_count; ++site) {
        const Sums& of = sums_of(site, layer, head);
        double mean = 0;
        for (const double square : of.squares) mean += std::sqrt(square) / static_cast<double>(head_dim);
        for (int64_t channel = 0; channel < head_dim && mean > 0; ++channel)
          result.massive.at({site, layer, head, channel}) = std::sqrt(of.squares[static_cast<size_t>(channel)]) / mean;
        for (int64_t c = 0; c < std::ssize(of.lengths); ++c) {
          const double length = of.lengths[static_cast<size_t>(c)];
          const auto [x, y] = of.vectors[static_cast<size_t>(c)];
          result.norm.at({site, layer, head, c}) = length / static_cast<double>(ids.size());
          if (site != v_site && length > 0) result.offset.at({site, layer, head, c}) = std::hypot(x, y) / length;
        }
      }
      for (int64_t c = 0; c < components.size; ++c) {
        const auto [qx, qy] = sums_of(q_site, layer, head).vectors[static_cast<size_t>(c)];
        const auto [kx, ky] = sums_of(k_site, layer, head).vectors[static_cast<size_t>(c)];
        if ((qx != 0 || qy != 0) && (kx != 0 || ky != 0))
          result.offset_angle.at({layer, head, c}) = std::atan2(kx * qy - ky * qx, kx * qx + ky * qy);
      }
    }
  return result;
}

}  // namespace phasor
