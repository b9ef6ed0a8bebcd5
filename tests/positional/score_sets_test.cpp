// ReRoPE, Self-Extend and PoPE, whose scores are sums of cosines, against those sums.
#include <doctest/doctest.h>

#include <cmath>
#include <complex>

#include "tests/support/comparison.hpp"
#include "tests/support/encoding_scores.hpp"

using namespace phasor;

namespace {

constexpr AttentionShape shape = {
    .layers = 2, .width = 16, .heads = 2, .kv_heads = 1, .head_dim = 8, .train_length = 72, .dtype = Dtype::f64};
constexpr int64_t length = 61;

// The score of rotary attention at a distance: components are complex numbers, turned against each other.
double rotary_score(const EncodingInputs& inputs, int64_t head, int64_t m, int64_t n, double distance) {
  const View<double> q = inputs.q.value().view<double>(), k = inputs.k.value().view<double>();
  std::complex<double> sum = 0;
  for (int64_t i = 0; i < 4; ++i) {
    const std::complex<double> of_q(q(0, head, m, i), q(0, head, m, i + 4)), of_k(k(0, 0, n, i), k(0, 0, n, i + 4));
    sum += of_q * std::conj(of_k) * std::polar(1.0, distance / std::pow(10.0, static_cast<double>(i)));
  }
  return sum.real() / std::sqrt(8.0);
}

}  // namespace

TEST_CASE("rerope and self_extend: the distance that every pair of tokens is turned by") {
  // A window of 72 / 4 = 18; groups of 8, of which 18 / 8 = 2 whole ones are in it.
  const auto rerope = [](int64_t m, int64_t n) { return std::min<int64_t>(m - n, 18); };
  const auto self_extend = [](int64_t m, int64_t n) { return m - n < 18 ? m - n : m / 8 - n / 8 + 18 - 2; };
  CHECK(self_extend(60, 0) == 23);
  for (const auto& [name, distance] :
       {std::pair<const char*, std::function<int64_t(int64_t, int64_t)>>{"rerope", rerope},
        {"self_extend", self_extend}}) {
    CAPTURE(name);
    ParameterList none;
    const PositionalEncoding encoding = encoding_named(name).make(shape, none);
    CHECK(encoding.far_from == 18);
    const EncodingInputs inputs = random_encoding_inputs(shape, length, 6);
    const Tensor scores = encoded(encoding, inputs, consecutive_positions(length), shape).scores.value();
    const Tensor expected = Tensor::zeros(scores.shape(), Dtype::f64);
    for (int64_t head = 0; head < 2; ++head)
      for (int64_t m = 0; m < length; ++m)
        for (int64_t n = 0; n <= m; ++n)
          expected.view<double>()(0, head, m, n) =
              rotary_score(inputs, head, m, n, static_cast<double>(distance(m, n)));
    CHECK(mismatch(scores, Dtype::f64, expected, 1e-13) == "");

    AttentionShape small = shape;
    small.train_length = 3;
    CHECK_THROWS_WITH_AS(encoding_named(name).make(small, none),
                         doctest::Contains("the window, a quarter of train.length = 3, holds no token; needs"),
                         UsageError);
    small.train_length = 4;
    CHECK(encoding_named(name).make(small, none).far_from == 1);
  }
}

TEST_CASE("pope: lengths from softplus, one frequency a channel, a phase for each key head, in both layouts") {
  for (const RotaryLayout layout : {RotaryLayout::half_split, RotaryLayout::interleaved})
    for (const int64_t head_dim : {8, 5})
      for (const int64_t layer : {0, 1}) {
        AttentionShape s = shape;
        s.layout = layout;
        s.head_dim = head_dim;
        ParameterList learned;
        const PositionalEncoding encoding = encoding_named("pope").make(s, learned);
        const Var phase = learned["layer." + std::to_string(layer) + ".phase"];
        REQUIRE(phase.shape() == Shape{1, 1, head_dim});
        for (const double start : phase.value().to_vector<double>()) CHECK(start == 0);
        CHECK(learned.all()[0].options.minimum == doctest::Approx(-6.283185307179586));
        CHECK(learned.all()[0].options.maximum == 0);
        Random random{.seed = 3};
        phase.assign(uniform(phase.shape(), -6, 0, Dtype::f64, random));
        const EncodingInputs inputs = random_encoding_inputs(s, length, 6);
        const View<double> q = inputs.q.value().view<double>(), k = inputs.k.value().view<double>();
        const Tensor scores = encoded(encoding, inputs, consecutive_positions(length), s, layer).scores.value();
        const Tensor expected = Tensor::zeros(scores.shape(), Dtype::f64);
        for (int64_t head = 0; head < 2; ++head)
          for (int64_t m = 0; m < length; ++m)
            for (int64_t n = 0; n <= m; ++n) {
              double sum = 0;
              for (int64_t c = 0; c < head_dim; ++c) {
                const double wave = std::pow(10000.0, static_cast<double>(c) / static_cast<double>(head_dim));
                sum += std::log(1 + std::exp(q(0, head, m, c))) * std::log(1 + std::exp(k(0, 0, n, c))) *
                       std::cos(static_cast<double>(n - m) / wave + phase.value().view<double>()(0, 0, c));
              }
              expected.view<double>()(0, head, m, n) = sum / std::sqrt(static_cast<double>(head_dim));
            }
        CHECK(mismatch(scores, Dtype::f64, expected, 1e-13) == "");
      }
}
