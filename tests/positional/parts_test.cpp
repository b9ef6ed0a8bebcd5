// The parts of an encoding that no file uses yet, each through an encoding made here: the model acts on them, they
// differentiate, and a cache reads on with them.
#include <doctest/doctest.h>

#include <cmath>

#include "autograd/gradcheck.hpp"
#include "nn/optimizer.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

constexpr int64_t vocabulary = small_vocabulary, length = 21;

using Make = std::function<PositionalEncoding(const AttentionShape&, ParameterList&)>;

Transformer model_with(const Make& make) {
  return Transformer(small_model("", 12), 1, {.summary = "", .paper = "", .claims = {}, .make = make});
}

Tensor ids_of(int64_t batch) {
  Random random{.seed = 6};
  return random_ids({batch, length}, vocabulary, random);
}

// KERPLE's logarithm: -p log(1 + a distance) with a and p learned for each head.
Var kerple(const Var& p, const Var& a, const Var& distance) { return -(p * log1p(a * distance)); }

struct Learned {
  Var p, a;
  explicit Learned(ParameterList& parameters)
      : p(parameters.add("p", Tensor::of<double>({4, 1}, {1, 0.5, 0.2, 2}))),
        a(parameters.add("a", Tensor::of<double>({4, 1}, {0.3, 1, 0.1, 0.7}))) {}
};

PositionalEncoding by_distance(const AttentionShape&, ParameterList& parameters) {
  const Learned learned(parameters);
  return PositionalEncoding::bias([=](const Var& distance) { return kerple(learned.p, learned.a, distance); });
}

// The same bias written as one of positions.
PositionalEncoding by_position(const AttentionShape&, ParameterList& parameters) {
  const Learned learned(parameters);
  PositionalEncoding encoding;
  encoding.bias_of_positions = [=](const PositionalContext& c) {
    const auto of_heads = [](const Var& x) { return reshape(x, {1, 4, 1, 1}); };
    return kerple(of_heads(learned.p), of_heads(learned.a), distances(c, Dtype::f64));
  };
  return encoding;
}

// The forget gate of FoX: from the input of the layer, D = c_q - c_k with c the running sum of log sigmoid(x w + b).
PositionalEncoding forget_gate(const AttentionShape& s, ParameterList& parameters) {
  Random random{.seed = 8};
  const Var w = parameters.add("w", normal({s.width, s.heads}, 0, 0.3, Dtype::f64, random));
  const Var b = parameters.add("b", Tensor::full({s.heads}, 2, Dtype::f64));
  PositionalEncoding encoding;
  encoding.bias_of_positions = [=](const PositionalContext& c) {
    const Var sums = transpose(cumsum(-softplus(-linear(c.key_input, w, b)), 1), 1, 2);  // [batch, heads, k_length]
    const int64_t batch = sums.extent(0), heads = sums.extent(1), k_length = sums.extent(2);
    const int64_t q_length = c.layer_input.extent(1);
    const Var of_queries = slice(sums, 2, k_length - q_length, k_length);
    return reshape(of_queries, {batch, heads, q_length, 1}) - reshape(sums, {batch, heads, 1, k_length});
  };
  return encoding;
}

// Magnitudes and phases as in PoPE: twice as many channels, softplus(x) turning with every channel's own frequency.
PositionalEncoding polar(const AttentionShape& s, ParameterList&) {
  PositionalEncoding encoding = PositionalEncoding::rotary(Spectrum::geometric(s.head_dim, s.rope_base));
  encoding.features = [](const Var& x, PositionalEncoding::Side, const PositionalContext&) {
    return concat({softplus(x), x * 0.0}, -1);
  };
  return encoding;
}

// ReRoPE: beyond a window of 5 every distance counts as 5.
PositionalEncoding windowed(const AttentionShape& s, ParameterList&) {
  const Spectrum spectrum = Spectrum::geometric(s.components(), s.rope_base);
  PositionalEncoding encoding = PositionalEncoding::rotary(spectrum);
  encoding.far_from = 5;
  encoding.far_rotation.emplace();
  encoding.far_rotation->tables = [spectrum](const PositionalContext& c) {
    const auto at = [&](const Tensor& like, double position) {
      return spectrum.table(Tensor::full(like.shape(), position, Dtype::f64), c.q.dtype());
    };
    const CosSin q = at(c.q_positions, 5), k = at(c.k_positions, 0);
    return RotaryTables{q.cos, q.sin, k.cos, k.sin};
  };
  return encoding;
}

// Across heads and along keys, in the manner of DAPE v2: earlier scores only.
PositionalEncoding convolved(const AttentionShape& s, ParameterList& parameters) {
  Random random{.seed = 8};
  const Var w = parameters.add("w", normal({s.heads, s.heads, 3}, 0, 0.3, Dtype::f64, random));
  PositionalEncoding encoding;
  encoding.transform = [=](const Var& scores, const PositionalContext& c) {
    const Var zero = Tensor::scalar(0, Dtype::f64);
    CHECK(c.k_positions.extent(1) == scores.extent(3));
    return where(c.visible, scores + conv_keys(where(c.visible, scores, zero), w), zero);
  };
  return encoding;
}

// LeRoPE: the logarithm of each component's frequency is learned, in f32 and f64 alike through angles in f64.
PositionalEncoding learned_frequencies(const AttentionShape& s, ParameterList& parameters) {
  const Spectrum rope = Spectrum::geometric(s.components(), s.rope_base);
  std::vector<double> logarithms;
  for (const Component& c : rope) logarithms.push_back(std::log(c.frequency) + 0.1);
  const Var log_frequency =
      parameters.add("log_frequency", Tensor::of<double>({s.components()}, logarithms), {.gradient_clip = 0.1});
  PositionalEncoding encoding;
  encoding.rotation.emplace();
  encoding.rotation->tables = [=](const PositionalContext& c) {
    const LearnedCosSin q = learned_table(exp(log_frequency), c.q_positions, c.q.dtype());
    const LearnedCosSin k = learned_table(exp(log_frequency), c.k_positions, c.q.dtype());
    return RotaryTables{q.cos, q.sin, k.cos, k.sin};
  };
  return encoding;
}

const std::vector<std::pair<const char*, Make>> makes = {{"learned_frequencies", learned_frequencies},
                                                         {"by_distance", by_distance},
                                                         {"by_position", by_position},
                                                         {"forget_gate", forget_gate},
                                                         {"polar", polar},
                                                         {"windowed", windowed},
                                                         {"convolved", convolved}};

}  // namespace

TEST_CASE("parts: each changes the model, hides later tokens, and reads on with a cache") {
  const Tensor ids = ids_of(2);
  const NoGradient scope;
  ModelShape shape = small_model("nope", 12);
  const Tensor without = Transformer(shape, 1).logits(ids).value();
  for (const auto& [name, make] : makes) {
    CAPTURE(name);
    const Transformer model = model_with(make);
    const Tensor whole = model.logits(ids).value();
    CHECK(relative_error(whole, without) > 1e-6);
    const Tensor changed = ids.clone();
    fill(changed.slice(1, 12, length), 3);
    CHECK(bit_mismatch(model.logits(changed).value().slice(1, 0, 12), whole.slice(1, 0, 12)) == "");
    KeyValueCache cache;
    std::vector<Var> parts = {model.logits(ids.slice(1, 0, 9), {.cache = &cache})};
    for (int64_t at = 9; at < length; ++at) parts.push_back(model.logits(ids.slice(1, at, at + 1), {.cache = &cache}));
    CHECK(mismatch(concat(parts, 1).value(), Dtype::f64, whole, 1e-12) == "");
  }
}

TEST_CASE("parts: what an encoding learns has the gradient of the loss, with recomputed blocks to the last bit") {
  const Tensor ids = ids_of(2);
  for (const auto& [name, make] : makes) {
    CAPTURE(name);
    const Transformer model = model_with(make);
    const Gradients plain = backward(sum(tanh(model.logits(ids))));
    const Gradients again = backward(sum(tanh(model.logits(ids, {.recompute_blocks = true}))));
    for (const Parameter& parameter : model.parameters().all()) {
      CHECK(bit_mismatch(again[parameter.var], plain[parameter.var]) == "");
      if (!parameter.name.starts_with("encoding.")) continue;
      CHECK(global_norm({plain[parameter.var]}) > 0);
      const GradcheckResult result = gradcheck([&] { return sum(tanh(model.logits(ids))); }, {parameter.var},
                                               {.cotangents = 1, .elementwise_up_to = 16, .directions = 2});
      CHECK_MESSAGE(result.worst <= 1e-6, result.message);
    }
  }
}

TEST_CASE("parts: a bias of distances is the bias of positions, packed and with positions of one's own") {
  const Transformer distance = model_with(by_distance), position = model_with(by_position);
  const Tensor ids = ids_of(2), segments = Tensor::zeros({2, length}, Dtype::i32);
  const Tensor positions = Tensor::empty({2, length}, Dtype::f64), gaps = Tensor::empty({2, length}, Dtype::f64);
  for (int64_t row = 0; row < 2; ++row)
    for (int64_t i = 0; i < length; ++i) {
      const int64_t start = i < 8 + row ? 0 : 8 + row;  // two segments, of other lengths in the second row
      segments.view<int32_t>()(row, i) = start > 0;
      positions.view<double>()(row, i) = static_cast<double>(i - start);
      gaps.view<double>()(row, i) = static_cast<double>(i) + (i > 5 ? 2.5 : 0);
    }
  for (const ForwardOptions& options : {ForwardOptions{}, ForwardOptions{.positions = positions, .segments = segments},
                                        ForwardOptions{.positions = gaps}, ForwardOptions{.positions = positions}}) {
    const Var got = distance.logits(ids, options), expected = position.logits(ids, options);
    CHECK(mismatch(got.value(), Dtype::f64, expected.value(), 1e-12) == "");
    const Gradients of_got = backward(sum(tanh(got))), of_expected = backward(sum(tanh(expected)));
    for (const char* name : {"encoding.p", "encoding.a"})
      CHECK(mismatch(of_got[distance.parameters()[name]], Dtype::f64, of_expected[position.parameters()[name]],
                     1e-11) == "");
  }
  // The one by distance where index and position go together, the other elsewhere.
  PositionalContext context;
  context.q_positions = context.k_positions = positions;
  const auto identity = [](const Var& d) { return d; };
  CHECK(bias_at(identity, context, segments, Dtype::f64).by_distance.shape() == Shape{1, length});
  CHECK(bias_at(identity, context, {}, Dtype::f64).by_position.shape() == Shape{2, 1, length, length});
  context.q_positions = positions.slice(1, length - 3, length);
  CHECK(bias_at(identity, context, segments, Dtype::f64).by_distance.shape() == Shape{1, length});
  context.q_positions = positions.slice(1, 0, 3);
  CHECK(bias_at(identity, context, segments, Dtype::f64).by_position.shape() == Shape{2, 1, 3, length});
}

TEST_CASE("parts: two score sets differ from one beyond the window only") {
  const NoGradient scope;
  const Tensor ids = ids_of(1);
  ModelShape shape = small_model("rope", 12);
  shape.layers = 1;
  const Tensor rope = Transformer(shape, 1).logits(ids).value();
  const Transformer model(shape, 1, {.summary = "", .paper = "", .claims = {}, .make = windowed});
  CHECK(std::string(model.encoding().why_unfused()) == "the encoding has two sets of scores");
  const Tensor near = model.logits(ids).value();
  // Row 5 sees distance 5, whose far score is that of distance 5 too.
  CHECK(mismatch(near.slice(1, 0, 6), Dtype::f64, rope.slice(1, 0, 6), 1e-13) == "");
  CHECK(relative_error(near.slice(1, 6, length), rope.slice(1, 6, length)) > 1e-6);
}

TEST_CASE("parts: a cache refuses to read on with other tables than those of its keys") {
  const auto from_nine = [](int64_t tokens) { return std::max<int64_t>(tokens, 8); };  // the same up to 8 tokens
  for (const bool far : {false, true}) {
    const Make make = far ? Make([=](const AttentionShape& s, ParameterList& parameters) {
      PositionalEncoding encoding = windowed(s, parameters);
      encoding.far_rotation->table_length = from_nine;
      return encoding;
    })
                          : Make([=](const AttentionShape& s, ParameterList& parameters) {
                              PositionalEncoding encoding = windowed(s, parameters);
                              encoding.rotation->table_length = from_nine;
                              return encoding;
                            });
    const Transformer model = model_with(make);
    const NoGradient scope;
    KeyValueCache cache;
    const Tensor ids = ids_of(1);
    model.logits(ids.slice(1, 0, 5), {.cache = &cache});
    CHECK_NOTHROW(model.logits(ids.slice(1, 5, 8), {.cache = &cache}));
    CHECK_THROWS_WITH_AS(model.logits(ids.slice(1, 8, 9), {.cache = &cache}),
                         doctest::Contains("turned by those of 8 tokens, not of 9; clear it"), UsageError);
    CHECK(cache.length() == 8);
    cache.clear();
    const Tensor whole = model.logits(ids.slice(1, 0, 9), {.cache = &cache}).value();
    CHECK(mismatch(whole, Dtype::f64, model.logits(ids.slice(1, 0, 9)).value(), 1e-13) == "");
  }
}

TEST_CASE("parts: packed documents read as they would alone, whatever the encoding") {
  const NoGradient scope;
  const Tensor ids = ids_of(1), segments = Tensor::zeros({1, length}, Dtype::i32);
  const Tensor positions = Tensor::empty({1, length}, Dtype::f64);
  constexpr int64_t border = 8;
  for (int64_t i = 0; i < length; ++i) {
    segments.view<int32_t>()(0, i) = i >= border;
    positions.view<double>()(0, i) = static_cast<double>(i < border ? i : i - border);
  }
  for (const auto& [name, make] : makes) {
    CAPTURE(name);
    const Transformer model = model_with(make);
    const Tensor together = model.logits(ids, {.positions = positions, .segments = segments}).value();
    CHECK(mismatch(together.slice(1, 0, border), Dtype::f64, model.logits(ids.slice(1, 0, border)).value(), 1e-12) ==
          "");
    CHECK(mismatch(together.slice(1, border, length), Dtype::f64, model.logits(ids.slice(1, border, length)).value(),
                   1e-12) == "");
  }
}

TEST_CASE("parts: a bias of the wrong shape is refused") {
  const NoGradient scope;
  const Transformer nothing = model_with(
      [](const AttentionShape&, ParameterList&) { return PositionalEncoding::bias([](const Var&) { return Var(); }); });
  CHECK_THROWS_WITH_AS(nothing.logits(ids_of(1)), doctest::Contains("bias_of_distance returned nothing"), ValueError);
  const Transformer wrong = model_with([](const AttentionShape&, ParameterList&) {
    return PositionalEncoding::bias([](const Var& distance) { return slice(distance, 1, 0, 2); });
  });
  CHECK_THROWS_WITH_AS(wrong.logits(ids_of(1)), doctest::Contains("returned [1, 2] for distances [1, 21]"), ShapeError);
}

TEST_CASE("parts: positions of any number type, an empty batch, and segments that do not fit") {
  const NoGradient scope;
  const Tensor ids = ids_of(2);
  for (const auto& [name, make] : makes) {
    CAPTURE(name);
    const Transformer model = model_with(make);
    const Tensor positions = consecutive_positions(length, 3);
    const Tensor expected = model.logits(ids, {.positions = positions}).value();
    CHECK(bit_mismatch(model.logits(ids, {.positions = positions.to(Dtype::i32)}).value(), expected) == "");
    const Tensor none = Tensor::empty({0, length}, Dtype::i32);
    CHECK(model.logits(none).shape() == Shape{0, length, vocabulary});
    CHECK(model.logits(none, {.positions = Tensor::empty({0, length}, Dtype::f64)}).size() == 0);
    CHECK_THROWS_WITH_AS(model.logits(ids, {.segments = Tensor::zeros({2, 4}, Dtype::i32)}),
                         doctest::Contains("transformer: segments are [2, 4], ids are [2, 21]"), ShapeError);
    CHECK_THROWS_WITH_AS(model.logits(ids, {.segments = Tensor::zeros({2, length}, Dtype::f32)}),
                         doctest::Contains("segments: needs i32 or i64, got f32"), DtypeError);
  }
}
