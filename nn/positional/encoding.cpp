// What encodings share: rotary tables, biases of distances, look-up by name.
#include "nn/positional/encoding.hpp"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "core/nearest_name.hpp"

namespace phasor {

PositionalEncoding PositionalEncoding::rotary(const Spectrum& spectrum) {
  PositionalEncoding encoding;
  encoding.rotation = Rotation{
      .tables =
          [spectrum](const PositionalContext& c) {
            const Dtype dtype = c.q.dtype();
            const CosSin q = spectrum.table(c.q_positions, dtype);
            const CosSin k = c.k_positions.is_same_view(c.q_positions) ? q : spectrum.table(c.k_positions, dtype);
            return RotaryTables{q.cos, q.sin, k.cos, k.sin};
          },
      .spectrum = spectrum,
  };
  return encoding;
}

PositionalEncoding PositionalEncoding::bias(BiasOfDistance f) {
  PositionalEncoding encoding;
  encoding.bias_of_distance = std::move(f);
  return encoding;
}

const EncodingEntry& encoding_named(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, entry] : encodings()) {
    if (known == name) return entry;
    names.push_back(known);
  }
  throw UsageError(unknown_name("encoding", name, names));
}

PositionalEncoding make_encoding(const EncodingEntry& entry, const AttentionShape& shape, ParameterList& parameters) {
  const char* const op = "encoding";
  require<UsageError>(static_cast<bool>(entry.make), op, "there is no make");
  require<UsageError>(shape.train_length >= 1, op, "train_length is ", shape.train_length, "; needs at least 1");
  const PositionalEncoding made = entry.make(shape, parameters);
  for (const auto* const rotation : {&made.rotation, &made.far_rotation}) {
    require<UsageError>(!*rotation || (*rotation)->tables, op, "a rotation has no tables");
    if (!*rotation || made.features) continue;
    const int64_t turning = (*rotation)->spectrum ? (*rotation)->spectrum->size() : 0;
    require<UsageError>(shape.head_dim % 2 == 0, op, "head_dim = width / heads = ", shape.head_dim,
                        " is odd; components are pairs of channels");
    require<UsageError>(turning <= shape.components(), op, "the spectrum has ", turning,
                        " components, head_dim = ", shape.head_dim, " has ", shape.components(),
                        "; needs no more, or features of more channels");
  }
  require<UsageError>(!made.far_rotation || made.rotation, op,
                      "there is a far rotation but no rotation; near pairs need one too");
  require<UsageError>(!made.far_rotation || made.far_from >= 1, op, "far_from is ", made.far_from,
                      "; a far rotation needs a distance of at least 1 to begin at");
  require<UsageError>(made.far_rotation || made.far_from == 0, op, "far_from is ", made.far_from,
                      ", but there is no far rotation to begin there");
  require<UsageError>(made.position_limit >= 1, op, "position_limit is ", made.position_limit,
                      ": no position is below it; needs at least 1");
  return made;
}

Random parameter_random(const AttentionShape& shape) {
  return {.seed = shape.seed, .stream = 0x706f736974696f6e};  // "position"
}

Tensor consecutive_positions(int64_t length, double first) {
  const Tensor positions = Tensor::empty({1, length}, Dtype::f64);
  double* const p = positions.data<double>();
  for (int64_t i = 0; i < length; ++i) p[i] = first + static_cast<double>(i);
  return positions;
}

bool PositionalEncoding::same_tables(int64_t length, int64_t other) const {
  const auto same = [&](const std::optional<Rotation>& r) {
    return !r || !r->table_length || r->table_length(length) == r->table_length(other);
  };
  return same(rotation) && same(far_rotation);
}

const char* PositionalEncoding::why_unfused() const {
  if (transform) return "the encoding transforms scores";
  if (far_rotation) return "the encoding has two sets of scores";
  return nullptr;
}

namespace {

// The rows that all broadcast to; none is a number too. `segments` may be undefined.
int64_t rows_of(const Tensor& q_positions, const Tensor& k_positions, const Tensor& segments) {
  const auto rows = [](const Tensor& x) { return Shape{x.defined() ? x.extent(0) : 1}; };
  return broadcast_shape("positions", broadcast_shape("positions", rows(q_positions), rows(k_positions)),
                         rows(segments))[0];
}

// Whether position - index is one number for all tokens of a segment, and the queries are the last keys.
bool distances_are_of_indices(const PositionalContext& c, const Tensor& segments) {
  const int64_t q_length = c.q_positions.extent(1), k_length = c.k_positions.extent(1);
  const int64_t batch = rows_of(c.q_positions, c.k_positions, segments);
  if (q_length > k_length) return false;
  const Tensor q = c.q_positions.broadcast_to({batch, q_length}), k = c.k_positions.broadcast_to({batch, k_length});
  Tensor ids;
  if (segments.defined()) ids = segments.to(Dtype::i64).broadcast_to({batch, k_length});
  for (int64_t row = 0; row < batch; ++row) {
    std::unordered_map<int64_t, double> offset_of;
    for (int64_t i = 0; i < k_length; ++i) {
      const int64_t id = ids.defined() ? ids.view<int64_t>()(row, i) : 0;
      const double offset = k.view<double>()(row, i) - static_cast<double>(i);
      if (offset_of.emplace(id, offset).first->second != offset) return false;
    }
    for (int64_t i = 0; i < q_length; ++i)
      if (q.view<double>()(row, i) != k.view<double>()(row, i + k_length - q_length)) return false;
  }
  return true;
}

Var checked_bias(const PositionalEncoding::BiasOfDistance& bias, const Tensor& distance) {
  const Var of_heads = bias(distance);
  require<ValueError>(of_heads.defined(), "encoding", "bias_of_distance returned nothing");
  require(of_heads.rank() == 2 && of_heads.extent(1) == distance.extent(1), "encoding", "bias_of_distance returned ",
          of_heads.shape(), " for distances ", distance.shape(), "; needs [heads or 1, ", distance.extent(1), "]");
  return of_heads;
}

}  // namespace

Tensor distances(const PositionalContext& c, Dtype dtype) {
  const int64_t rows = rows_of(c.q_positions, c.k_positions, {});
  const int64_t q_length = c.q_positions.extent(1), k_length = c.k_positions.extent(1);
  const View<double> q = c.q_positions.broadcast_to({rows, q_length}).view<double>();
  const View<double> k = c.k_positions.broadcast_to({rows, k_length}).view<double>();
  const Tensor distance = Tensor::empty({rows, 1, q_length, k_length}, Dtype::f64);
  const View<double> at = distance.view<double>();
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < q_length; ++i)
      for (int64_t j = 0; j < k_length; ++j) at(row, 0, i, j) = std::max(q(row, i) - k(row, j), 0.0);
  return distance.to(dtype);
}

LearnedCosSin learned_table(const Var& frequencies, const Tensor& positions, Dtype dtype) {
  require(frequencies.rank() == 1 || frequencies.rank() == 2, "learned_table", "frequencies are ", frequencies.shape(),
          "; expected [components] or [heads, components]");
  require(positions.rank() == 2, "learned_table", "positions are ", positions.shape(),
          "; expected [batch or 1, length]");
  const int64_t heads = frequencies.rank() == 2 ? frequencies.extent(0) : 1;
  const Var in_double = reshape(cast(frequencies, Dtype::f64), {1, heads, 1, frequencies.extent(-1)});
  const Var angle = in_double * Var(positions.to(Dtype::f64).reshape({positions.extent(0), 1, positions.extent(1), 1}));
  return {cast(cos(angle), dtype), cast(sin(angle), dtype)};
}

Var for_query_heads(const Var& table, int64_t heads) {
  const int64_t rows = table.extent(0), kv_heads = table.extent(1), length = table.extent(2),
                components = table.extent(3);
  require(kv_heads >= 1 && heads % kv_heads == 0, "for_query_heads", "the table is ", table.value().shape(), "; its ",
          kv_heads, " key heads do not divide ", heads, " heads");
  const Shape grouped = {rows, kv_heads, heads / kv_heads, length, components};
  return reshape(broadcast_to(reshape(table, {rows, kv_heads, 1, length, components}), grouped),
                 {rows, heads, length, components});
}

double extension_factor(const char* encoding, const AttentionShape& shape) {
  require<UsageError>(shape.factor >= 1 && std::isfinite(shape.factor), encoding, "the extension factor is ",
                      shape.factor, "; needs a finite number >= 1 (encoding.factor)");
  require<UsageError>(shape.train_length >= 1, encoding, "train.length is ", shape.train_length, "; needs at least 1");
  return shape.factor;
}

int64_t far_window(const char* encoding, const AttentionShape& shape) {
  const int64_t window = shape.train_length / 4;
  require<UsageError>(window >= 1, encoding, "the window, a quarter of train.length = ", shape.train_length,
                      ", holds no token; needs train.length 4 or more");
  return window;
}

PositionalEncoding rotary_with_far_positions(const Spectrum& spectrum, int64_t window, NewPositions of_queries,
                                             NewPositions of_keys) {
  PositionalEncoding encoding = PositionalEncoding::rotary(spectrum);
  encoding.far_from = window;
  encoding.far_rotation.emplace();
  encoding.far_rotation->tables = [=](const PositionalContext& c) {
    const CosSin q = spectrum.table(of_queries(c.q_positions), c.q.dtype());
    const CosSin k = spectrum.table(of_keys(c.k_positions), c.q.dtype());
    return RotaryTables{q.cos, q.sin, k.cos, k.sin};
  };
  return encoding;
}

int64_t turning_components(const char* encoding, const AttentionShape& s) {
  require<UsageError>(s.fraction >= 0 && s.fraction <= 1, encoding, "encoding.fraction is ", s.fraction,
                      "; needs a number from 0 to 1");
  const auto turning = static_cast<int64_t>(std::floor(s.fraction * static_cast<double>(s.components())));
  require<UsageError>(turning >= 1, encoding, "nothing is left to rotate: encoding.fraction = ", s.fraction, " of ",
                      s.components(), " components is less than 1; needs more, or use nope");
  return turning;
}

ScoreBias bias_at(const PositionalEncoding::BiasOfDistance& bias, const PositionalContext& c, const Tensor& segments,
                  Dtype dtype) {
  const int64_t q_length = c.q_positions.extent(1), k_length = c.k_positions.extent(1);
  if (distances_are_of_indices(c, segments))
    return {.by_distance = checked_bias(bias, consecutive_positions(k_length).to(dtype)), .by_position = {}};

  const int64_t batch = rows_of(c.q_positions, c.k_positions, {});
  const Tensor distance = distances(c, dtype);
  const Var of_heads = checked_bias(bias, distance.reshape({1, distance.size()}));  // [heads or 1, n]
  const int64_t heads = of_heads.extent(0);
  return {.by_distance = {}, .by_position = transpose(reshape(of_heads, {heads, batch, q_length, k_length}), 0, 1)};
}

}  // namespace phasor
