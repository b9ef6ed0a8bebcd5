// Finds the components of a model and their frequencies by asking its encoding, and splits scores.
#include "experiments/dissect/components.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/parallel.hpp"
#include "core/random.hpp"

namespace phasor {
namespace {

constexpr int64_t positions_tried = 4;  // 0 to 3
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// Everything that a rotation may look at, in f64; the layer's input is `content`.
PositionalContext context_of(const Transformer& model, int64_t layer, const Tensor& content) {
  const ModelShape& shape = model.shape();
  PositionalContext context;
  context.layer = layer;
  context.heads = shape.heads;
  context.kv_heads = shape.kv_heads == 0 ? shape.heads : shape.kv_heads;
  context.q_positions = context.k_positions = consecutive_positions(positions_tried);
  context.current_length = positions_tried;
  context.train_length = shape.train_length;
  context.layer_input = context.key_input = content;
  const int64_t head_dim = shape.width / shape.heads;
  context.q = Tensor::zeros({1, context.heads, positions_tried, head_dim}, Dtype::f64);
  context.k = Tensor::zeros({1, context.kv_heads, positions_tried, head_dim}, Dtype::f64);
  return context;
}

// The angle by which position p turns a component of a head: the direction in which (1, 0) ends.
struct Angles {
  Tensor cos, sin;  // [1, heads or 1, positions_tried, components]
  double at(int64_t head, int64_t position, int64_t component) const {
    const int64_t row = cos.extent(1) == 1 ? 0 : head;
    return std::atan2(sin.view<double>()(0, row, position, component), cos.view<double>()(0, row, position, component));
  }
};

Angles angles_of(const Transformer& model, int64_t layer, const Tensor& content) {
  const RotaryTables tables = model.encoding().rotation->tables(context_of(model, layer, content));
  const auto here = [](const Var& x) { return x.value().to(Device::cpu).to(Dtype::f64); };
  return {here(tables.q_cos), here(tables.q_sin)};
}

bool same_direction(double angle, double other) {
  return std::abs(std::remainder(angle - other, 2 * std::numbers::pi)) <= 1e-9;
}

// The angular speed, if all positions turn by it whatever the content.
double frequency_of(const Angles& angles, const Angles& other_content, int64_t head, int64_t component) {
  const double start = angles.at(head, 0, component), frequency = angles.at(head, 1, component) - start;
  for (int64_t position = 0; position < positions_tried; ++position) {
    const double angle = angles.at(head, position, component);
    if (!same_direction(angle, start + frequency * static_cast<double>(position)) ||
        !same_direction(angle, other_content.at(head, position, component)))
      return nan;
  }
  return std::remainder(frequency, 2 * std::numbers::pi);
}

// Which channels the rotary op pairs among `turned`, and then the rest, neighbours together.
std::vector<std::array<int64_t, 2>> pairs_of(int64_t turned, int64_t width, RotaryLayout layout) {
  std::vector<std::array<int64_t, 2>> channels;
  for (int64_t c = 0; c < turned / 2; ++c)
    channels.push_back(layout == RotaryLayout::interleaved ? std::array<int64_t, 2>{2 * c, 2 * c + 1}
                                                           : std::array<int64_t, 2>{c, c + turned / 2});
  for (int64_t channel = turned; channel + 1 < width; channel += 2) channels.push_back({channel, channel + 1});
  return channels;
}

}  // namespace

double Components::wavelength(int64_t layer, int64_t head, int64_t component) const {
  return 2 * std::numbers::pi /
         std::abs(frequencies[static_cast<size_t>(layer)][static_cast<size_t>(head)][static_cast<size_t>(component)]);
}

double Components::within_train_length() const {
  if (std::isnan(frequencies[0][0][0])) return nan;
  int64_t count = 0;
  while (count < size && wavelength(0, 0, count) <= static_cast<double>(train_length)) ++count;
  return static_cast<double>(count);
}

std::vector<Site> Components::sites() const {
  std::vector<Site> sites = {Site::q_rotated, Site::k_rotated};
  if (far_from > 0) sites.insert(sites.end(), {Site::q_far, Site::k_far});
  return sites;
}

Components components_of(const Transformer& model) {
  const ModelShape& shape = model.shape();
  const PositionalEncoding& encoding = model.encoding();
  require<UsageError>(encoding.rotation.has_value(), "dissect", shape.encoding,
                      " turns no components; needs an encoding with a rotation, such as rope or hope");
  const NoGradient scope;
  Random random{.seed = 1};
  const Shape content_shape = {1, positions_tried, shape.width};
  const Tensor zeros = Tensor::zeros(content_shape, Dtype::f64),
               others = normal(content_shape, 0, 1, Dtype::f64, random);
  Components components;
  int64_t turned = 0, width = shape.width / shape.heads;
  if (encoding.features) {
    const PositionalContext context = context_of(model, 0, zeros);
    width = encoding.features(context.q, PositionalEncoding::Side::query, context).extent(3);
  }
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const Angles angles = angles_of(model, layer, zeros), other_content = angles_of(model, layer, others);
    turned = 2 * angles.cos.extent(3);
    const int64_t size = width / 2;
    std::vector<std::vector<double>>& of_layer = components.frequencies.emplace_back();
    for (int64_t head = 0; head < shape.heads; ++head) {
      std::vector<double>& of_head = of_layer.emplace_back();
      for (int64_t c = 0; c < size; ++c)
        of_head.push_back(c < turned / 2 ? frequency_of(angles, other_content, head, c) : 0);
    }
  }
  components.channels = pairs_of(turned, width, shape.layout);
  components.size = std::ssize(components.channels);
  components.scale = 1 / std::sqrt(static_cast<double>(shape.width / shape.heads));
  components.train_length = shape.train_length;
  if (encoding.far_rotation) components.far_from = encoding.far_from;
  return components;
}

HeadParts::HeadParts(const Components& components, const LayerValues& layer, int64_t window, int64_t head)
    : length_(layer[Site::q_rotated].extent(2)), far_from_(components.far_from) {
  // x [batch, heads or key heads, length, width], the channels of this head.
  const auto channels_of = [&](const Tensor& x, double scale) {
    const int64_t group = layer[Site::q_rotated].extent(1) / x.extent(1);
    const Tensor tokens = x.select(0, window).select(0, head / group).to(Dtype::f64);
    const View<double> at = tokens.view<double>();
    std::vector<double> rows;
    rows.reserve(static_cast<size_t>(2 * components.size * length_));
    for (const std::array<int64_t, 2>& pair : components.channels)
      for (const int64_t channel : pair)
        for (int64_t token = 0; token < length_; ++token) rows.push_back(scale * at(token, channel));
    return rows;
  };
  near_ = {channels_of(layer[Site::q_rotated], components.scale), channels_of(layer[Site::k_rotated], 1)};
  if (far_from_ > 0) far_ = {channels_of(layer[Site::q_far], components.scale), channels_of(layer[Site::k_far], 1)};
}

void HeadParts::products(const Channels& channels, int64_t component, int64_t query, int64_t keys_begin,
                         int64_t keys_end, double* parts) const {
  const int64_t first = 2 * component * length_, second = first + length_;
  const double* const q = channels.q.data();
  const double* const k = channels.k.data();
  const double q_first = q[first + query], q_second = q[second + query];
  for (int64_t n = keys_begin; n < keys_end; ++n) parts[n] = q_first * k[first + n] + q_second * k[second + n];
}

void HeadParts::of_query(int64_t component, int64_t query, double* parts) const {
  const int64_t near_begin = far_from_ > 0 ? std::max<int64_t>(0, query - far_from_ + 1) : 0;
  if (near_begin > 0) products(far_, component, query, 0, near_begin, parts);
  products(near_, component, query, near_begin, query + 1, parts);
}

Tensor component_scores(const Components& components, const LayerValues& layer) {
  const Shape& q = layer[Site::q_rotated].shape();
  const int64_t batch = q[0], heads = q[1], length = q[2];
  const Tensor scores = Tensor::zeros({batch, heads, components.size, length, length}, Dtype::f64);
  const View<double> at = scores.view<double>();
  parallel_for(batch * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t window = task / heads, head = task % heads;
      const HeadParts parts(components, layer, window, head);
      for (int64_t c = 0; c < components.size; ++c)
        for (int64_t m = 0; m < length; ++m) parts.of_query(c, m, &at(window, head, c, m, 0));
    }
  });
  return scores;
}

}  // namespace phasor
