// The encodings that transform scores, pair by pair of tokens in plain loops.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/encoding_scores.hpp"

using namespace phasor;

namespace {

constexpr AttentionShape shape = {
    .layers = 2, .width = 12, .heads = 3, .kv_heads = 3, .head_dim = 4, .train_length = 16, .dtype = Dtype::f64};

struct Transformed {
  ParameterList learned;
  EncodingInputs inputs;
  Tensor plain, got;  // [1, heads, length, length]

  Transformed(const std::string& name, int64_t length, int64_t layer, double k_factor = 1) {
    const PositionalEncoding encoding = encoding_named(name).make(shape, learned);
    stir(learned, 5);
    inputs = random_encoding_inputs(shape, length, 4);
    inputs.k = inputs.k * k_factor;
    plain = encoded({}, inputs, consecutive_positions(length), shape, layer).scores.value();
    got = encoded(encoding, inputs, consecutive_positions(length), shape, layer).scores.value();
  }
  double score(int64_t head, int64_t m, int64_t n) const { return plain.view<double>()(0, head, m, n); }
  double result(int64_t head, int64_t m, int64_t n) const { return got.view<double>()(0, head, m, n); }
};

doctest::Approx near(double value) { return doctest::Approx(value).epsilon(1e-11).scale(1e-3); }

}  // namespace

TEST_CASE("cope: gates summed back from the query, and vectors between which it interpolates, at most the last") {
  constexpr int64_t length = 150;
  for (const int64_t layer : {0, 1}) {
    const Transformed cope("cope", length, layer, 3);
    const View<double> e = cope.learned["layer." + std::to_string(layer) + ".weight"].value().view<double>();
    const View<double> q = cope.inputs.q.value().view<double>();
    bool reached_the_last = false;
    for (int64_t head = 0; head < 3; ++head)
      for (int64_t m = 0; m < length; ++m) {
        double p = 0;
        for (int64_t n = m; n >= 0; --n) {
          p += 1 / (1 + std::exp(-cope.score(head, m, n)));
          const double capped = std::min(p, 63.0);
          reached_the_last = reached_the_last || p > 63;
          const int64_t low = static_cast<int64_t>(std::floor(capped)), high = static_cast<int64_t>(std::ceil(capped));
          double added = 0;
          for (int64_t c = 0; c < 4; ++c) {
            const double weight = capped - static_cast<double>(low);
            added += q(0, head, m, c) * (e(c, high) * weight + e(c, low) * (1 - weight));
          }
          if (std::abs(cope.result(head, m, n) - cope.score(head, m, n) - added) > 1e-11)
            FAIL_CHECK("head ", head, ", query ", m, ", key ", n, ": ", cope.result(head, m, n));
        }
      }
    CHECK(reached_the_last);
  }
  ParameterList learned;
  encoding_named("cope").make(shape, learned);
  for (const Parameter& p : learned.all())
    for (const double value : p.var.value().to_vector<double>()) CHECK(value == 0);
}

TEST_CASE("dape: scores, bias and the network of both, over one key and over three") {
  constexpr int64_t length = 7;
  for (const auto& [name, width] : {std::pair{"dape", 1}, {"dape_v2", 3}})
    for (const int64_t layer : {0, 1}) {
      CAPTURE(name);
      const Transformed dape(name, length, layer);
      const std::string of = "layer." + std::to_string(layer) + ".";
      const auto parameter = [&](const char* which) { return dape.learned[of + which].value().view<double>(); };
      const View<double> w1 = parameter("w1"), b1 = parameter("b1");
      const View<double> w2 = parameter("w2");
      const auto bias = [&](int64_t head, int64_t m, int64_t n) {
        const double p = parameter("p")(head, 0), a = parameter("a")(head, 0);
        return -p * std::log(1 + a * static_cast<double>(m - n));
      };
      const int64_t reach = (width - 1) / 2;
      const auto hidden = [&](int64_t unit, int64_t m, int64_t n) {
        double sum = b1(unit, 0, 0);
        for (int64_t at = std::max<int64_t>(0, n - reach); at <= std::min(m, n + reach); ++at)
          for (int64_t head = 0; head < 3; ++head)
            sum += w1(unit, head, at - n + reach) * dape.score(head, m, at) +
                   w1(unit, 3 + head, at - n + reach) * bias(head, m, at);
        return sum > 0 ? sum : 0.01 * sum;
      };
      for (int64_t head = 0; head < 3; ++head)
        for (int64_t m = 0; m < length; ++m)
          for (int64_t n = 0; n <= m; ++n) {
            double expected = dape.score(head, m, n) + bias(head, m, n);
            for (int64_t at = std::max<int64_t>(0, n - reach); at <= std::min(m, n + reach); ++at)
              for (int64_t unit = 0; unit < 32; ++unit)
                expected += w2(head, unit, at - n + reach) * hidden(unit, m, at);
            CHECK(dape.result(head, m, n) == near(expected));
          }
    }
}

TEST_CASE("dape: layers start with different biases") {
  ParameterList learned;
  encoding_named("dape").make(shape, learned);
  CHECK(learned["layer.0.p"].value().to_vector<double>() != learned["layer.1.p"].value().to_vector<double>());
  CHECK(learned["layer.0.w1"].value().to_vector<double>() != learned["layer.1.w1"].value().to_vector<double>());
}
