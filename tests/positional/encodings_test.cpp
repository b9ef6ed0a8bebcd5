// Every encoding of nn/positional/encodings/, looped over: a new file is tested without touching this one.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "autograd/gradcheck.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/reduce.hpp"
#include "nn/model.hpp"
#include "nn/optimizer.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/encoding_scores.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

constexpr AttentionShape shape = {
    .layers = 2, .width = 64, .heads = 4, .kv_heads = 2, .head_dim = 16, .train_length = 24, .dtype = Dtype::f64};

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

// What the layers of an encoding make of the inputs, one behind the other.
Var all_layers(const PositionalEncoding& encoding, const EncodingInputs& inputs) {
  const Tensor positions = consecutive_positions(inputs.q.extent(2));
  std::vector<Var> parts;
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const Encoded e = encoded(encoding, inputs, positions, shape, layer);
    parts.push_back(reshape(e.scores, {e.scores.size()}));
    if (layer == 0 && encoding.embed) parts.push_back(reshape(e.embedded, {e.embedded.size()}));
  }
  return concat(parts, 0);
}

bool claims(const EncodingEntry& entry, Claim claim) {
  return std::find(entry.claims.begin(), entry.claims.end(), claim) != entry.claims.end();
}

// How far 0, 1, ..., length - 1 may shift within the positions that the encoding knows.
double last_shift(const PositionalEncoding& encoding, int64_t length) {
  return static_cast<double>(std::max<int64_t>(0, encoding.position_limit - length));
}

Tensor some_ids(int64_t batch, int64_t length, uint64_t seed) {
  Random random{.seed = seed};
  return random_ids({batch, length}, small_vocabulary, random);
}

ModelShape small(const std::string& encoding) { return small_model(encoding, 16); }

}  // namespace

TEST_CASE("every encoding tells what it is") {
  REQUIRE(encodings().size() >= 4);
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    CHECK(!entry.summary.empty());
    CHECK(entry.summary.size() <= 63);  // `phasor list` has 80 columns
    CHECK_MESSAGE(!entry.paper.empty(), "say where the idea is from, \"own\" if it is new");
    CHECK((entry.unsure.empty() || entry.unsure.ends_with(".")));
  }
}

TEST_CASE("encodings: the claims that hold are the claims that are made") {
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    ParameterList learned;
    const PositionalEncoding encoding = entry.make(shape, learned);
    stir(learned, 2);
    const EncodingInputs inputs = random_encoding_inputs(shape, 9, 3);
    PositionalEncoding of_scores = encoding;  // what is embedded is judged by its presence
    of_scores.embed = {};

    const Encoded at_zero = encoded(of_scores, inputs, consecutive_positions(9), shape);
    double largest_shift = 0;
    for (const double shift : {1.0, 17.0, std::min(100000.0, last_shift(encoding, 9))})
      largest_shift =
          std::max(largest_shift,
                   largest_difference(encoded(of_scores, inputs, consecutive_positions(9, shift), shape).scores.value(),
                                      at_zero.scores.value()));
    // Angles near 100 000 rad carry 1.5e-11 in double; scores of 16 channels of order 1 add some ten of those.
    // What is added to the embedding enters the content, wherever the window begins.
    const auto check_claim = [&](bool holds, Claim claim, const char* statement) {
      const bool claimed = claims(entry, claim);
      CHECK_MESSAGE(holds == claimed, name,
                    claimed ? " claims but does not hold: " : " holds but does not claim: ", statement);
    };
    check_claim(!encoding.embed && largest_shift <= 1e-9, Claim::relative,
                "relative, scores that depend on differences of positions only");

    const auto norms = [](const Var& x) { return sum(mul(x.value(), x.value()), {-1}); };
    const bool norms_stay = largest_difference(norms(at_zero.q), norms(inputs.q)) <= 1e-12 &&
                            largest_difference(norms(at_zero.k), norms(inputs.k)) <= 1e-12;
    check_claim(norms_stay, Claim::preserves_norm, "preserves_norm, the lengths of q and k");
    check_claim(learned.all().empty(), Claim::no_parameters, "no_parameters, nothing that is learned");
  }
}

// Of one of three points: central differences are wrong where a kink (of a ReLU, say) lies between their two points,
// and then the point is moved. A wrong rule is wrong at all three.
GradcheckResult gradcheck_at_some_point(const std::function<GradcheckResult(uint64_t seed)>& check, double limit) {
  GradcheckResult result = check(4);
  for (uint64_t seed = 5; seed <= 6 && !(result.worst <= limit); ++seed) result = check(seed);
  return result;
}

TEST_CASE("encodings: gradients of the scores and of what is learned, at length 1 and beyond the training length") {
  AttentionShape short_trained = shape;
  short_trained.train_length = 8;
  const GradcheckOptions options{.elementwise_up_to = 64};
  for (const auto& [name, entry] : encodings()) {
    for (const int64_t length : {1, 5, 11}) {
      CAPTURE(name);
      CAPTURE(length);
      ParameterList learned;
      const PositionalEncoding encoding = entry.make(short_trained, learned);
      if (length > encoding.position_limit) continue;
      stir(learned, 2);
      const GradcheckResult of_inputs = gradcheck_at_some_point(
          [&](uint64_t seed) {
            const EncodingInputs at = random_encoding_inputs(shape, length, seed);
            return gradcheck(
                [&](const std::vector<Var>& x) {
                  return all_layers(encoding, {x[0], x[1], x[2]});
                },
                {at.q.value(), at.k.value(), at.x.value()}, options);
          },
          1e-7);
      CHECK_MESSAGE(of_inputs.worst <= 1e-7, of_inputs.message);
      for (const Parameter& parameter : learned.all()) {
        CAPTURE(parameter.name);
        const GradcheckResult result = gradcheck_at_some_point(
            [&](uint64_t seed) {
              const EncodingInputs at = random_encoding_inputs(shape, length, seed);
              return gradcheck([&] { return all_layers(encoding, at); }, {parameter.var}, options);
            },
            1e-6);
        CHECK_MESSAGE(result.worst <= 1e-6, result.message);
        const Var y = sum(sin(all_layers(encoding, random_encoding_inputs(shape, length, 4))));
        CHECK((length == 1 || global_norm({backward(y)[parameter.var]}) > 1e-6));
      }
    }
  }
}

TEST_CASE("encodings: everything that is learned has a gradient, the same to the last bit with recomputed blocks") {
  const Tensor ids = some_ids(2, 16, 8);
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const Transformer model(small(name), 1);
    stir(model.parameters(), 2, "encoding.");  // an encoding may start as none at all
    const Gradients plain = backward(sum(tanh(model.logits(ids))));
    const Gradients again = backward(sum(tanh(model.logits(ids, {.recompute_blocks = true}))));
    for (const Parameter& parameter : model.parameters().all()) {
      CAPTURE(parameter.name);
      REQUIRE(plain.has(parameter.var));
      CHECK(bit_mismatch(again[parameter.var], plain[parameter.var]) == "");
    }
  }
}

TEST_CASE("encodings: each part changes what comes out") {
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    ParameterList learned;
    const PositionalEncoding encoding = entry.make(shape, learned);
    stir(learned, 2);
    const int64_t length = std::min<int64_t>(31, encoding.position_limit);
    const EncodingInputs inputs = random_encoding_inputs(shape, length, 4);
    const auto without = [&](const std::function<void(PositionalEncoding&)>& take_away) {
      PositionalEncoding rest = encoding;
      take_away(rest);
      return all_layers(rest, inputs).value();
    };
    const Tensor whole = all_layers(encoding, inputs).value();
    const auto matters = [&](const std::function<void(PositionalEncoding&)>& take_away) {
      return largest_difference(without(take_away), whole) > 1e-6;
    };
    if (encoding.rotation) CHECK(matters([](PositionalEncoding& e) { e.rotation.reset(); }));
    if (encoding.bias_of_distance) CHECK(matters([](PositionalEncoding& e) { e.bias_of_distance = {}; }));
    if (encoding.bias_of_positions) CHECK(matters([](PositionalEncoding& e) { e.bias_of_positions = {}; }));
    if (encoding.transform) CHECK(matters([](PositionalEncoding& e) { e.transform = {}; }));
    if (encoding.features) {  // tables may be made for them alone
      const auto no_rotation = [](PositionalEncoding& e) { e.rotation.reset(); };
      const auto neither = [](PositionalEncoding& e) { e.rotation.reset(), e.features = {}; };
      CHECK(largest_difference(without(neither), without(no_rotation)) > 1e-6);
    }
    if (encoding.far_rotation) {
      CHECK(matters([](PositionalEncoding& e) { e.far_rotation.reset(); }));
      PositionalEncoding near = encoding;
      near.far_rotation.reset();
      const auto scores = [&](const PositionalEncoding& e) {
        return encoded(e, inputs, consecutive_positions(length), shape).scores.value();
      };
      const int64_t from = encoding.far_from;
      for (int64_t i = 0; i < length; ++i) {  // the keys nearer than that, row by row
        const auto row = [&](const Tensor& x) {
          return x.slice(2, i, i + 1).slice(3, std::max<int64_t>(0, i - from + 1), i + 1);
        };
        CHECK(largest_difference(row(scores(near)), row(scores(encoding))) == 0);
      }
    }
    if (encoding.embed) {
      const Var embedded = encoded(encoding, inputs, consecutive_positions(length), shape).embedded;
      CHECK(largest_difference(embedded.value(), inputs.x.value()) > 1e-6);
    }
    if (encoding.training_positions) {
      Random random{.seed = 3};
      const Tensor drawn = encoding.training_positions(2, 16, random);
      const Transformer model(small(name), 1);
      const NoGradient scope;
      const Tensor ids = some_ids(2, 16, 8);
      CHECK(largest_difference(model.logits(ids, {.positions = drawn}).value(), model.logits(ids).value()) > 1e-6);
    }
  }
}

TEST_CASE("encodings: no token sees a later one, and each but nope changes the model") {
  const Tensor ids = some_ids(2, 20, 5);
  ModelShape longer = small("nope");
  longer.train_length = 20;
  const NoGradient scope;
  const Tensor without = Transformer(longer, 1).logits(ids).value();
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    longer.encoding = name;
    const Transformer model(longer, 1);
    stir(model.parameters(), 2, "encoding.");
    const Tensor before = model.logits(ids).value();
    const Tensor changed = ids.clone();
    changed.data<int64_t>()[12] = (changed.data<int64_t>()[12] + 1) % small_vocabulary;  // token 12 of window 0
    const Tensor after = model.logits(changed).value();
    CHECK(largest_difference(before.slice(1, 0, 12), after.slice(1, 0, 12)) == 0);
    CHECK(largest_difference(before.slice(1, 12, 20).slice(0, 0, 1), after.slice(1, 12, 20).slice(0, 0, 1)) > 0);
    CHECK(largest_difference(before.slice(0, 1, 2), after.slice(0, 1, 2)) == 0);
    CHECK((largest_difference(before, without) > 1e-9) == (name != "nope"));
  }
}

TEST_CASE("encodings: both layouts of a rotary model agree after the permutation of channels") {
  for (const char* name : {"rope", "hope", "p_rope", "rerope", "self_extend"}) {
    CAPTURE(name);
    ModelShape half = small(name), interleaved = small(name);
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
    const Tensor ids = some_ids(2, 20, 6);
    CHECK(largest_difference(a.logits(ids).value(), b.logits(ids).value()) <= 1e-13);
  }
}

TEST_CASE("encodings: positions are an argument") {
  const NoGradient scope;
  const Tensor ids = some_ids(2, 12, 7);
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const Transformer model(small(name), 1);
    stir(model.parameters(), 2, "encoding.");
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

TEST_CASE("encodings: packed documents read as they would alone, and an empty batch gives an empty one") {
  const NoGradient scope;
  constexpr int64_t border = 7, whole = 16;
  const Tensor ids = some_ids(1, whole, 7), segments = Tensor::zeros({1, whole}, Dtype::i32);
  fill(segments.slice(1, border, whole), 1);
  const Tensor positions = concat({consecutive_positions(border), consecutive_positions(whole - border)}, 1).value();
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const Transformer model(small(name), 1);
    stir(model.parameters(), 2, "encoding.");
    CHECK(model.logits(Tensor::empty({0, whole}, Dtype::i32)).shape() == Shape{0, whole, small_vocabulary});
    REQUIRE(model.encoding().same_tables(whole, border));  // both within the training length
    const Tensor packed = model.logits(ids, {.positions = positions, .segments = segments}).value();
    CHECK(largest_difference(packed.slice(1, 0, border), model.logits(ids.slice(1, 0, border)).value()) <= 1e-12);
    CHECK(largest_difference(packed.slice(1, border, whole), model.logits(ids.slice(1, border, whole)).value()) <=
          1e-12);
  }
}

TEST_CASE("encodings: in f32 the model is that of f64, but for rounding") {
  const NoGradient scope;
  const Tensor ids = some_ids(2, 16, 7);
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    ModelShape single = small(name);
    single.dtype = Dtype::f32;
    const Transformer exact(small(name), 1), rounded(single, 1);
    stir(exact.parameters(), 2, "encoding.");
    for (const Parameter& p : rounded.parameters().all())
      p.var.assign(exact.parameters()[p.name].value().to(Dtype::f32));
    CHECK(mismatch(rounded.logits(ids).value(), Dtype::f32, exact.logits(ids).value(), 1e-5) == "");
  }
}

TEST_CASE("encodings: keys turn by their own positions when queries are fewer") {
  ParameterList none;
  const PositionalEncoding rope = encoding_named("rope").make(shape, none);
  const EncodingInputs inputs = random_encoding_inputs(shape, 5, 10);
  PositionalContext context;
  context.q = slice(inputs.q, 2, 4, 5);
  context.k = inputs.k;
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
  // Counted by hand: the components of 2 pi base^(2i / head_dim) <= train_length.
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
  for (const auto& [fraction, expected] : {std::pair{0.04, 1}, {0.25, 8}, {0.75, 24}, {1.0, 32}}) {
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
