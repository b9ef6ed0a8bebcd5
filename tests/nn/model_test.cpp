// The transformer as a whole: shapes, errors, packing, handles, and the same bits for any number of threads.
#include "nn/model.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "core/parallel.hpp"
#include "nn/optimizer.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

Tensor ids_of(int64_t batch, int64_t length, uint64_t seed) {
  Random random{.seed = seed};
  const Tensor ids = Tensor::empty({batch, length}, Dtype::i32);
  for (int64_t i = 0; i < ids.size(); ++i) ids.data<int32_t>()[i] = static_cast<int32_t>(random.below(30));
  return ids;
}

ModelShape small() {
  return {.vocabulary = 30, .width = 48, .layers = 2, .heads = 3, .kv_heads = 1, .hidden = 50, .train_length = 32};
}

}  // namespace

TEST_CASE("model: shape of logits, names of parameters, decay of products only") {
  const Transformer model(small(), 1);
  CHECK(model.logits(ids_of(2, 9, 1)).shape() == Shape{2, 9, 30});
  const ParameterList& p = model.parameters();
  CHECK(p["block.1.attention.k.weight"].shape() == Shape{48, 16});
  CHECK(p.count() == 2 * (2 * 48 + 2 * 48 * 48 + 2 * 48 * 16 + 3 * 48 * 50) + 2 * 30 * 48 + 48);
  for (const Parameter& parameter : p.all()) {
    const bool product = parameter.name.find("norm") == std::string::npos && parameter.name != "embedding.weight";
    CHECK(parameter.options.weight_decay_factor == (product ? 1 : 0));
  }
  CHECK_THROWS_WITH_AS(p["block.7.mlp.up.weight"], doctest::Contains("known: embedding.weight"), UsageError);
}

TEST_CASE("model: GPT-2's shape: layer norm with biases, GELU, a tied head, learned positions, depth-scaled weights") {
  ModelShape shape = small();
  shape.kv_heads = 0;
  shape.layers = 4;
  shape.norm = NormKind::layer;
  shape.mlp = MlpKind::gelu_tanh;
  shape.bias = LinearBias::yes;
  shape.head = HeadKind::tied;
  shape.init = InitKind::depth_scaled;
  shape.encoding = "learned";
  const Transformer model(shape, 1);
  const ParameterList& p = model.parameters();
  // Per block: four square products and two of the MLP, each with its bias, and two norms with weight and bias.
  const int64_t w = 48, h = 50, block = 4 * (w * w + w) + 2 * w * h + h + w + 4 * w;
  CHECK(p.count() == 30 * w + 32 * w + 4 * block + 2 * w);
  CHECK_THROWS_AS(p["head.weight"], UsageError);
  CHECK_THROWS_AS(p["block.0.mlp.gate.weight"], UsageError);
  for (const char* name : {"block.3.attention.q.bias", "block.3.mlp.down.bias", "final_norm.bias", "encoding.weight"})
    CHECK(p[name].value().rank() >= 1);

  const auto deviation = [&](const char* name) {
    return std::sqrt(variance(p[name], {}).value().to(Dtype::f64).reshape({}).item<double>());
  };
  CHECK(deviation("block.2.attention.q.weight") == doctest::Approx(0.02).epsilon(0.1));
  CHECK(deviation("block.2.mlp.up.weight") == doctest::Approx(0.02).epsilon(0.1));
  CHECK(deviation("block.2.attention.out.weight") == doctest::Approx(0.02 / std::sqrt(8)).epsilon(0.1));
  CHECK(deviation("block.2.mlp.down.weight") == doctest::Approx(0.02 / std::sqrt(8)).epsilon(0.1));

  // One weight, used twice: its gradient has both parts.
  const Gradients of = backward(sum(tanh(model.logits(ids_of(2, 9, 1)))));
  for (const Parameter& parameter : p.all()) {
    CAPTURE(parameter.name);
    // A bias of the keys shifts all scores of a query alike: its true gradient is 0.
    if (parameter.name.find("k.bias") == std::string::npos) CHECK(global_norm({of[parameter.var]}) > 0);
  }
  CHECK(backward(sum(model.logits(ids_of(1, 1, 1))))[p["embedding.weight"]].shape() == Shape{30, 48});
  CHECK_THROWS_WITH_AS(model.logits(ids_of(1, 33, 1)), doctest::Contains("learned: position 32 has no row"),
                       ValueError);
}

TEST_CASE("model: each variant differentiates as differences say") {
  for (const NormKind norm : {NormKind::rms, NormKind::layer})
    for (const MlpKind mlp : {MlpKind::swiglu, MlpKind::gelu, MlpKind::gelu_tanh})
      for (const HeadKind head : {HeadKind::learned, HeadKind::tied}) {
        ModelShape shape = small();
        shape.layers = 1;
        shape.norm = norm;
        shape.mlp = mlp;
        shape.head = head;
        shape.bias = norm == NormKind::layer ? LinearBias::yes : LinearBias::no;
        shape.init_deviation = 0.3;
        shape.dtype = Dtype::f64;
        const Transformer model(shape, 1);
        const Tensor ids = ids_of(2, 7, 1), targets = ids_of(2, 7, 2);
        const Gradients of = backward(cross_entropy(model.logits(ids), targets));
        // Along one random direction through all parameters at once.
        Random random{.seed = 9};
        double expected = 0, losses[2] = {};
        std::vector<Tensor> values, directions;
        for (const Parameter& parameter : model.parameters().all()) {
          values.push_back(parameter.var.value());
          directions.push_back(normal(parameter.var.shape(), 0, 1, Dtype::f64, random));
          expected += sum(Var(directions.back()) * Var(of[parameter.var])).value().item<double>();
        }
        constexpr double step = 1e-6;
        const NoGradient scope;
        for (const int side : {0, 1}) {
          for (size_t i = 0; i < values.size(); ++i)
            model.parameters().all()[i].var.assign(
                (Var(values[i]) + Var(directions[i]) * (side == 0 ? step : -step)).value());
          losses[side] = cross_entropy(model.logits(ids), targets).value().item<double>();
        }
        CHECK(expected == doctest::Approx((losses[0] - losses[1]) / (2 * step)).epsilon(1e-6));
      }
}

TEST_CASE("model: the same seed gives the same weights under every encoding") {
  ModelShape other = small();
  other.encoding = "hope";
  const Transformer a(small(), 5), b(other, 5), c(small(), 6);
  for (const Parameter& parameter : a.parameters().all())
    CHECK(parameter.var.value().to_vector<float>() == b.parameters()[parameter.name].value().to_vector<float>());
  CHECK(a.parameters()["head.weight"].value().to_vector<float>() !=
        c.parameters()["head.weight"].value().to_vector<float>());
}

TEST_CASE("model: impossible shapes are refused before memory is taken") {
  ModelShape s = small();
  s.heads = 5;
  CHECK_THROWS_WITH_AS(Transformer(s, 1), doctest::Contains("heads do not divide width: width 48 / heads 5"),
                       UsageError);
  s = small();
  s.kv_heads = 2;
  CHECK_THROWS_WITH_AS(Transformer(s, 1), doctest::Contains("kv_heads do not divide heads"), UsageError);
  s = small();
  s.width = 45;  // head_dim 15
  CHECK_THROWS_WITH_AS(Transformer(s, 1), doctest::Contains("is odd; components are pairs"), UsageError);
  s.encoding = "nope";
  CHECK_NOTHROW(Transformer(s, 1));
  s = small();
  s.encoding = "hpe";
  CHECK_THROWS_WITH_AS(Transformer(s, 1), doctest::Contains("hope"), UsageError);
  CHECK_THROWS_AS(Transformer(small(), 1).logits(Tensor::zeros({3}, Dtype::i32)), ShapeError);
  CHECK_THROWS_WITH_AS(Transformer(small(), 1).logits(Tensor::full({1, 3}, 30, Dtype::i32)), doctest::Contains("30"),
                       ValueError);
}

TEST_CASE("model: asked for the last token alone, it gives the last row of all logits") {
  ModelShape shape = small();
  shape.dtype = Dtype::f64;
  const Transformer model(shape, 1);
  const NoGradient scope;
  const Tensor ids = ids_of(2, 7, 4), last = model.logits(ids, {.last_only = true}).value();
  CHECK(mismatch(last, Dtype::f64, model.logits(ids).value().slice(1, 6, 7), 1e-12) == "");
  CHECK_THROWS_WITH_AS(model.logits(ids.slice(1, 0, 0), {.last_only = true}),
                       doctest::Contains("ids are [2, 0]; the last token is asked for, and there is none"), UsageError);
}

TEST_CASE("model: with another encoding it reads with the same parameters, and trains with it") {
  const Transformer rope(small_model("rope", 16), 1), hope(small_model("hope", 16), 1);
  const Transformer changed = rope.with_encoding(hope.encoding());
  const NoGradient scope;
  Random random{.seed = 3};
  const Tensor ids = random_ids({2, 11}, small_vocabulary, random);
  CHECK(bit_mismatch(changed.logits(ids).value(), hope.logits(ids).value()) == "");
  CHECK(bit_mismatch(rope.logits(ids).value(), hope.logits(ids).value()) != "");
  const Tensor zeros = Tensor::zeros(rope.parameters()["head.weight"].shape(), Dtype::f64);
  rope.parameters()["head.weight"].assign(zeros);
  CHECK(bit_mismatch(changed.logits(ids).value(), Tensor::zeros({2, 11, small_vocabulary}, Dtype::f64)) == "");
}

TEST_CASE("model: packed segments do not see each other") {
  const NoGradient scope;
  const Transformer model(small(), 2);
  const Tensor first = ids_of(1, 7, 3), second = ids_of(1, 5, 4);
  const Tensor packed = Tensor::empty({1, 12}, Dtype::i32), segments = Tensor::empty({1, 12}, Dtype::i32);
  const Tensor positions = Tensor::empty({1, 12}, Dtype::f64);
  for (int64_t i = 0; i < 12; ++i) {
    packed.data<int32_t>()[i] = i < 7 ? first.data<int32_t>()[i] : second.data<int32_t>()[i - 7];
    segments.data<int32_t>()[i] = i < 7 ? 0 : 1;
    positions.data<double>()[i] = static_cast<double>(i < 7 ? i : i - 7);
  }
  const Tensor together = model.logits(packed, {.positions = positions, .segments = segments}).value();
  const auto close = [](const Tensor& a, const Tensor& b) {
    const std::vector<float> x = a.to_vector<float>(), y = b.to_vector<float>();
    for (size_t i = 0; i < x.size(); ++i)
      if (!(std::abs(x[i] - y[i]) <= 1e-5f)) return false;
    return x.size() == y.size();
  };
  CHECK(close(together.slice(1, 0, 7), model.logits(first).value()));
  CHECK(close(together.slice(1, 7, 12), model.logits(second).value()));
  CHECK(!close(model.logits(packed).value().slice(1, 7, 12), model.logits(second).value()));
}

TEST_CASE("model: five training steps give the same bits with 1, 2 and 8 threads") {
  const auto trained = [](int threads) {
    std::vector<float> weights;
    with_threads(threads, [&] {
      ModelShape shape = small();
      shape.width = 96;
      const Transformer model(shape, 1);
      AdamW optimizer(model.parameters(), {});
      for (uint64_t step = 0; step < 5; ++step) {
        const Tensor ids = ids_of(16, 40, step), targets = ids_of(16, 40, step + 100);
        const Gradients gradients = backward(cross_entropy(model.logits(ids), targets));
        GradientList list;
        for (const Parameter& p : model.parameters().all()) list.push_back(gradients[p.var]);
        optimizer.step(model.parameters(), list, 1e-2, clip_factor(global_norm(list), 1));
      }
      for (const Parameter& p : model.parameters().all())
        for (const float w : p.var.value().to_vector<float>()) weights.push_back(w);
    });
    return weights;
  };
  const std::vector<float> one = trained(1);
  CHECK(one == trained(2));
  CHECK(one == trained(8));
  CHECK(one == one);  // no NaN hides an inequality
}
