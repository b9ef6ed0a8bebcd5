// Every encoding of nn/positional/encodings/, looped over: a new file is tested without touching this one.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "autograd/gradcheck.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/matmul.hpp"
#include "core/ops/reduce.hpp"
#include "core/ops/unary.hpp"
#include "nn/model.hpp"

using namespace phasor;

namespace {

constexpr AttentionShape shape = {
    .layers = 2, .width = 64, .heads = 4, .kv_heads = 4, .head_dim = 16, .train_length = 24};

double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  const std::vector<double> x = a.to(Dtype::f64).to_vector<double>(), y = b.to(Dtype::f64).to_vector<double>();
  double largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = std::abs(x[i] - y[i]);
    if (!(difference <= largest)) largest = difference;  // NaN comes through
  }
  return largest;
}

// The bias of every query and key from that of every distance, [heads or 1, length]; 0 for later keys.
Var spread(const Var& by_distance) {
  const int64_t length = by_distance.extent(1);
  const Tensor is_at = Tensor::zeros({length, length * length}, Dtype::f64);
  for (int64_t i = 0; i < length; ++i)
    for (int64_t j = 0; j <= i; ++j) is_at.view<double>()(i - j, i * length + j) = 1;
  return reshape(matmul(by_distance, is_at), {1, by_distance.extent(0), length, length});
}

struct Scored {
  Var q, k, scores;
};

// What the encoding makes of q and k at the given positions, in f64: [batch, heads, length, length].
Scored scored(const PositionalEncoding& encoding, const Var& q, const Var& k, const Tensor& positions) {
  PositionalContext context;
  context.heads = q.extent(1);
  context.kv_heads = k.extent(1);
  context.q = q;
  context.k = k;
  context.q_positions = context.k_positions = positions;
  context.current_length = q.extent(2);
  context.train_length = shape.train_length;
  Scored result{q, k, {}};
  if (encoding.rotation) {
    const RotaryTables t = encoding.rotation->tables(context);
    result.q = rotary(q, t.q_cos, t.q_sin, RotaryLayout::half_split);
    result.k = rotary(k, t.k_cos, t.k_sin, RotaryLayout::half_split);
  }
  result.scores = matmul(result.q, transpose(result.k, 2, 3));
  if (encoding.bias_of_distance) {
    const ScoreBias bias = bias_at(encoding.bias_of_distance, context, {}, Dtype::f64);
    result.scores = result.scores + (bias.by_position.defined() ? bias.by_position : spread(bias.by_distance));
  }
  if (encoding.transform) result.scores = encoding.transform(result.scores, context);
  return result;
}

struct Sample {
  Tensor q, k;
};

Sample sample(int64_t length, uint64_t seed) {
  Random random{.seed = seed};
  return {normal({1, 4, length, 16}, 0, 1, Dtype::f64, random), normal({1, 4, length, 16}, 0, 1, Dtype::f64, random)};
}

bool claims(const EncodingEntry& entry, Claim claim) {
  return std::find(entry.claims.begin(), entry.claims.end(), claim) != entry.claims.end();
}

// How far 0, 1, ..., length - 1 may shift within the positions that the encoding knows.
double last_shift(const PositionalEncoding& encoding, int64_t length) {
  return static_cast<double>(std::max<int64_t>(0, encoding.position_limit - length));
}

Tensor some_ids(int64_t batch, int64_t length, int64_t vocabulary, uint64_t seed) {
  Random random{.seed = seed};
  const Tensor ids = Tensor::empty({batch, length}, Dtype::i32);
  for (int64_t i = 0; i < ids.size(); ++i) ids.data<int32_t>()[i] = static_cast<int32_t>(random.below(vocabulary));
  return ids;
}

ModelShape tiny(const std::string& encoding) {
  return {.vocabulary = 17,
          .width = 32,
          .layers = 2,
          .heads = 4,
          .kv_heads = 2,
          .hidden = 40,
          .train_length = 16,
          .encoding = encoding,
          .dtype = Dtype::f64};
}

}  // namespace

TEST_CASE("every encoding tells what it is") {
  REQUIRE(encodings().size() >= 4);
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    CHECK(!entry.summary.empty());
    CHECK(entry.summary.size() <= 63);  // `phasor list` has 80 columns
    CHECK(entry.paper.find("arXiv") != std::string::npos);
  }
}

TEST_CASE("encodings: the claims that hold are the claims that are made") {
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    ParameterList learned;
    const PositionalEncoding encoding = entry.make(shape, learned);
    const auto [q, k] = sample(9, 3);

    const Scored at_zero = scored(encoding, q, k, consecutive_positions(9));
    double largest_shift = 0;
    for (const double shift : {1.0, 17.0, std::min(100000.0, last_shift(encoding, 9))})
      largest_shift = std::max(
          largest_shift, largest_difference(scored(encoding, q, k, consecutive_positions(9, shift)).scores.value(),
                                            at_zero.scores.value()));
    // Angles near 100 000 rad carry 1.5e-11 in double; scores of 16 channels of order 1 add some ten of those.
    // What is added to the embedding enters the content, wherever the window begins.
    CHECK((!encoding.embed && largest_shift <= 1e-9) == claims(entry, Claim::relative));

    const auto norms = [](const Var& x) { return sum(mul(x.value(), x.value()), {-1}); };
    const bool norms_stay = largest_difference(norms(at_zero.q), norms(q)) <= 1e-12 &&
                            largest_difference(norms(at_zero.k), norms(k)) <= 1e-12;
    CHECK(norms_stay == claims(entry, Claim::preserves_norm));
    CHECK(learned.all().empty() == claims(entry, Claim::no_parameters));
  }
}

TEST_CASE("encodings: gradients of the scores, also beyond the training length and at length 1") {
  for (const auto& [name, entry] : encodings()) {
    for (const int64_t length : {1, 5, 31}) {
      CAPTURE(name);
      CAPTURE(length);
      ParameterList learned;
      const PositionalEncoding encoding = entry.make(shape, learned);
      const auto [q, k] = sample(length, 4);
      const GradcheckResult result = gradcheck(
          [&](const std::vector<Var>& x) { return scored(encoding, x[0], x[1], consecutive_positions(length)).scores; },
          {q, k});
      CHECK_MESSAGE(result.worst <= 1e-7, result.message);
    }
  }
}

TEST_CASE("encodings: no token sees a later one, and each but nope changes the model") {
  const Tensor ids = some_ids(2, 20, 17, 5);
  ModelShape longer = tiny("nope");
  longer.train_length = 20;
  const NoGradient scope;
  const Tensor without = Transformer(longer, 1).logits(ids).value();
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    longer.encoding = name;
    const Transformer model(longer, 1);
    const Tensor before = model.logits(ids).value();
    const Tensor changed = ids.clone();
    changed.data<int32_t>()[12] = (changed.data<int32_t>()[12] + 1) % 17;  // token 12 of window 0
    const Tensor after = model.logits(changed).value();
    CHECK(largest_difference(before.slice(1, 0, 12), after.slice(1, 0, 12)) == 0);
    CHECK(largest_difference(before.slice(1, 12, 20).slice(0, 0, 1), after.slice(1, 12, 20).slice(0, 0, 1)) > 0);
    CHECK(largest_difference(before.slice(0, 1, 2), after.slice(0, 1, 2)) == 0);
    CHECK((largest_difference(before, without) > 1e-9) == (name != "nope"));
  }
}

TEST_CASE("encodings: both layouts of a rotary model agree after the permutation of channels") {
  for (const char* name : {"rope", "hope", "p_rope"}) {
    CAPTURE(name);
    ModelShape half = tiny(name), interleaved = tiny(name);
    interleaved.layout = RotaryLayout::interleaved;
    const Transformer a(half, 1), b(interleaved, 1);
    // Channel p of component p and its partner: (p, p + r/2) in half_split, (2p, 2p + 1) interleaved.
    for (int64_t layer = 0; layer < half.layers; ++layer)
      for (const char* projection : {".attention.q.weight", ".attention.k.weight"}) {
        const std::string parameter = "block." + std::to_string(layer) + projection;
        const Tensor from = a.parameters()[parameter].value();
        const Tensor to = Tensor::empty(from.shape(), from.dtype());
        const int64_t head_dim = half.width / half.heads;
        for (int64_t column = 0; column < from.extent(1); ++column) {
          const int64_t head = column / head_dim, channel = column % head_dim;
          const int64_t component = channel % (head_dim / 2), second = channel / (head_dim / 2);
          copy_into(to.select(1, head * head_dim + 2 * component + second), from.select(1, column));
        }
        b.parameters()[parameter].assign(to);
      }
    const NoGradient scope;
    const Tensor ids = some_ids(2, 20, 17, 6);
    CHECK(largest_difference(a.logits(ids).value(), b.logits(ids).value()) <= 1e-13);
  }
}

TEST_CASE("encodings: positions are an argument") {
  const NoGradient scope;
  const Tensor ids = some_ids(2, 12, 17, 7);
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const Transformer model(tiny(name), 1);
    const Tensor plain = model.logits(ids).value();
    CHECK(largest_difference(model.logits(ids, {.positions = consecutive_positions(12), .segments = {}}).value(),
                             plain) == 0);
    if (claims(entry, Claim::relative)) {
      const Tensor far = consecutive_positions(12, std::min(100000.0, last_shift(model.encoding(), 12)));
      CHECK(largest_difference(model.logits(ids, {.positions = far, .segments = {}}).value(), plain) <= 1e-10);
    }
    CHECK_THROWS_AS(model.logits(ids, {.positions = consecutive_positions(11), .segments = {}}), ShapeError);
  }
}

TEST_CASE("encodings: keys turn by their own positions when queries are fewer") {
  ParameterList none;
  const PositionalEncoding rope = encoding_named("rope").make(shape, none);
  const auto [q, k] = sample(5, 10);
  PositionalContext context;
  context.q = q.slice(2, 4, 5);
  context.k = k;
  context.k_positions = consecutive_positions(5);
  context.q_positions = context.k_positions.slice(1, 4, 5);  // decoding: the last token asks, all are looked at
  const RotaryTables t = rope.rotation->tables(context);
  CHECK(t.q_cos.shape() == Shape{1, 1, 1, 8});
  CHECK(t.k_cos.shape() == Shape{1, 1, 5, 8});
  CHECK(largest_difference(t.q_cos.value(), t.k_cos.value().slice(2, 4, 5)) == 0);
}

TEST_CASE("hope: components slower than the training length stop, equality stays") {
  const auto turning = [](int64_t head_dim, int64_t train_length, double base) {
    AttentionShape s = shape;
    s.head_dim = head_dim;
    s.train_length = train_length;
    s.rope_base = base;
    ParameterList none;
    return encoding_named("hope").make(s, none).rotation->spectrum->turning();
  };
  // positional-encodings: K for base 10 000 and 500 000, head 64 and others.
  CHECK(turning(64, 64, 1e4) == 9);
  CHECK(turning(64, 128, 1e4) == 11);
  CHECK(turning(64, 256, 1e4) == 13);
  CHECK(turning(64, 512, 1e4) == 16);
  CHECK(turning(64, 4096, 1e4) == 23);
  CHECK(turning(16, 64, 1e4) == 3);
  CHECK(turning(128, 4096, 5e5) == 32);

  // The fastest wavelength is 2 pi: 6 tokens keep nothing, 7 keep it.
  ParameterList none;
  AttentionShape s = shape;
  s.train_length = 7;
  CHECK(encoding_named("hope").make(s, none).rotation->spectrum->turning() == 1);
  s.train_length = 6;
  CHECK_THROWS_WITH_AS(
      encoding_named("hope").make(s, none),
      doctest::Contains("hope: nothing is left to rotate: the fastest wavelength is 6.28319 tokens, train.length is 6"),
      UsageError);

  // Kept frequencies are RoPE's own.
  s.train_length = 24;
  const Spectrum rope = *encoding_named("rope").make(s, none).rotation->spectrum;
  const Spectrum kept = *encoding_named("hope").make(s, none).rotation->spectrum;
  for (const Component& c : kept) {
    if (rope[c.index].wavelength() <= 24)
      CHECK(c.frequency == rope[c.index].frequency);
    else
      CHECK(c.frequency == 0);
  }
  // A wavelength of exactly the training length stays; the next larger number stops. Two components turn with
  // frequencies 1 and base^(-1/2); the base is searched, one rounding after the other, for that wavelength.
  s.head_dim = 4;
  s.rope_base = std::pow(24 / (2 * 3.14159265358979323846), 2);
  for (int i = 0; i < 50; ++i) s.rope_base = std::nextafter(s.rope_base, 0.0);
  const auto wavelength = [&] { return Spectrum::geometric(2, s.rope_base)[1].wavelength(); };
  while (wavelength() < 24) s.rope_base = std::nextafter(s.rope_base, 1e9);
  REQUIRE(wavelength() == 24);
  CHECK(encoding_named("hope").make(s, none).rotation->spectrum->turning() == 2);
  while (wavelength() == 24) s.rope_base = std::nextafter(s.rope_base, 1e9);
  REQUIRE(wavelength() < 24.00000001);
  CHECK(encoding_named("hope").make(s, none).rotation->spectrum->turning() == 1);
}

TEST_CASE("p_rope: the fastest fraction turns with RoPE's frequencies") {
  ParameterList none;
  AttentionShape s = shape;
  s.head_dim = 64;
  for (const auto& [fraction, expected] : {std::pair{0.0, 0}, {0.25, 8}, {0.75, 24}, {1.0, 32}}) {
    s.fraction = fraction;
    const Spectrum spectrum = *encoding_named("p_rope").make(s, none).rotation->spectrum;
    CHECK(spectrum.turning() == expected);
    for (const Component& c : spectrum)
      if (c.index < expected)
        CHECK(c.frequency ==
              doctest::Approx(std::pow(10000.0, -2.0 * static_cast<double>(c.index) / 64)).epsilon(1e-15));
  }
}

TEST_CASE("spectrum: tables in double, rounded once, also at position one million") {
  const Spectrum spectrum = Spectrum::geometric(4, 10000);
  CHECK(spectrum[0].wavelength() == doctest::Approx(6.283185307179586));
  const Tensor positions = consecutive_positions(3, 1e6 - 1);
  const CosSin table = spectrum.table(positions, Dtype::f32);
  CHECK(table.cos.shape() == Shape{1, 1, 3, 4});
  for (int64_t row = 0; row < 3; ++row)
    for (const Component& c : spectrum) {
      const long double angle =
          static_cast<long double>(std::pow(10000.0, -static_cast<double>(c.index) / 4)) * (1e6L - 1 + row);
      CHECK(std::abs(table.cos.view<float>()(0, 0, row, c.index) - static_cast<float>(std::cos(angle))) <= 1e-6);
      CHECK(std::abs(table.sin.view<float>()(0, 0, row, c.index) - static_cast<float>(std::sin(angle))) <= 1e-6);
    }
  CHECK_THROWS_AS(Spectrum::geometric(0, 10000), UsageError);
  CHECK_THROWS_AS(Spectrum::geometric(4, 1), UsageError);
  CHECK_THROWS_AS(spectrum.table(positions.select(0, 0), Dtype::f32), ShapeError);
}

TEST_CASE("an unknown encoding is refused with the nearest name") {
  CHECK_THROWS_WITH_AS(encoding_named("ropee"), doctest::Contains("rope"), UsageError);
}

// The parts of an encoding that no file uses yet, through one made here.
TEST_CASE("bias, transform and embedding reach the model, with gradients to what they learn") {
  const auto [q, k] = sample(6, 8);
  Random random{.seed = 9};
  const Tensor slopes = uniform({4, 1}, 0.1, 1, Dtype::f64, random);
  const auto with_slope = [](const Var& slope) {
    PositionalEncoding encoding =
        PositionalEncoding::bias([slope](const Var& distance) { return -(slope * distance); });
    encoding.transform = [](const Var& scores, const PositionalContext&) { return tanh(scores); };
    return encoding;
  };
  const Tensor scores = scored(with_slope(slopes), q, k, consecutive_positions(6)).scores.value();
  const View<double> at = scores.view<double>(), q_at = q.view<double>(), k_at = k.view<double>();
  for (int64_t head = 0; head < 4; ++head)
    for (int64_t i = 0; i < 6; ++i)
      for (int64_t j = 0; j <= i; ++j) {
        double dot = 0;
        for (int64_t c = 0; c < 16; ++c) dot += q_at(0, head, i, c) * k_at(0, head, j, c);
        CHECK(
            at(0, head, i, j) ==
            doctest::Approx(std::tanh(dot - slopes.data<double>()[head] * static_cast<double>(i - j))).epsilon(1e-12));
      }
  const GradcheckResult result = gradcheck(
      [&](const std::vector<Var>& x) { return scored(with_slope(x[2]), x[0], x[1], consecutive_positions(6)).scores; },
      {q, k, slopes});
  CHECK_MESSAGE(result.worst <= 1e-7, result.message);
}
