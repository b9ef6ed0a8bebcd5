// The encodings that add a bias to the scores, against their closed forms computed another way, or by hand.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/comparison.hpp"
#include "tests/support/encoding_scores.hpp"

using namespace phasor;

namespace {

AttentionShape shape_with(int64_t heads) {
  return {.layers = 2,
          .width = 8 * heads,
          .heads = heads,
          .kv_heads = heads,
          .head_dim = 8,
          .train_length = 16,
          .dtype = Dtype::f64};
}

struct Made {
  ParameterList learned;
  PositionalEncoding encoding;
  Made(const std::string& name, const AttentionShape& shape) { encoding = encoding_named(name).make(shape, learned); }

  // [head][i] of the bias at distances[i].
  std::vector<std::vector<double>> at(const std::vector<double>& distances, Dtype dtype = Dtype::f64) const {
    const Tensor d = Tensor::of<double>({1, static_cast<int64_t>(distances.size())}, distances).to(dtype);
    const Tensor bias = encoding.bias_of_distance(d).value();
    CHECK(bias.dtype() == dtype);
    std::vector<std::vector<double>> rows;
    for (int64_t h = 0; h < bias.extent(0); ++h) rows.push_back(bias.select(0, h).to(Dtype::f64).to_vector<double>());
    return rows;
  }
};

doctest::Approx near(double value) { return doctest::Approx(value).epsilon(1e-12); }

}  // namespace

TEST_CASE("alibi: the slopes of the paper, and those of its code where heads are no power of two") {
  const auto slopes = [](int64_t heads) {
    std::vector<double> minus_log2;
    for (const auto& row : Made("alibi", shape_with(heads)).at({1}))
      minus_log2.push_back(std::round(-1e12 * std::log2(-row[0])) / 1e12);
    return minus_log2;
  };
  CHECK(slopes(8) == std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(slopes(16) == std::vector<double>{0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8});
  CHECK(slopes(1) == std::vector<double>{8});
  CHECK(slopes(2) == std::vector<double>{4, 8});
  CHECK(slopes(3) == std::vector<double>{4, 8, 2});
  CHECK(slopes(6) == std::vector<double>{2, 4, 6, 8, 1, 3});
  CHECK(slopes(12) == std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5});

  const auto bias = Made("alibi", shape_with(4)).at({0, 1, 7.5, 1e6}, Dtype::f64);
  CHECK(bias[1] == std::vector<double>{-0.0, -0.0625, -0.46875, -62500});
  AttentionShape single = shape_with(4);
  single.dtype = Dtype::f32;
  CHECK(Made("alibi", single).at({1e6}, Dtype::f32)[3][0] == -3906.25);
}

TEST_CASE("kerple: both forms at numbers of one's own, and where p and a start") {
  const Made logarithm("kerple_log", shape_with(4));
  logarithm.learned["p"].assign(Tensor::of<double>({4, 1}, {1, 2, 0.5, 3}));
  logarithm.learned["a"].assign(Tensor::of<double>({4, 1}, {1, 0.5, 3, 1e-3}));
  const double ln2 = 0.6931471805599453;
  const auto log_bias = logarithm.at({0, 1, 6, 1e6});
  CHECK(log_bias[0][1] == near(-ln2));
  CHECK(log_bias[1][2] == near(-4 * ln2));
  CHECK(log_bias[2][1] == near(-ln2));
  CHECK(log_bias[3][3] == near(-3 * 6.9087547793152204));  // log 1001

  const Made power("kerple_power", shape_with(4));
  power.learned["a"].assign(Tensor::of<double>({4, 1}, {0.5, 1, 2, 0.25}));
  power.learned["p"].assign(Tensor::of<double>({4, 1}, {2, 0.5, 1, 1.5}));
  const auto power_bias = power.at({0, 1, 4, 100});
  CHECK(power_bias[0] == std::vector<double>{0, -0.5, -8, -5000});
  CHECK(power_bias[1][2] == near(-2));
  CHECK(power_bias[2][3] == near(-200));
  CHECK(power_bias[3][2] == near(-2));
  for (const auto& rows : {log_bias, power_bias})
    for (const auto& row : rows) CHECK(row[0] == 0);

  // 4096 heads: the moments of U(0, 2) and U(0, 1), the bounds of the code, and no head like another.
  for (const char* name : {"kerple_log", "kerple_power"}) {
    CAPTURE(name);
    const Made many(name, shape_with(4096));
    for (const auto& [parameter, high] : {std::pair{"p", 2.0}, {"a", 1.0}}) {
      std::vector<double> drawn = many.learned[parameter].value().to_vector<double>();
      double total = 0;
      for (const double value : drawn) total += value;
      std::sort(drawn.begin(), drawn.end());
      CHECK(drawn.front() == 0.01);
      CHECK(drawn.back() < high);
      CHECK(drawn.back() > 0.99 * high);
      CHECK(total / 4096 == doctest::Approx(high / 2).epsilon(0.03));
      CHECK(std::adjacent_find(drawn.begin() + 200, drawn.end()) == drawn.end());
    }
    for (const Parameter& p : many.learned.all()) CHECK(p.options.minimum == 0.01);
  }
  CHECK(power.learned.all()[1].options.maximum == 2);
}

TEST_CASE("t5: 32 buckets, found with whole numbers only") {
  const Made t5("t5", shape_with(2));
  const Tensor table = Tensor::empty({32, 2}, Dtype::f64);
  for (int64_t i = 0; i < 64; ++i) table.data<double>()[i] = static_cast<double>(i % 2 == 0 ? i / 2 : -(i / 2));
  t5.learned["weight"].assign(table);
  std::vector<double> distances;
  for (int64_t d = 0; d <= 300; ++d) distances.push_back(static_cast<double>(d));
  distances.push_back(1e6);
  const auto bias = t5.at(distances);
  for (size_t d = 0; d <= 300; ++d) {
    // Bucket 16 + j holds d where 16 log(d / 16) / log 8 >= j, that is d^16 >= 16^16 8^j = 2^(64 + 3 j).
    int64_t bucket = static_cast<int64_t>(d);
    if (d >= 16) {
      using Wide = unsigned __int128;
      Wide power = 1;
      for (int i = 0; i < 16; ++i) power *= std::min<Wide>(d, 127);  // 127^16 < 2^128
      for (bucket = 16; bucket < 31 && power >= Wide{1} << (64 + 3 * (bucket - 15)); ++bucket) continue;
    }
    CAPTURE(d);
    CHECK(bias[0][d] == static_cast<double>(bucket));
    CHECK(bias[1][d] == static_cast<double>(-bucket));
  }
  CHECK(bias[0][112] == 30);
  CHECK(bias[0][113] == 31);
  CHECK(bias[0][301] == 31);
  CHECK(t5.at({3.9, 0.2})[0] == std::vector<double>{3, 0});
}

TEST_CASE("sandwich: the inner product of the sinusoidal vectors of two positions") {
  const Made sandwich("sandwich", shape_with(4));
  const auto bias = sandwich.at({0, 1, 17, 4000, 1e6 - 3});
  const auto inner = [](long double m, long double n) {
    long double sum = 0;
    for (int i = 0; i < 64; ++i) {
      const long double frequency = std::exp(-std::log(10000.0L) * i / 64);
      sum += std::sin(m * frequency) * std::sin(n * frequency) + std::cos(m * frequency) * std::cos(n * frequency);
    }
    return static_cast<double>(sum);
  };
  const std::vector<std::pair<double, double>> positions = {{5, 5}, {8, 7}, {20, 3}, {4100, 100}, {1e6, 3}};
  for (size_t head = 0; head < 4; ++head)
    for (size_t i = 0; i < positions.size(); ++i) {
      CAPTURE(head);
      CAPTURE(i);
      const double divisor = 8.0 * static_cast<double>(head + 1) / 4;
      const double expected = (inner(positions[i].first, positions[i].second) - 64) / divisor;
      CHECK(std::abs(bias[head][i] - expected) <= 1e-8);  // angles of a million, in double
    }
  CHECK(bias[0][0] == 0);
}

TEST_CASE("fire: the network by hand, below and above the threshold") {
  const AttentionShape shape = shape_with(3);
  const Made fire("fire", shape);
  CHECK(fire.learned["layer.0.c"].value().item<double>() == 0.1);
  CHECK(fire.learned["layer.0.factor"].value().item<double>() == 1);
  fire.learned["layer.1.factor"].assign(Tensor::of<double>({1}, {-0.02}));  // a threshold of 10.24
  const EncodingInputs inputs = random_encoding_inputs(shape, 21, 1);
  for (const int64_t layer : {0, 1}) {
    const Tensor with = encoded(fire.encoding, inputs, consecutive_positions(21), shape, layer).scores.value();
    const Tensor without = encoded({}, inputs, consecutive_positions(21), shape, layer).scores.value();
    const auto parameter = [&](const char* name) {
      return fire.learned["layer." + std::to_string(layer) + "." + name].value().to_vector<double>();
    };
    const auto w1 = parameter("w1"), b1 = parameter("b1"), w2 = parameter("w2");
    for (int64_t m = 0; m < 21; ++m)
      for (int64_t n = 0; n <= m; ++n) {
        const double longest = std::max(layer == 0 ? 512 : 10.24, static_cast<double>(m));
        const double x = std::log(1 + 0.1 * static_cast<double>(m - n)) / (std::log(1 + 0.1 * longest) + 1e-6);
        for (size_t h = 0; h < 3; ++h) {
          double bias = 0;
          for (size_t u = 0; u < 32; ++u) bias += w2[u * 3 + h] * std::max(0.0, w1[u] * x + b1[u]);
          const int64_t head = static_cast<int64_t>(h);
          CHECK(with.view<double>()(0, head, m, n) - without.view<double>()(0, head, m, n) == near(bias));
        }
      }
  }
}

TEST_CASE("fox: what passes all gates between key and query") {
  const AttentionShape shape = shape_with(2);
  const Made fox("fox", shape);
  stir(fox.learned, 7);
  const EncodingInputs inputs = random_encoding_inputs(shape, 9, 1);
  for (const int64_t layer : {0, 1}) {
    const Tensor with = encoded(fox.encoding, inputs, consecutive_positions(9), shape, layer).scores.value();
    const Tensor without = encoded({}, inputs, consecutive_positions(9), shape, layer).scores.value();
    const std::string name = "layer." + std::to_string(layer);
    const View<double> w = fox.learned[name + ".weight"].value().view<double>();
    const View<double> b = fox.learned[name + ".bias"].value().view<double>(), x = inputs.x.value().view<double>();
    for (int64_t head = 0; head < 2; ++head) {
      const auto gate = [&](int64_t token) {
        double sum = b(head);
        for (int64_t channel = 0; channel < 16; ++channel) sum += x(0, token, channel) * w(channel, head);
        return 1 / (1 + std::exp(-sum));
      };
      for (int64_t m = 0; m < 9; ++m)
        for (int64_t n = 0; n <= m; ++n) {
          double passes = 1;
          for (int64_t l = n + 1; l <= m; ++l) passes *= gate(l);
          const double bias = with.view<double>()(0, head, m, n) - without.view<double>()(0, head, m, n);
          CHECK(std::exp(bias) == near(passes));
        }
    }
    // Where a cache holds the first keys: the last rows. (No softmax would show a wrong one: it shifts a whole row.)
    PositionalContext c;
    c.layer = layer;
    c.key_input = inputs.x;
    c.layer_input = inputs.x;
    const Tensor whole = fox.encoding.bias_of_positions(c).value();
    c.layer_input = slice(inputs.x, 1, 6, 9);
    CHECK(bit_mismatch(fox.encoding.bias_of_positions(c).value(), whole.slice(2, 6, 9)) == "");
  }
}
