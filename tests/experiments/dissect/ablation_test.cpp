// Ablated models against encodings made by hand, and against the components of the intact model's scores.
#include "experiments/dissect/ablation.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "core/ops/binary.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

constexpr int64_t length = 20, components_of_small = 4;

// Weights large enough that every component shows in the logits.
Transformer stirred(ModelShape shape) {
  shape.init_deviation = 0.5;
  return Transformer(shape, 3);
}

Transformer small(const std::string& encoding, Dtype dtype = Dtype::f64) {
  ModelShape shape = small_model(encoding, length);
  shape.dtype = dtype;
  return stirred(shape);
}

Tensor some_ids(int64_t batch = 2, int64_t tokens = length) {
  Random random{.seed = 4};
  return random_ids({batch, tokens}, small_vocabulary, random);
}

Tensor logits(const Transformer& model) {
  const NoGradient scope;
  return model.logits(some_ids()).value();
}

Transformer ablated(const Transformer& model, Ablation ablation, const Ablated& which) {
  return ablated(model, components_of(model), ablation, which, channel_means(model, some_ids()));
}

Spectrum spectrum_stopped(const Spectrum& spectrum, int64_t first, int64_t last) {
  return spectrum.map([=](Component c) {
    if (first <= c.index && c.index <= last) c.frequency = 0;
    return c;
  });
}

std::vector<LayerValues> layers_of(const Transformer& model, const std::vector<Site>& sites) {
  std::vector<LayerValues> layers;
  visit_layers(model, some_ids(), sites, [&](const LayerValues& layer) { layers.push_back(layer); });
  return layers;
}

const Spectrum rope = Spectrum::geometric(components_of_small, 10000);

}  // namespace

TEST_CASE("ablation: stop is the encoding with frequency 0, to the last bit") {
  for (const RotaryLayout layout : {RotaryLayout::half_split, RotaryLayout::interleaved}) {
    ModelShape shape = small_model("rope", length);
    shape.dtype = Dtype::f32;
    shape.layout = layout;
    const Transformer model = stirred(shape);
    for (const auto& [first, last] : {std::pair<int64_t, int64_t>{0, 0}, {1, 2}, {3, 3}, {0, 3}}) {
      const Tensor by_hand =
          logits(model.with_encoding(PositionalEncoding::rotary(spectrum_stopped(rope, first, last))));
      const auto stopped = [&](int64_t from, int64_t to) {
        return logits(ablated(model, Ablation::stop, {.first = from, .last = to}));
      };
      CHECK(bit_mismatch(stopped(first, last), by_hand) == "");
      CHECK(bit_mismatch(logits(model), by_hand) != "");
      if (last < 3) CHECK(bit_mismatch(stopped(first + 1, last + 1), by_hand) != "");
    }
  }
}

TEST_CASE("ablation: stop keeps gains and acts in the far rotation too") {
  const auto loud = [](const Spectrum& spectrum) {
    return PositionalEncoding::rotary(spectrum.map([](Component c) {
      c.gain = 1.5;
      return c;
    }));
  };
  const Transformer plain = small("rope", Dtype::f32), model = plain.with_encoding(loud(rope));
  CHECK(bit_mismatch(logits(ablated(model, Ablation::stop, {.first = 1, .last = 1})),
                     logits(plain.with_encoding(loud(spectrum_stopped(rope, 1, 1))))) == "");

  const auto far = [](const Spectrum& spectrum) {
    const auto all_at = [](double position) {
      return [=](const Tensor& positions) { return Tensor::full(positions.shape(), position, Dtype::f64); };
    };
    return rotary_with_far_positions(spectrum, 5, all_at(5), all_at(0));
  };
  const Transformer windowed = plain.with_encoding(far(rope));
  CHECK(bit_mismatch(logits(ablated(windowed, Ablation::stop, {.first = 0, .last = 1})),
                     logits(plain.with_encoding(far(spectrum_stopped(rope, 0, 1))))) == "");
}

TEST_CASE("ablation: stop in one layer, and in the query heads that share a key head") {
  const Transformer model = small("rope", Dtype::f32);
  PositionalEncoding one_layer = PositionalEncoding::rotary(rope);
  one_layer.rotation->same_in_every_layer = false;
  one_layer.rotation->tables = [](const PositionalContext& c) {
    return PositionalEncoding::rotary(c.layer == 1 ? spectrum_stopped(rope, 2, 3) : rope).rotation->tables(c);
  };
  CHECK(bit_mismatch(logits(ablated(model, Ablation::stop, {.first = 2, .last = 3, .layer = 1})),
                     logits(model.with_encoding(one_layer))) == "");

  // Heads 2 and 3 read key head 1.
  const Tensor frequencies = Tensor::empty({2, 4}, Dtype::f64);
  for (int64_t key_head = 0; key_head < 2; ++key_head)
    for (const Component& c : key_head == 1 ? spectrum_stopped(rope, 1, 1) : rope)
      frequencies.view<double>()(key_head, c.index) = c.frequency;
  PositionalEncoding one_head;
  one_head.rotation.emplace();
  one_head.rotation->tables = [=](const PositionalContext& c) {
    const LearnedCosSin table = learned_table(frequencies, c.q_positions, c.q.dtype());
    return RotaryTables{for_query_heads(table.cos, 4), for_query_heads(table.sin, 4), table.cos, table.sin};
  };
  const Tensor by_hand = logits(model.with_encoding(one_head));
  for (const int64_t head : {2, 3})
    CHECK(bit_mismatch(logits(ablated(model, Ablation::stop, {.first = 1, .last = 1, .head = head})), by_hand) == "");
  CHECK(bit_mismatch(logits(ablated(model, Ablation::stop, {.first = 1, .last = 1, .head = 1})), by_hand) != "");
}

TEST_CASE("ablation: in every encoding what is stopped stands still, and the others turn as before") {
  int64_t checked = 0;
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const Transformer model = small(name);
    if (!model.encoding().rotation) {
      CHECK_THROWS_WITH_AS(components_of(model), doctest::Contains("turns no components"), UsageError);
      continue;
    }
    ++checked;
    const Components before = components_of(model);
    const Transformer changed = ablated(model, Ablation::stop, {.first = 1, .last = 2, .layer = 0});
    CHECK(changed.encoding().why_unfused() == model.encoding().why_unfused());
    const Components after = components_of(changed);
    for (size_t head = 0; head < 4; ++head)
      for (size_t c = 0; c < static_cast<size_t>(before.size); ++c) {
        const double was = before.frequencies[0][head][c], is = after.frequencies[0][head][c];
        if (c == 1 || c == 2)
          CHECK(is == 0);
        else if (!std::isnan(was))
          CHECK(is == doctest::Approx(was));
        const double other = before.frequencies[1][head][c];
        if (!std::isnan(other)) CHECK(after.frequencies[1][head][c] == doctest::Approx(other));
      }
  }
  CHECK(checked >= 20);
}

TEST_CASE("ablation: remove leaves the sum of the other components, in every encoding") {
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const Transformer model = small(name);
    if (!model.encoding().rotation) continue;
    const Components components = components_of(model);
    std::vector<Site> sites = components.sites();
    sites.push_back(Site::score);
    const std::vector<LayerValues> intact = layers_of(model, sites);
    for (const int64_t layer : {0, 1}) {
      const int64_t first = components.size - 2, last = components.size - 1, head = 2;
      const LayerValues& values = intact[static_cast<size_t>(layer)];
      const Tensor parts = component_scores(components, values);
      const Tensor expected = values[Site::score].clone();
      for (int64_t window = 0; window < 2; ++window)
        for (int64_t m = 0; m < length; ++m)
          for (int64_t n = 0; n <= m; ++n)
            for (int64_t c = first; c <= last; ++c)
              expected.view<double>()(window, head, m, n) -= parts.view<double>()(window, head, c, m, n);
      const Transformer changed =
          ablated(model, Ablation::remove, {.first = first, .last = last, .layer = layer, .head = head});
      CHECK(changed.encoding().why_unfused() == model.encoding().why_unfused());
      const Tensor score = layers_of(changed, {Site::score})[static_cast<size_t>(layer)][Site::score];
      const Var visible = visible_pairs(length, length, {});
      const Var hidden = Tensor::scalar(0, Dtype::f64);
      CHECK(mismatch(where(visible.value(), Var(score), hidden).value(), Dtype::f64,
                     where(visible.value(), Var(expected), hidden).value(), 1e-13) == "");
      CHECK(bit_mismatch(score, values[Site::score]) != "");
    }
  }
}

TEST_CASE("ablation: means are over windows and tokens, and stand in q and k before they turn") {
  // A rotation that stands still shows at q_rotated what goes into it.
  const Transformer model = small("rope").with_encoding(PositionalEncoding::rotary(spectrum_stopped(rope, 0, 3)));
  const std::vector<LayerValues> intact = layers_of(model, {Site::q_rotated, Site::k_rotated});
  const Transformer changed = ablated(model, Ablation::mean, {.first = 1, .last = 1, .layer = 1, .head = 1});
  const LayerValues after = layers_of(changed, {Site::q_rotated, Site::k_rotated})[1];
  for (const Site site : {Site::q_rotated, Site::k_rotated}) {
    const Tensor x = intact[1][site];
    const Tensor expected = x.clone();
    for (int64_t head = 0; head < (site == Site::q_rotated ? 2 : 1); ++head)  // those of key head 0
      for (const int64_t channel : {1, 5}) {
        double mean = 0;
        for (int64_t window = 0; window < 2; ++window)
          for (int64_t token = 0; token < length; ++token)
            mean += x.view<double>()(window, head, token, channel) / (2 * length);
        for (int64_t window = 0; window < 2; ++window)
          for (int64_t token = 0; token < length; ++token) expected.view<double>()(window, head, token, channel) = mean;
      }
    CHECK(mismatch(after[site], Dtype::f64, expected, 1e-13) == "");
  }

  // More windows than are read at once.
  const Tensor ids = some_ids(3, 1500);
  const ChannelMeans means = channel_means(model, ids);
  Tensor expected;
  visit_layers(model, ids, {Site::k}, [&](const LayerValues& layer) {
    if (layer.layer == 1) expected = mean(Var(layer[Site::k]), {0, 2}).value();
  });
  CHECK(mismatch(means.k[1], Dtype::f64, expected, 1e-12) == "");
}

TEST_CASE("ablation: a mean changes nothing where q and k are the same for all tokens") {
  for (const char* const name : {"rope", "rerope", "pope", "partial"}) {
    CAPTURE(name);
    const Transformer model = small(name);
    const Tensor weight = model.parameters()["embedding.weight"].value();
    copy_into(weight, weight.slice(0, 0, 1).clone().broadcast_to(weight.shape()));
    const Components components = components_of(model);
    const Tensor intact = logits(model);
    for (const int64_t head : {-1, 1}) {
      const Ablated which = {.first = 0, .last = components.size - 1, .layer = -1, .head = head};
      CHECK(mismatch(logits(ablated(model, Ablation::mean, which)), Dtype::f64, intact, 1e-13) == "");
    }
  }
  const Transformer model = small("rope");
  CHECK(mismatch(logits(ablated(model, Ablation::mean, {.first = 0, .last = 0})), Dtype::f64, logits(model), 1e-6) !=
        "");
}

TEST_CASE("ablation: what the model does not have is refused") {
  const Transformer model = small("rope");
  const auto refused = [&](const Ablated& which, const char* message) {
    CHECK_THROWS_WITH_AS(ablated(model, Ablation::stop, which), doctest::Contains(message), UsageError);
  };
  refused({.first = 2, .last = 1}, "ablation: components 2 to 1; the model has 0 to 3");
  refused({.first = 0, .last = 4}, "ablation: components 0 to 4; the model has 0 to 3");
  refused({.layer = 2}, "ablation: layer 2; the model has 0 to 1, and -1 is all (dissect.layer)");
  refused({.head = 4}, "ablation: head 4; the model has 0 to 3, and -1 is all (dissect.head)");
  CHECK_THROWS_WITH_AS(ablated(model, components_of(model), Ablation::mean, {}),
                       doctest::Contains("means of 0 layers; the model has 2"), ValueError);
  CHECK(std::string(name_of(Ablation::mean)) == "mean");
}
