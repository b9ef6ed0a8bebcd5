// Finds the components of a model and their frequencies by asking its encoding, and splits scores.
#include "experiments/dissect/components.hpp"

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
  return {tables.q_cos.value().to(Dtype::f64), tables.q_sin.value().to(Dtype::f64)};
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

int64_t Components::within_train_length() const {
  int64_t count = 0;
  while (count < size && wavelength(0, 0, count) <= static_cast<double>(train_length)) ++count;
  return count;
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
  return components;
}

Tensor component_scores(const Components& components, const LayerValues& layer, int64_t far_from) {
  const Tensor& q = layer[Site::q_rotated];
  const Tensor& k = layer[Site::k_rotated];
  const int64_t batch = q.extent(0), heads = q.extent(1), q_length = q.extent(2), k_length = k.extent(2);
  const int64_t group = heads / k.extent(1), first_query = k_length - q_length;
  const auto in_double = [](const Tensor& x) { return x.to(Dtype::f64).contiguous(); };
  const Tensor near_q = in_double(q), near_k = in_double(k);
  const Tensor far_q = far_from > 0 ? in_double(layer[Site::q_far]) : near_q,
               far_k = far_from > 0 ? in_double(layer[Site::k_far]) : near_k;
  const Tensor scores = Tensor::zeros({batch, heads, components.size, q_length, k_length}, Dtype::f64);
  const View<double> at = scores.view<double>();
  parallel_for(batch * heads * components.size, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t c = task % components.size, head = task / components.size % heads,
                    row = task / components.size / heads;
      const auto [first, second] = components.channels[static_cast<size_t>(c)];
      for (int64_t m = 0; m < q_length; ++m)
        for (int64_t n = 0; n <= first_query + m; ++n) {
          const bool is_far = far_from > 0 && first_query + m - n >= far_from;
          const View<double> queries = (is_far ? far_q : near_q).view<double>(),
                             keys = (is_far ? far_k : near_k).view<double>();
          at(row, head, c, m, n) =
              components.scale * (queries(row, head, m, first) * keys(row, head / group, n, first) +
                                  queries(row, head, m, second) * keys(row, head / group, n, second));
        }
    }
  });
  return scores;
}

}  // namespace phasor
