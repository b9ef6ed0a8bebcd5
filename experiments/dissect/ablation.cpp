// Encodings changed so that some components stand still, are left out, or carry no content.
#include "experiments/dissect/ablation.hpp"

#include <algorithm>
#include <cmath>

#include "core/ops/binary.hpp"
#include "core/ops/reduce.hpp"
#include "experiments/evaluation.hpp"

namespace phasor {

const char* name_of(Ablation ablation) {
  constexpr const char* names[] = {"stop", "remove", "mean"};
  return names[static_cast<size_t>(ablation)];
}

namespace {

using Side = PositionalEncoding::Side;

struct HeadRange {
  int64_t first, last;
};

// Those acted on.
struct Acted {
  HeadRange queries, keys;
};

Acted acted_on(const ModelShape& shape, Ablation ablation, const Ablated& which) {
  const int64_t kv_heads = shape.kv_heads == 0 ? shape.heads : shape.kv_heads, group = shape.heads / kv_heads;
  if (which.head < 0) return {{0, shape.heads - 1}, {0, kv_heads - 1}};
  const int64_t key = which.head / group;
  if (ablation == Ablation::remove) return {{which.head, which.head}, {key, key}};
  return {{key * group, (key + 1) * group - 1}, {key, key}};
}

struct Table {
  Var cos, sin;
};

// The components of `which` with their gain and angle 0, in a table [batch or 1, heads or 1, length, turning].
Table stopped(const Var& cos, const Var& sin, const Ablated& which, const HeadRange& heads, int64_t all_heads,
              Dtype dtype) {
  Shape shape = cos.value().shape();
  if (heads.last - heads.first + 1 < all_heads) shape = shape.with(1, all_heads);
  const Tensor new_cos = cos.value().to(Device::cpu).to(Dtype::f64).broadcast_to(shape).clone(),
               new_sin = sin.value().to(Device::cpu).to(Dtype::f64).broadcast_to(shape).clone();
  const View<double> c = new_cos.view<double>(), s = new_sin.view<double>();
  for (int64_t row = 0; row < shape[0]; ++row)
    for (int64_t head = heads.first; head <= std::min(heads.last, shape[1] - 1); ++head)
      for (int64_t position = 0; position < shape[2]; ++position)
        for (int64_t component = which.first; component <= std::min(which.last, shape[3] - 1); ++component) {
          c(row, head, position, component) =
              std::hypot(c(row, head, position, component), s(row, head, position, component));
          s(row, head, position, component) = 0;
        }
  return {new_cos.to(dtype), new_sin.to(dtype)};
}

PositionalEncoding::Rotation stopped(const PositionalEncoding::Rotation& rotation, const ModelShape& shape,
                                     const Ablated& which) {
  PositionalEncoding::Rotation changed = rotation;
  changed.spectrum.reset();  // it told of the intact rotation
  changed.same_in_every_layer = rotation.same_in_every_layer && which.layer < 0;
  changed.tables = [which, tables = rotation.tables,
                    acted = acted_on(shape, Ablation::stop, which)](const PositionalContext& context) {
    if (which.layer >= 0 && context.layer != which.layer) return tables(context);
    // Tables are taken in double and rounded once, as they are without an ablation: cos^2 + sin^2 of rounded ones is
    // not 1.
    PositionalContext in_double = context;
    in_double.q = cast(context.q, Dtype::f64);
    const RotaryTables of = tables(in_double);
    const Dtype dtype = context.q.dtype();
    const Table q = stopped(of.q_cos, of.q_sin, which, acted.queries, context.heads, dtype),
                k = stopped(of.k_cos, of.k_sin, which, acted.keys, context.kv_heads, dtype);
    return RotaryTables{q.cos, q.sin, k.cos, k.sin};
  };
  return changed;
}

// [1, heads, 1, channels] f64: 0 in the channels of the components, 1 elsewhere.
Tensor kept_channels(const Components& components, const Ablated& which, const HeadRange& acted, int64_t heads,
                     int64_t channels) {
  const Tensor kept = Tensor::full({1, heads, 1, channels}, 1, Dtype::f64);
  for (int64_t head = acted.first; head <= acted.last; ++head)
    for (int64_t component = which.first; component <= which.last; ++component)
      for (const int64_t channel : components.channels[static_cast<size_t>(component)])
        kept.view<double>()(0, head, 0, channel) = 0;
  return kept;
}

Var features_of(const PositionalEncoding& encoding, const Var& x, Side side, const PositionalContext& context) {
  return encoding.features ? encoding.features(x, side, context) : x;
}

}  // namespace

ChannelMeans channel_means(const Transformer& model, const Tensor& ids) {
  const int64_t windows = ids.extent(0), length = ids.extent(1);
  const auto layers = static_cast<size_t>(model.shape().layers);
  ChannelMeans means{.q = std::vector<Tensor>(layers), .k = std::vector<Tensor>(layers)};
  PositionalEncoding watched = model.encoding();
  watched.features = [&](const Var& x, Side side, const PositionalContext& context) {
    const Var seen = features_of(model.encoding(), x, side, context);
    Tensor& mean = (side == Side::query ? means.q : means.k)[static_cast<size_t>(context.layer)];
    const Tensor part = mul(sum(seen.value().to(Dtype::f64), {0, 2}),
                            Tensor::scalar(1 / static_cast<double>(windows * length), Dtype::f64));
    mean = mean.defined() ? add(mean, part) : part;
    return seen;
  };
  const Transformer reading = model.with_encoding(watched);
  const NoGradient scope;
  const int64_t at_once = windows_at_once(length);
  for (int64_t first = 0; first < windows; first += at_once)
    reading.logits(ids.slice(0, first, std::min(first + at_once, windows)));
  return means;
}

Transformer ablated(const Transformer& model, const Components& components, Ablation ablation, const Ablated& which,
                    const ChannelMeans& means) {
  const ModelShape& shape = model.shape();
  require<UsageError>(0 <= which.first && which.first <= which.last && which.last < components.size, "ablation",
                      "components ", which.first, " to ", which.last, "; the model has 0 to ", components.size - 1);
  require<UsageError>(-1 <= which.layer && which.layer < shape.layers, "ablation", "layer ", which.layer,
                      "; the model has 0 to ", shape.layers - 1, ", and -1 is all (dissect.layer)");
  require<UsageError>(-1 <= which.head && which.head < shape.heads, "ablation", "head ", which.head,
                      "; the model has 0 to ", shape.heads - 1, ", and -1 is all (dissect.head)");
  require<ValueError>(ablation != Ablation::mean || std::ssize(means.q) == shape.layers, "ablation", "means of ",
                      means.q.size(), " layers; the model has ", shape.layers, " (channel_means)");
  const PositionalEncoding& intact = model.encoding();
  PositionalEncoding changed = intact;
  if (ablation == Ablation::stop) {
    if (intact.rotation) changed.rotation = stopped(*intact.rotation, shape, which);
    if (intact.far_rotation) changed.far_rotation = stopped(*intact.far_rotation, shape, which);
    return model.with_encoding(changed);
  }
  changed.features = [=, acted = acted_on(shape, ablation, which)](const Var& x, Side side,
                                                                   const PositionalContext& context) {
    const Var seen = features_of(intact, x, side, context);
    const bool is_query = side == Side::query;
    if ((which.layer >= 0 && context.layer != which.layer) || (ablation == Ablation::remove && !is_query)) return seen;
    const Tensor kept =
        kept_channels(components, which, is_query ? acted.queries : acted.keys, x.extent(1), seen.extent(3));
    const Var rest = seen * kept.to(x.dtype());
    if (ablation == Ablation::remove) return rest;
    const Tensor& mean = (is_query ? means.q : means.k)[static_cast<size_t>(context.layer)];
    return rest + mul(mean, sub(Tensor::scalar(1, Dtype::f64), kept)).to(x.dtype());
  };
  return model.with_encoding(changed);
}

}  // namespace phasor
