// The rotations one by one: frequencies and gains against closed forms, computed apart from the encodings' own code and
// read back from the tables of position 1, and what holds at the borders.
#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "autograd/gradcheck.hpp"
#include "tests/positional/rotation_tables.hpp"

using namespace phasor;

TEST_CASE("interpolation: every frequency divided, which is every position divided") {
  std::vector<double> expected = rope_frequencies(64);
  for (double& frequency : expected) frequency /= 8;
  check_frequencies(waves_of(made("interpolation", shape_of(64, 128))), expected);
  const RotaryTables ours = tables_at(made("interpolation", shape_of(64, 128)), at_position(1000)),
                     rope = tables_at(made("rope", shape_of(64, 128)), at_position(125));
  CHECK(mismatch(ours.q_cos.value(), Dtype::f64, rope.q_cos.value(), 1e-13) == "");
}

TEST_CASE("ntk: the fastest stays, the slowest is divided by the factor, the ratio is one number") {
  const std::vector<double> rope = rope_frequencies(128), got = waves_of(made("ntk", shape_of(128, 128))).frequency;
  CHECK(got[0] == doctest::Approx(1).epsilon(1e-15));
  CHECK(close(got[63], rope[63] / 8));
  for (size_t i = 1; i < 64; ++i) CHECK(close(got[i] / got[i - 1], std::pow(82684.62264056221843625969804, -1.0 / 64)));
}

TEST_CASE("dynamic_ntk: rope up to the training length, then a base that grows with the text") {
  const PositionalEncoding encoding = made("dynamic_ntk", shape_of(64, 128, 4));
  const std::vector<double> rope = rope_frequencies(64);
  for (const int64_t length : {1, 127, 128}) check_frequencies(waves_of(encoding, length), rope);
  // As ntk for the factor s length / L - (s - 1): 5 at twice the length, 29 at 8 times, 1 + 4 / 128 a token beyond.
  for (const auto& [length, factor] : {std::pair{256, 5.0}, {1024, 29.0}, {129, 1.03125}}) {
    const std::vector<double> got = waves_of(encoding, length).frequency;
    for (size_t i = 0; i < 32; ++i) CHECK(close(got[i], rope[i] * std::pow(factor, -static_cast<double>(i) / 31)));
  }
}

// LLaMA's d = 128, base 10 000, L = 4096, with s = 16; computed to 40 digits over the wavelengths.
TEST_CASE("ntk_by_parts and yarn_paper: the ramp is linear in the turns, from 1 to 32") {
  const std::vector<double> rope = rope_frequencies(128);
  const double sharper = 1.277258872223978;  // 0.1 ln 16 + 1
  for (const auto& [name, gain] : {std::pair{"ntk_by_parts", 1.0}, {"yarn_paper", sharper}}) {
    const Waves waves = waves_of(made(name, shape_of(128, 4096, 16)));
    for (size_t i = 0; i < 64; ++i) CHECK(close(waves.gain[i], gain));
    for (size_t i = 0; i <= 20; ++i) CHECK(close(waves.frequency[i], rope[i]));
    CHECK(close(waves.frequency[21], 0.048321729215016304));
    CHECK(close(waves.frequency[30], 0.003935988590684745));
    CHECK(close(waves.frequency[40], 0.0002991557249966826));
    CHECK(close(waves.frequency[44], 0.00011970713402745887));
    CHECK(close(waves.frequency[45], 9.642591545833585e-05));
    for (size_t i = 46; i < 64; ++i) CHECK(close(waves.frequency[i], rope[i] / 16));
  }
}

TEST_CASE("yarn: the released code's ramp is linear in the index") {
  // The component that turns 32 times in 4096 tokens would be number 20.94, the one that turns once 45.03: the ramp
  // goes from 20 to 46 and is half way at 33.
  const std::vector<double> rope = rope_frequencies(128);
  const Waves waves = waves_of(made("yarn", shape_of(128, 4096, 16)));
  for (size_t i = 0; i < 64; ++i) CHECK(close(waves.gain[i], 1.277258872223978));
  for (size_t i = 0; i <= 20; ++i) CHECK(close(waves.frequency[i], rope[i]));
  CHECK(close(waves.frequency[21], rope[21] * (25 + 1.0 / 16) / 26));
  CHECK(close(waves.frequency[33], rope[33] * (1 + 1.0 / 16) / 2));
  CHECK(close(waves.frequency[45], rope[45] * (1 + 25.0 / 16) / 26));
  for (size_t i = 46; i < 64; ++i) CHECK(close(waves.frequency[i], rope[i] / 16));

  // So few tokens that even component 0 turns less than once: both ends of the ramp are 0, and all but it are slowed.
  const std::vector<double> few = waves_of(made("yarn", shape_of(16, 6))).frequency;
  CHECK(close(few[0], 1));
  for (size_t i = 1; i < 8; ++i) CHECK(close(few[i], rope_frequencies(16)[i] / 8));
}

// Llama 3's d = 128, base 500 000, L = 8192, s = 8; computed to 40 digits over the wavelengths.
TEST_CASE("llama3: by parts between wavelengths L / 4 and L") {
  const std::vector<double> rope = rope_frequencies(128, 500000);
  const Waves waves = waves_of(made("llama3", shape_of(128, 8192, 8, 500000)));
  for (size_t i = 0; i < 64; ++i) CHECK(close(waves.gain[i], 1));
  for (size_t i = 0; i <= 28; ++i) CHECK(close(waves.frequency[i], rope[i]));
  CHECK(close(waves.frequency[29], 0.0021665707635033587));
  CHECK(close(waves.frequency[30], 0.0013718935677611381));
  CHECK(close(waves.frequency[31], 0.0008567514129196321));
  CHECK(close(waves.frequency[34], 0.0001785078127679964));
  for (size_t i = 35; i < 64; ++i) CHECK(close(waves.frequency[i], rope[i] / 8));
}

TEST_CASE("longrope: the lists divide, the length chooses the list, and scores grow by 1 + ln s / ln L") {
  AttentionShape shape = shape_of(8, 4096, 32);
  shape.short_factors = {1, 1.5, 2, 3};
  shape.long_factors = {1, 4, 16, 32};
  const std::vector<double> rope = {1, 0.1, 0.01, 0.001};
  const double gain = std::sqrt(17.0 / 12);  // ln 32 / ln 4096 = 5 / 12
  const PositionalEncoding encoding = made("longrope", shape);
  for (const int64_t length : {1, 4096})
    check_frequencies(waves_of(encoding, length), {1, 0.1 / 1.5, 0.01 / 2, 0.001 / 3}, gain);
  for (const int64_t length : {4097, 131072})
    check_frequencies(waves_of(encoding, length), {1, 0.1 / 4, 0.01 / 16, 0.001 / 32}, gain);

  // Without lists: rope, and ntk beyond.
  const PositionalEncoding plain = made("longrope", shape_of(8, 4096, 27));
  const double plain_gain = std::sqrt(1 + 3 * std::log(3.0) / (12 * std::numbers::ln2));
  check_frequencies(waves_of(plain, 4096), rope, plain_gain);
  check_frequencies(waves_of(plain, 4097), {1, 0.1 / 3, 0.01 / 9, 0.001 / 27}, plain_gain);
}

TEST_CASE("clipped: the last 20 of 64 components end in a stop, softly or at once") {
  const std::vector<double> rope = rope_frequencies(128);
  const std::vector<double> soft = waves_of(made("clipped", shape_of(128, 128))).frequency,
                            hard = waves_of(made("clipped_hard", shape_of(128, 128))).frequency;
  for (size_t i = 0; i < 44; ++i) {
    CHECK(close(soft[i], rope[i]));
    CHECK(close(hard[i], rope[i]));
  }
  CHECK(close(soft[44], rope[44]));
  for (size_t i = 44; i < 64; ++i) {
    CHECK(hard[i] == 0);
    CHECK(std::abs(soft[i] / rope[i] + soft[107 - i] / rope[107 - i] - 1) <= 1e-12);  // the taper is symmetric
    if (i > 44) CHECK(soft[i] / rope[i] < soft[i - 1] / rope[i - 1]);
  }
  CHECK(soft[63] <= 1e-20);
  // 3 of 8: whole, half, none.
  const std::vector<double> small = waves_of(made("clipped", shape_of(16, 128))).frequency,
                            eight = rope_frequencies(16);
  for (size_t i = 0; i < 6; ++i) CHECK(close(small[i], eight[i]));
  CHECK(close(small[6], eight[6] / 2));
  CHECK(small[7] <= 1e-20);

  AttentionShape shape = shape_of(128, 128);
  shape.fraction = 44.0 / 64;
  CHECK(waves_of(made("p_rope", shape)).frequency == hard);
}

TEST_CASE("partial: a smaller rope on the first channels, the others as they are") {
  AttentionShape shape = shape_of(64, 128);
  shape.fraction = 0.25;
  check_frequencies(waves_of(made("partial", shape)), rope_frequencies(16));
  Random random{.seed = 3};
  const Tensor x = normal({1, 4, 5, 64}, 0, 1, Dtype::f64, random);
  const RotaryTables t = tables_at(made("partial", shape), consecutive_positions(5, 3));
  for (const RotaryLayout layout : {RotaryLayout::half_split, RotaryLayout::interleaved}) {
    const Tensor y = rotary(x, t.q_cos, t.q_sin, layout).value();
    CHECK(bit_mismatch(y.slice(3, 16, 64), x.slice(3, 16, 64)) == "");
    const RotaryTables rope = tables_at(made("rope", shape_of(16, 128)), consecutive_positions(5, 3));
    CHECK(mismatch(y.slice(3, 0, 16), Dtype::f64, rotary(x.slice(3, 0, 16), rope.q_cos, rope.q_sin, layout).value(),
                   1e-14) == "");
  }
}

TEST_CASE("harpe: bases in equal steps from encoding.base to 5 times it, one for each key head") {
  AttentionShape shape = shape_of(4, 128);
  shape.heads = 6;
  shape.kv_heads = 3;
  const RotaryTables t = tables_at(made("harpe", shape), at_position(1));
  CHECK(t.k_cos.shape() == Shape{1, 3, 1, 2});
  CHECK(t.q_cos.shape() == Shape{1, 6, 1, 2});
  const double slow[] = {0.01, 1 / std::sqrt(30000.0), 1 / std::sqrt(50000.0)};
  for (int64_t head = 0; head < 6; ++head) {
    const View<double> sin = t.q_sin.value().view<double>(), cos = t.q_cos.value().view<double>();
    CHECK(close(std::atan2(sin(0, head, 0, 0), cos(0, head, 0, 0)), 1));
    CHECK(close(std::atan2(sin(0, head, 0, 1), cos(0, head, 0, 1)), slow[head / 2]));
    CHECK(t.k_sin.value().view<double>()(0, head / 2, 0, 1) == sin(0, head, 0, 1));
  }
}

TEST_CASE("lerope: shifts of the logarithm move frequencies, have the gradient of the tables, and begin at rope") {
  ParameterList learned;
  const PositionalEncoding encoding = encoding_named("lerope").make(shape_of(8, 128), learned);
  REQUIRE(learned.all().size() == 1);
  const Parameter& parameter = learned.all()[0];
  CHECK(parameter.options.weight_decay_factor == 0);
  CHECK(parameter.options.gradient_clip > 0);
  check_frequencies(waves_of(encoding), {1, 0.1, 0.01, 0.001});
  parameter.var.assign(Tensor::of<double>({4}, {0, std::numbers::ln2, -std::log(5), 0}));
  check_frequencies(waves_of(encoding), {1, 0.2, 0.002, 0.001});
  for (const bool of_keys : {false, true}) {
    const GradcheckResult result = gradcheck(
        [&] {
          const RotaryTables t = tables_at(encoding, Tensor::of<double>({1, 3}, {0, 2, 13}));
          return of_keys ? t.k_cos + 2 * t.k_sin : t.q_cos + 2 * t.q_sin;
        },
        {parameter.var});
    CHECK_MESSAGE(result.worst <= 1e-8, result.message);
  }
}

TEST_CASE("irope: every fourth layer stands still, in small models the last") {
  for (const auto& [layers, interval] : {std::pair<int64_t, int64_t>{8, 4}, {4, 4}, {3, 3}, {2, 2}}) {
    AttentionShape shape = shape_of(8, 128);
    shape.layers = layers;
    const PositionalEncoding irope = made("irope", shape), rope = made("rope", shape),
                             nope = PositionalEncoding::rotary(rope.rotation->spectrum->map([](Component c) {
                               c.frequency = 0;
                               return c;
                             }));
    CHECK(!irope.rotation->same_in_every_layer);
    for (int64_t layer = 0; layer < layers; ++layer) {
      CAPTURE(layer);
      const PositionalEncoding& expected = layer % interval == interval - 1 ? nope : rope;
      const Tensor positions = consecutive_positions(7, 5);
      const RotaryTables got = tables_at(irope, positions, 7, Dtype::f64, layer), want = tables_at(expected, positions);
      CHECK(bit_mismatch(got.q_cos.value(), want.q_cos.value()) == "");
      CHECK(bit_mismatch(got.k_sin.value(), want.k_sin.value()) == "");
    }
  }
}

TEST_CASE("xpos: a component's score decays by zeta in 512 tokens; positions beyond the range are refused") {
  const PositionalEncoding xpos = made("xpos", shape_of(8, 128)), rope = made("rope", shape_of(8, 128));
  const Tensor positions = Tensor::of<double>({1, 3}, {0, 100, 612});
  const RotaryTables got = tables_at(xpos, positions), plain = tables_at(rope, positions);
  const auto at = [](const Var& table, int64_t row, int64_t c) { return table.value().view<double>()(0, 0, row, c); };
  const double zeta[] = {2.0 / 7, 13.0 / 28, 9.0 / 14, 23.0 / 28};  // (i / 4 + 0.4) / 1.4
  for (int64_t c = 0; c < 4; ++c) {
    CHECK(at(got.q_cos, 0, c) == 1);
    // The part of the score of q at 612 and k at 100, both 1 along the component's first channel.
    const auto part = [&](const RotaryTables& t) {
      return at(t.q_cos, 2, c) * at(t.k_cos, 1, c) + at(t.q_sin, 2, c) * at(t.k_sin, 1, c);
    };
    CHECK(part(got) == doctest::Approx(zeta[c] * part(plain)).epsilon(1e-12));
    CHECK(at(got.q_sin, 2, c) ==
          doctest::Approx(std::pow(zeta[c], 612.0 / 512) * at(plain.q_sin, 2, c)).epsilon(1e-13));
    CHECK(at(got.k_sin, 2, c) ==
          doctest::Approx(std::pow(zeta[c], -612.0 / 512) * at(plain.k_sin, 2, c)).epsilon(1e-13));
  }
  CHECK(xpos.position_limit == 27195);  // 96 x 512 / log2(3.5)
  for (const double sign : {1.0, -1.0}) {
    const RotaryTables edge = tables_at(xpos, at_position(sign * 27194), 1, Dtype::f32);
    for (const Var& table : {edge.q_cos, edge.q_sin, edge.k_cos, edge.k_sin})
      for (const float value : table.value().to_vector<float>())
        CHECK((std::isfinite(value) && std::abs(value) > 1e-32));
    CHECK_THROWS_WITH_AS(
        tables_at(xpos, at_position(sign * 27195)),
        doctest::Contains("is beyond the range of its scales; needs positions between -27195 and 27195"), ValueError);
  }
}

TEST_CASE("fope: hope when nothing is mixed, sums of waves when something is") {
  ParameterList learned;
  const AttentionShape shape = shape_of(16, 128);  // wavelengths 6.3, 19.9, 62.8 fit into 128 tokens
  const PositionalEncoding fope = encoding_named("fope").make(shape, learned), hope = made("hope", shape);
  const Tensor positions = consecutive_positions(9, 40);
  const auto& cos_mix = learned["mix_cos"];
  const auto& sin_mix = learned["mix_sin"];
  REQUIRE(cos_mix.shape() == Shape{2, 3, 3});
  Tensor one = Tensor::zeros({2, 3, 3}, Dtype::f64);
  for (int64_t head = 0; head < 2; ++head)
    for (int64_t i = 0; i < 3; ++i) one.view<double>()(head, i, i) = 1;
  // Noise around the identity: 0.3 sqrt(2 / (9 + 6)) = 0.11 of deviation.
  CHECK(relative_error(cos_mix.value(), one) > 0.01);
  CHECK(relative_error(cos_mix.value(), one) < 0.5);
  CHECK(relative_error(cos_mix.value(), sin_mix.value()) > 0.01);

  cos_mix.assign(one.clone());
  sin_mix.assign(one.clone());
  const RotaryTables still = tables_at(fope, positions), expected = tables_at(hope, positions);
  for (int64_t head = 0; head < 4; ++head) {
    CHECK(mismatch(still.q_cos.value().slice(1, head, head + 1), Dtype::f64, expected.q_cos.value(), 1e-15) == "");
    CHECK(mismatch(still.q_sin.value().slice(1, head, head + 1), Dtype::f64, expected.q_sin.value(), 1e-15) == "");
  }

  // Wave 0 comes into component 2 of key head 1, that is of heads 2 and 3, with weight 0.5 in the sine.
  one.view<double>()(1, 0, 2) = 0.5;
  sin_mix.assign(one.clone());
  const RotaryTables mixed = tables_at(fope, positions);
  CHECK(bit_mismatch(mixed.q_cos.value(), still.q_cos.value()) == "");
  for (int64_t row = 0; row < 9; ++row) {
    const double position = 40 + static_cast<double>(row);
    const double sum = std::sin(std::pow(10, -1.0) * position) + 0.5 * std::sin(position);
    CHECK(mixed.k_sin.value().view<double>()(0, 1, row, 2) == doctest::Approx(sum).epsilon(1e-12));
    for (int64_t head = 0; head < 4; ++head) {
      const double alone = still.q_sin.value().view<double>()(0, head, row, 2);
      CHECK(mixed.q_sin.value().view<double>()(0, head, row, 2) ==
            doctest::Approx(head < 2 ? alone : sum).epsilon(1e-12));
    }
  }
  for (const Var& mix : {cos_mix, sin_mix}) {
    const GradcheckResult result = gradcheck(
        [&] {
          const RotaryTables t = tables_at(fope, positions);
          return concat({t.q_cos + 2 * t.q_sin, t.k_cos + 3 * t.k_sin}, 1);
        },
        {mix});
    CHECK_MESSAGE(result.worst <= 1e-8, result.message);
  }
}
