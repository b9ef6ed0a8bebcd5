// The tables of a sweep against ablations run one by one, and on models where only one component does anything.
#include "experiments/dissect/ablation_sweep.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "core/parallel.hpp"
#include "experiments/dissect/ablation.hpp"
#include "experiments/dissect/patterns.hpp"
#include "experiments/dissect/u_shape.hpp"
#include "experiments/evaluation.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

// 2 layers, 4 heads of 4 components that share 2 key heads.
Transformer small(const std::string& encoding) {
  ModelShape shape = small_model(encoding, 16);
  shape.vocabulary = byte_vocabulary;
  shape.init_deviation = 0.3;
  return Transformer(shape, 3);
}

const std::vector<uint8_t> bytes = [] {
  std::vector<uint8_t> drawn;
  Random random{.seed = 5};
  for (int i = 0; i < 500; ++i) drawn.push_back(static_cast<uint8_t>('a' + random.below(5)));
  return drawn;
}();
const Split text = {bytes, bytes};

constexpr Ablation all_kinds[] = {Ablation::stop, Ablation::remove, Ablation::mean};

AblationSweep swept(const Transformer& model, DissectSettings settings = {}) {
  settings.bytes = 200;
  settings.sequences = 8;
  return ablation_sweep(model, text, settings, "", true);
}

}  // namespace

TEST_CASE("evaluation: the loss of each window is that of the window read alone") {
  const Transformer model = small("rope");
  const Evaluation all = evaluate(model, bytes, 16, 100);
  REQUIRE(all.loss_by_window.size() == 6);
  double mean = 0;
  for (size_t window = 0; window < 6; ++window) {
    const double alone = evaluate(model, text.held_out.subspan(16 * window, 16), 16, 16).loss;
    CHECK(all.loss_by_window[window] == doctest::Approx(alone).epsilon(1e-12));
    mean += alone / 6;
  }
  CHECK(all.loss == doctest::Approx(mean).epsilon(1e-12));
}

TEST_CASE("ablation sweep: every entry is what its ablation does, run by itself") {
  const Transformer model = small("rope");
  const Components components = components_of(model);
  const std::vector<int64_t> lengths = {16, 32, 64};
  for (const auto& [layer, head] : {std::pair<int64_t, int64_t>{-1, -1}, {1, 2}}) {
    CAPTURE(layer);
    const AblationSweep sweep = swept(model, {.layer = layer, .head = head});
    CHECK(sweep.loss.dimensions[3].numbers == std::vector<double>{16, 32, 64});
    const ChannelMeans means = channel_means(model, evaluation_windows(bytes, 16, 200).inputs);
    const auto change = [&](Ablation kind, const Ablated& which, int64_t length) {
      const std::vector<double> before = evaluate(model, bytes, length, 200).loss_by_window,
                                after = evaluate(ablated(model, components, kind, which, means), bytes, length, 200)
                                            .loss_by_window;
      const double n = static_cast<double>(before.size());
      double sum = 0, squares = 0;
      for (size_t i = 0; i < before.size(); ++i) {
        sum += after[i] - before[i];
        squares += (after[i] - before[i]) * (after[i] - before[i]);
      }
      // Student's 0.975 quantiles for the 11, 5 and 2 degrees of freedom of 12, 6 and 3 windows.
      REQUIRE((n == 12 || n == 6 || n == 3));
      const double quantile = n == 12 ? 2.200985160 : n == 6 ? 2.570581836 : 4.302652730;
      return std::pair{sum / n, quantile * std::sqrt((squares - sum * sum / n) / (n * (n - 1)))};
    };
    for (const Ablation kind : all_kinds)
      for (int64_t c = 0; c < 4; ++c)
        for (int64_t length = 0; length < 3; ++length) {
          const Ablated ranges[] = {{c, c, layer, head}, {0, c, layer, head}, {c, 3, layer, head}};
          for (int64_t way = 0; way < 3; ++way) {
            const auto [mean, half_width] = change(kind, ranges[way], lengths[static_cast<size_t>(length)]);
            const std::vector<int64_t> at = {static_cast<int64_t>(kind), way, c, length};
            CHECK(std::abs(mean) > 1e-8);
            CHECK(sweep.loss.at(at) == doctest::Approx(mean).epsilon(1e-12));
            CHECK(sweep.loss_half_width.at(at) == doctest::Approx(half_width).epsilon(1e-8));
          }
        }
    for (int64_t of_layer = 0; of_layer < 2; ++of_layer)
      for (int64_t of_head = 0; of_head < 4; ++of_head)
        for (int64_t c = 0; c < 4; ++c) {
          if (layer >= 0 && (of_layer != layer || of_head != head)) continue;  // not asked for
          const auto [mean, half_width] = change(Ablation::stop, {c, c, of_layer, of_head}, 32);
          CHECK(sweep.of_head.at({of_layer, of_head, c, 1}) == doctest::Approx(mean).epsilon(1e-12));
          CHECK(sweep.of_head_half_width.at({of_layer, of_head, c, 1}) == doctest::Approx(half_width).epsilon(1e-8));
        }
    const Tensor random_ids = random_windows(bytes, 8, 16), repeated_ids = repeated_windows(bytes, 8, 16);
    for (const Ablation kind : {Ablation::stop, Ablation::remove})
      for (int64_t c = 0; c < 4; ++c) {
        const Transformer changed = ablated(model, components, kind, {c, c, layer, head});
        const int64_t k = static_cast<int64_t>(kind);
        const UShape before = u_shape(model, random_ids, {}), after = u_shape(changed, random_ids, {});
        for (int64_t of_layer = 0; of_layer < 3; ++of_layer)
          CHECK(sweep.u_depth.at({k, c, of_layer}) == after.depth.at({of_layer}) - before.depth.at({of_layer}));
        const Measurement scores = head_scores(model, repeated_ids), other = head_scores(changed, repeated_ids);
        for (int64_t score = 0; score < 3; ++score)
          CHECK(sweep.head_score.at({k, c, score, 1, 2}) == other.at({score, 1, 2}) - scores.at({score, 1, 2}));
      }
  }
}

TEST_CASE("ablation sweep: stopping what stands still is 0, and no part of a range") {
  // At L = 16 HoPE keeps the component of wavelength 6.3; the next has 63.
  const Transformer model = small("hope");
  const AblationSweep sweep = swept(model);
  for (int64_t length = 0; length < 3; ++length) {
    const double stopped = sweep.loss.at({0, 0, 0, length});
    CHECK(stopped != 0);
    for (int64_t c = 0; c < 4; ++c) {
      CHECK(sweep.loss.at({0, 1, c, length}) == stopped);
      CHECK(sweep.loss.at({0, 2, c, length}) == (c == 0 ? stopped : 0));
      CHECK(sweep.loss.at({0, 0, c, length}) == (c == 0 ? stopped : 0));
      CHECK((sweep.loss_half_width.at({0, 0, c, length}) == 0) == (c > 0));
      CHECK((sweep.of_head.at({1, 3, c, length}) == 0) == (c > 0));
      CHECK((sweep.u_depth.at({0, c, 1}) == 0) == (c > 0));
      CHECK(sweep.loss.at({1, 0, c, length}) != 0);
      CHECK(sweep.loss.at({2, 0, c, length}) != 0);
      CHECK(sweep.u_depth.at({1, c, 1}) != 0);
    }
  }
}

TEST_CASE("ablation sweep: what stands still in front of a range is no part of it either, the rest is") {
  const Transformer plain = small("rope");
  const Transformer model =
      plain.with_encoding(PositionalEncoding::rotary(Spectrum::geometric(4, 10000).map([](Component c) {
        if (c.index == 0) c.frequency = 0;
        return c;
      })));
  const AblationSweep sweep = swept(model);
  CHECK(sweep.loss.at({0, 1, 0, 0}) == 0);
  CHECK(sweep.loss.at({0, 1, 1, 0}) != 0);
  CHECK(sweep.loss.at({0, 1, 1, 0}) == sweep.loss.at({0, 0, 1, 0}));
  CHECK(sweep.loss.at({0, 2, 0, 0}) == sweep.loss.at({0, 2, 1, 0}));
}

TEST_CASE("ablation sweep: the same bits for any number of threads") {
  const Transformer model = small("rerope");
  AblationSweep one, many;
  with_threads(1, [&] { one = swept(model, {.lengths = {40}}); });
  with_threads(4, [&] { many = swept(model, {.lengths = {40}}); });
  CHECK(one.loss.values == many.loss.values);
  CHECK(one.loss_half_width.values == many.loss_half_width.values);
  CHECK(one.of_head.values == many.of_head.values);
  CHECK(one.u_depth.values == many.u_depth.values);
  CHECK(one.head_score.values == many.head_score.values);
}

TEST_CASE("ablation sweep: the one component that does anything is found, in its layer and heads") {
  const Transformer model = small("rope");
  for (int64_t layer = 0; layer < 2; ++layer)
    for (const char* which : {"q", "k"}) {
      const std::string name = "block." + std::to_string(layer) + ".attention." + which + ".weight";
      const Tensor weight = model.parameters()[name].value();
      const Tensor kept = weight.clone();
      fill(weight, 0);
      if (layer == 0) continue;
      // Half split: component 2 of a head of 8 channels has the third and the seventh; heads 2 and 3 read key head 1.
      for (const int64_t channel : {8 + 2, 8 + 6})
        copy_into(weight.slice(1, channel + (which[0] == 'q' ? 8 : 0), channel + (which[0] == 'q' ? 8 : 0) + 1),
                  kept.slice(1, channel, channel + 1));
    }
  const AblationSweep sweep = swept(model);
  for (int64_t c = 0; c < 4; ++c) {
    CAPTURE(c);
    for (int64_t kind = 0; kind < 3; ++kind) {
      CHECK((std::abs(sweep.loss.at({kind, 0, c, 1})) > 1e-9) == (c == 2));
      CHECK((std::abs(sweep.loss.at({kind, 1, c, 1})) > 1e-9) == (c >= 2));
      CHECK((std::abs(sweep.loss.at({kind, 2, c, 1})) > 1e-9) == (c <= 2));
    }
    for (int64_t layer = 0; layer < 2; ++layer)
      for (int64_t head = 0; head < 4; ++head)
        CHECK((std::abs(sweep.of_head.at({layer, head, c, 0})) > 1e-9) == (c == 2 && layer == 1 && head >= 2));
  }
}

TEST_CASE("ablation sweep: lengths, and what is refused before anything runs") {
  const Transformer model = small("rope");
  CHECK(ablation_lengths(model, {}) == std::vector<int64_t>{16, 32, 64});
  CHECK(ablation_lengths(model, {.lengths = {40, 8, 40}}) == std::vector<int64_t>{8, 40});
  CHECK(ablation_lengths(small("learned"), {}) == std::vector<int64_t>{16});
  CHECK_THROWS_WITH_AS(swept(small("nope")), doctest::Contains("turns no components"), UsageError);
  CHECK_THROWS_WITH_AS(swept(model, {.layer = 2}), doctest::Contains("layer 2; the model has 0 to 1"), UsageError);
  CHECK_THROWS_WITH_AS(swept(model, {.lengths = {1000}}), doctest::Contains("needs at least 1000"), FileError);
}

TEST_CASE("ablation sweep: of one layer or head, only its heads are swept, with the same numbers") {
  const Transformer model = small("rope");
  const AblationSweep all = swept(model), chosen = swept(model, {.layer = 1, .head = 3});
  REQUIRE(all.of_head.dimensions == chosen.of_head.dimensions);
  for (int64_t layer = 0; layer < 2; ++layer)
    for (int64_t head = 0; head < 4; ++head)
      for (int64_t component = 0; component < 4; ++component)
        for (int64_t length = 0; length < 3; ++length) {
          const std::vector<int64_t> at = {layer, head, component, length};
          if (layer == 1 && head == 3) {
            CHECK(chosen.of_head.at(at) == all.of_head.at(at));
            CHECK(chosen.of_head_half_width.at(at) == all.of_head_half_width.at(at));
          } else {
            CHECK(std::isnan(chosen.of_head.at(at)));
            CHECK(std::isnan(chosen.of_head_half_width.at(at)));
          }
        }
}
