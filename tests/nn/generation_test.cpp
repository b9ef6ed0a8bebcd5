// Drawing tokens, and a text that grows by them: with its cache it is that of reading everything anew each time.
#include "nn/generation.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/allocator.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/encoding_scores.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

// Logits of four tokens with these probabilities, but for a constant.
Tensor with_probabilities(const std::vector<double>& probabilities) {
  std::vector<double> logits;
  for (const double p : probabilities) logits.push_back(std::log(p) + 3);
  return Tensor::of<double>({static_cast<int64_t>(logits.size())}, logits);
}

// How often each token came in `draws` draws, as fractions.
std::vector<double> fractions(const Tensor& logits, const Sampling& sampling, int draws = 40000) {
  Random random{.seed = 8};
  std::vector<double> counts(static_cast<size_t>(logits.size()));
  for (int i = 0; i < draws; ++i) counts[static_cast<size_t>(sample(logits, sampling, random))] += 1.0 / draws;
  return counts;
}

// Four deviations of a fraction of 40000 draws are at most 0.01; what cannot come never comes.
void check_fractions(const std::vector<double>& got, const std::vector<double>& expected) {
  REQUIRE(got.size() == expected.size());
  for (size_t token = 0; token < got.size(); ++token) {
    CAPTURE(token);
    CHECK(std::abs(got[token] - expected[token]) <= 0.01);
    CHECK((got[token] == 0) == (expected[token] == 0));
  }
}

int64_t one_of(const Tensor& logits, const Sampling& sampling) {
  Random random{.seed = 1};
  return sample(logits, sampling, random);
}

Tensor last_row(const Tensor& logits) { return logits.select(0, 0).select(0, logits.extent(1) - 1); }

Tensor ids_of(const std::vector<int32_t>& text) {
  return Tensor::of<int32_t>({1, static_cast<int64_t>(text.size())}, text);
}

int32_t largest(const Tensor& logits) {
  const std::vector<double> values = logits.to_vector<double>();
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace

TEST_CASE("sample: tokens come as often as the softmax of logits / temperature says") {
  const Tensor logits = with_probabilities({0.1, 0.4, 0.2, 0.3});
  check_fractions(fractions(logits, {}), {0.1, 0.4, 0.2, 0.3});
  // At 1/2 the probabilities are squared: 1, 16, 4, 9 of 30.
  check_fractions(fractions(logits, {.temperature = 0.5}), {1.0 / 30, 16.0 / 30, 4.0 / 30, 9.0 / 30});
  check_fractions(fractions(logits, {.temperature = 1e300}), {0.25, 0.25, 0.25, 0.25});
  check_fractions(fractions(logits, {.never = {1, 2, 1}}), {0.25, 0, 0, 0.75});
  check_fractions(fractions(logits.to(Dtype::f32), {}), {0.1, 0.4, 0.2, 0.3});
}

TEST_CASE("sample: top_p keeps the shortest front part that reaches it; among equals the lower token comes first") {
  const Tensor logits = with_probabilities({0.125, 0.5, 0.125, 0.25});
  check_fractions(fractions(logits, {.top_p = 0.49}), {0, 1, 0, 0});
  check_fractions(fractions(logits, {.top_p = 0.51}), {0, 2.0 / 3, 0, 1.0 / 3});
  check_fractions(fractions(logits, {.top_p = 0.74}), {0, 2.0 / 3, 0, 1.0 / 3});
  check_fractions(fractions(logits, {.top_p = 0.76}), {1.0 / 7, 4.0 / 7, 0, 2.0 / 7});
  check_fractions(fractions(logits, {.top_p = 0.88}), {0.125, 0.5, 0.125, 0.25});
  check_fractions(fractions(logits, {.top_p = std::numeric_limits<double>::denorm_min()}), {0, 1, 0, 0});
  // Exactly reached: of four equal ones, two have one half.
  check_fractions(fractions(Tensor::of<float>({5}, {-1e9, 7, 7, 7, 7}), {.top_p = 0.5}), {0, 0.5, 0.5, 0, 0});
  // The temperature acts first: at 1/2 the probabilities are 1, 16, 1 and 4 of 22, and 0.72 is the likeliest's.
  check_fractions(fractions(logits, {.temperature = 0.5, .top_p = 0.72}), {0, 1, 0, 0});
  // What may never come has no share in it: of 1/4, 1/4 and 1/2, the first two reach 3/4.
  check_fractions(fractions(logits, {.top_p = 0.74, .never = {1}}), {1.0 / 3, 0, 0, 2.0 / 3});
}

TEST_CASE("sample: temperature 0 takes the likeliest, the lower one of equals, and draws nothing") {
  Random random{.seed = 1};
  const Tensor logits = Tensor::of<float>({5}, {-3, 2, 7, 7, 1});
  CHECK(sample(logits, {.temperature = 0, .top_p = 0.1}, random) == 2);
  CHECK(sample(logits, {.temperature = 0, .never = {2}}, random) == 3);
  CHECK(random.counter == 0);
  sample(logits, {.top_p = 0.1}, random);  // one number each, whatever is kept
  CHECK(random.counter == 1);
}

TEST_CASE("sample: logits and temperatures at the ends of their ranges") {
  constexpr float most = std::numeric_limits<float>::max();
  CHECK(one_of(Tensor::of<float>({3}, {-most, most, -most}), {}) == 1);
  CHECK(one_of(Tensor::of<float>({3}, {-most, -most, most}), {.temperature = 1e-320}) == 2);
  CHECK(one_of(Tensor::of<float>({3}, {-1000, -2000, -3000}), {}) == 0);
  CHECK(one_of(Tensor::of<float>({1}, {5}), {}) == 0);
}

TEST_CASE("sample: what cannot be is refused") {
  const Tensor logits = Tensor::of<float>({3}, {1, 2, 3});
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  for (const double temperature : {-0.1, nan, infinity})
    CHECK_THROWS_WITH_AS(one_of(logits, {.temperature = temperature}), doctest::Contains("temperature is"), ValueError);
  for (const double top_p : {0.0, -1.0, 1.0001, nan})
    CHECK_THROWS_WITH_AS(one_of(logits, {.top_p = top_p}), doctest::Contains("top_p is"), ValueError);
  for (const int32_t token : {-1, 3})
    CHECK_THROWS_WITH_AS(one_of(logits, {.never = {token}}), doctest::Contains("is never to come; there are 0 to 2"),
                         ValueError);
  CHECK_THROWS_WITH_AS(one_of(logits, {.never = {0, 1, 2}}), doctest::Contains("none may come"), ValueError);
  CHECK_THROWS_AS(one_of(Tensor::zeros({0}, Dtype::f32), {}), ValueError);
  CHECK_THROWS_AS(one_of(Tensor::zeros({1, 3}, Dtype::f32), {}), ShapeError);
  for (const double wrong : {nan, infinity, -infinity})
    for (const double temperature : {0.0, 1.0})  // also where that token may not come: the model is broken
      CHECK_THROWS_WITH_AS(one_of(Tensor::of<double>({2}, {0, wrong}), {.temperature = temperature, .never = {1}}),
                           doctest::Contains("the logit of token 1 is"), NumericError);
}

TEST_CASE("generator: for every encoding the logits and the text are those of reading everything anew each time") {
  constexpr int64_t train_length = 12, length = 3 * train_length;
  const NoGradient scope;
  for (const auto& [name, entry] : encodings()) {
    const Transformer model(small_model(name, train_length), 1);
    stir(model.parameters(), 2, "encoding.");
    for (const int64_t prompt_length : {int64_t{1}, 2 * train_length}) {
      const int64_t end = std::min(length, model.encoding().position_limit);
      if (prompt_length >= end) continue;
      CAPTURE(name);
      CAPTURE(prompt_length);
      Random random{.seed = 5};
      const std::vector<int32_t> prompt =
          random_ids({1, prompt_length}, small_vocabulary, random).to(Dtype::i32).to_vector<int32_t>();
      Generator drawing(model, prompt), greedy(model, prompt);
      std::vector<int32_t> text = prompt, likeliest = prompt;
      while (static_cast<int64_t>(text.size()) < end) {
        CAPTURE(text.size());
        CHECK(mismatch(drawing.logits(), Dtype::f64, last_row(model.logits(ids_of(text)).value()), 1e-10) == "");
        text.push_back(drawing.next({.temperature = 3}, random));
        likeliest.push_back(largest(last_row(model.logits(ids_of(likeliest)).value())));
        CHECK(greedy.next({.temperature = 0}, random) == likeliest.back());
      }
      CHECK(drawing.text() == text);
      CHECK(greedy.text() == likeliest);
    }
  }
}

TEST_CASE("generator: a long prompt is read in pieces, in memory that grows with its length and not with the square") {
  constexpr int64_t length = 700;
  const NoGradient scope;
  Random random{.seed = 5};
  const std::vector<int32_t> text =
      random_ids({1, 2 * length}, small_vocabulary, random).to(Dtype::i32).to_vector<int32_t>();
  const std::vector<int32_t> half(text.begin(), text.begin() + length);
  const auto peak_of_reading = [](const Transformer& model, const std::vector<int32_t>& prompt) {
    reset_peak_memory();
    const int64_t before = memory_counts().bytes_in_use;
    Generator(model, prompt).logits();
    return static_cast<double>(memory_counts().peak_bytes - before);
  };
  for (const char* name : {"rope", "fire", "fox", "rerope", "cope", "longrope", "dynamic_ntk"}) {
    CAPTURE(name);
    const Transformer model(small_model(name, 100), 1);
    stir(model.parameters(), 2, "encoding.");
    CHECK(mismatch(Generator(model, half).logits(), Dtype::f64, last_row(model.logits(ids_of(half)).value()), 1e-10) ==
          "");
    CHECK(peak_of_reading(model, text) < 2.6 * peak_of_reading(model, half));
  }
  const PositionalEncoding rope = Transformer(small_model("rope", 100), 1).encoding(),
                           longrope = Transformer(small_model("longrope", 400), 1).encoding();
  CHECK(tokens_at_once(rope, 0, 100) == 100);
  CHECK(tokens_at_once(rope, 0, 700) == 256);
  CHECK(tokens_at_once(rope, 512, 700) == 188);
  CHECK(tokens_at_once(longrope, 0, 400) == 256);  // all with the short factors
  CHECK(tokens_at_once(longrope, 0, 401) == 401);  // a piece of 256 would be read with them, the whole is not
  CHECK(tokens_at_once(longrope, 401, 1000) == 256);
}

TEST_CASE("generator: every token is read once, and the whole text again only where the tables change") {
  const auto tokens_read = [](const std::string& name) {
    int64_t read = 0;
    const EncodingEntry counting = {
        .summary = "", .paper = "", .claims = {}, .make = [&](const AttentionShape& s, ParameterList& parameters) {
          PositionalEncoding encoding = encoding_named(name).make(s, parameters);
          encoding.embed = [&](const Var& x, const PositionalContext& c) {
            read += c.q_positions.extent(1);
            return x;
          };
          return encoding;
        }};
    const Transformer model(small_model(name, 8), 1, counting);
    Generator generator(model, {1, 2, 3, 4});
    Random random{.seed = 1};
    for (int i = 0; i < 8; ++i) {
      generator.next({}, random);
      if (i == 0) CHECK(read == 4);
    }
    CHECK(generator.text().size() == 12);
    return read;
  };
  // The twelfth is not read: nobody asked what comes after it.
  CHECK(tokens_read("rope") == 11);
  CHECK(tokens_read("longrope") == 8 + 9 + 2);
  CHECK(tokens_read("dynamic_ntk") == 8 + 9 + 10 + 11);
}

TEST_CASE("generator: asking twice reads once; what cannot be read is refused and changes nothing") {
  const Transformer model(small_model("learned", 4), 1);
  Random random{.seed = 1};
  CHECK_THROWS_WITH_AS(Generator(model, {}), doctest::Contains("prompt is empty"), ShapeError);
  Generator generator(model, {1, 2});
  CHECK(bit_mismatch(generator.logits(), generator.logits()) == "");
  for (int i = 0; i < 3; ++i) generator.next({}, random);
  const std::vector<int32_t> text = generator.text();
  CHECK(text.size() == 5);
  CHECK_THROWS_WITH_AS(generator.next({}, random), doctest::Contains("position 4 has no row"), ValueError);
  CHECK_THROWS_AS(Generator(model, {small_vocabulary}).logits(), ValueError);
  CHECK(generator.text() == text);
}
