// Observers: each site once, with the shape it promises; looking changes nothing, replacing changes what follows.
#include "nn/observer.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>

#include "core/ops/binary.hpp"
#include "nn/optimizer.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"
#include "tests/support/small_model.hpp"

using namespace phasor;

namespace {

constexpr int64_t batch = 2, length = 11, vocabulary = small_vocabulary;

ModelShape shape_of(const std::string& encoding) { return small_model(encoding, 16); }

Tensor some_ids() {
  Random random{.seed = 4};
  return random_ids({batch, length}, vocabulary, random);
}

const std::vector<Site> fused_sites = {Site::embedded,  Site::residual,  Site::q,        Site::k,       Site::v,
                                       Site::q_rotated, Site::k_rotated, Site::head_out, Site::mlp_out, Site::logits};
const std::vector<Site> score_sites = {Site::score, Site::score_biased, Site::pattern};

std::vector<Site> all_sites() {
  std::vector<Site> sites = fused_sites;
  sites.insert(sites.end(), score_sites.begin(), score_sites.end());
  return sites;
}

struct Seen {
  std::vector<std::string> order;
  std::map<std::pair<Site, int64_t>, Tensor> values;
  const Tensor& at(Site site, int64_t layer) const { return values.at({site, layer}); }
};

Observer recorder(Seen& seen, std::vector<Site> sites) {
  return {.sites = std::move(sites), .read = [&seen](Place place, const Tensor& value) {
            seen.order.push_back(std::string(name_of(place.site)) + " " + std::to_string(place.layer));
            seen.values[{place.site, place.layer}] = value;
          }};
}

const std::vector<std::string> order_with_scores = {"embedded -1",
                                                    "q 0",
                                                    "k 0",
                                                    "v 0",
                                                    "q_rotated 0",
                                                    "k_rotated 0",
                                                    "score 0",
                                                    "score_biased 0",
                                                    "pattern 0",
                                                    "head_out 0",
                                                    "mlp_out 0",
                                                    "residual 0",
                                                    "q 1",
                                                    "k 1",
                                                    "v 1",
                                                    "q_rotated 1",
                                                    "k_rotated 1",
                                                    "score 1",
                                                    "score_biased 1",
                                                    "pattern 1",
                                                    "head_out 1",
                                                    "mlp_out 1",
                                                    "residual 1",
                                                    "logits -1"};

}  // namespace

TEST_CASE("observer: every site once, in the order of computation, with the shape it promises") {
  const Transformer model(shape_of("rope"), 1);
  const NoGradient scope;
  Seen seen;
  const Observer observer = recorder(seen, all_sites());
  model.logits(some_ids(), {.observer = &observer});
  CHECK(seen.order == order_with_scores);
  CHECK(seen.at(Site::embedded, -1).shape() == Shape{batch, length, 32});
  CHECK(seen.at(Site::logits, -1).shape() == Shape{batch, length, vocabulary});
  for (const int64_t layer : {0, 1}) {
    for (const Site site : {Site::q, Site::q_rotated, Site::head_out})
      CHECK(seen.at(site, layer).shape() == Shape{batch, 4, length, 8});
    for (const Site site : {Site::k, Site::k_rotated, Site::v})
      CHECK(seen.at(site, layer).shape() == Shape{batch, 2, length, 8});
    for (const Site site : score_sites) CHECK(seen.at(site, layer).shape() == Shape{batch, 4, length, length});
    for (const Site site : {Site::residual, Site::mlp_out})
      CHECK(seen.at(site, layer).shape() == Shape{batch, length, 32});
  }
}

TEST_CASE("observer: what passes the sites fits together") {
  const Transformer model(shape_of("rope"), 1);
  const NoGradient scope;
  Seen seen;
  const Observer observer = recorder(seen, all_sites());
  const Tensor logits = model.logits(some_ids(), {.observer = &observer}).value();
  CHECK(bit_mismatch(seen.at(Site::logits, -1), logits) == "");
  const CosSin table = model.encoding().rotation->spectrum->table(consecutive_positions(length), Dtype::f64);
  for (const int64_t layer : {0, 1}) {
    const Tensor turned = rotary(seen.at(Site::k, layer), table.cos, table.sin, RotaryLayout::half_split);
    CHECK(bit_mismatch(seen.at(Site::k_rotated, layer), turned) == "");
    const Var q = reshape(seen.at(Site::q_rotated, layer), {batch, 2, 2, length, 8});
    const Var k = reshape(seen.at(Site::k_rotated, layer), {batch, 2, 1, length, 8});
    const Var scores = reshape(matmul(q, transpose(k, -1, -2)) / std::sqrt(8.0), {batch, 4, length, length});
    CHECK(mismatch(seen.at(Site::score, layer), Dtype::f64, scores.value(), 1e-13) == "");
    CHECK(bit_mismatch(seen.at(Site::score_biased, layer), seen.at(Site::score, layer)) == "");
    const Tensor visible = visible_pairs(length, length, {});
    const Var hidden = Tensor::scalar(-INFINITY, Dtype::f64);
    CHECK(mismatch(seen.at(Site::pattern, layer), Dtype::f64,
                   softmax(where(visible, seen.at(Site::score_biased, layer), hidden)).value(), 1e-13) == "");
  }
  // The stream: what the last block leaves is what the norm and the head read.
  const ParameterList& p = model.parameters();
  const Var head = matmul(rms_norm(seen.at(Site::residual, 1), p["final_norm.weight"], 1e-5), p["head.weight"]);
  CHECK(bit_mismatch(head.value(), logits) == "");
}

TEST_CASE("observer: an encoding with a far rotation shows its queries and keys too; the score takes them where far") {
  const Transformer model(shape_of("rerope"), 1);
  const NoGradient scope;
  Seen seen;
  const Observer observer = recorder(seen, {Site::q_rotated, Site::k_rotated, Site::q_far, Site::k_far, Site::score});
  model.logits(some_ids(), {.observer = &observer});
  const std::vector<std::string> of_a_layer = {"q_rotated", "k_rotated", "q_far", "k_far", "score"};
  REQUIRE(seen.order.size() == 2 * of_a_layer.size());
  for (size_t i = 0; i < of_a_layer.size(); ++i) CHECK(seen.order[i] == of_a_layer[i] + " 0");
  const auto score = [&](Site queries, Site keys, int64_t q_position, int64_t k_position) {
    double sum = 0;
    for (int64_t c = 0; c < 8; ++c)
      sum += seen.at(queries, 1).view<double>()(1, 3, q_position, c) *
             seen.at(keys, 1).view<double>()(1, 1, k_position, c);
    return sum / std::sqrt(8.0);
  };
  const int64_t far_from = model.encoding().far_from;  // a quarter of 16
  REQUIRE(far_from == 4);
  const View<double> scores = seen.at(Site::score, 1).view<double>();
  CHECK(std::abs(scores(1, 3, 9, 6) - score(Site::q_rotated, Site::k_rotated, 9, 6)) <= 1e-14);
  CHECK(std::abs(scores(1, 3, 9, 2) - score(Site::q_far, Site::k_far, 9, 2)) <= 1e-14);
  CHECK(std::abs(scores(1, 3, 9, 2) - score(Site::q_rotated, Site::k_rotated, 9, 2)) > 1e-6);
}

TEST_CASE("observer: looking changes no bit; looking at scores takes the unfused path, equal but for rounding") {
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const Transformer model(shape_of(name), 1);
    const Tensor ids = some_ids();
    const Tensor targets = ids.slice(1, 1, length);
    const auto run = [&](const Observer* observer) {
      const Var logits = model.logits(ids, {.observer = observer});
      const Gradients of = backward(cross_entropy(slice(logits, 1, 0, length - 1), targets));
      Tensors results = {logits.value()};
      for (const Parameter& parameter : model.parameters().all()) results.push_back(of[parameter.var]);
      return results;
    };
    const Tensors plain = run(nullptr);
    Seen seen, with_scores;
    const Observer fused = recorder(seen, fused_sites), unfused = recorder(with_scores, all_sites());
    const Tensors watched = run(&fused), pinned = run(&unfused);
    CHECK(!seen.order.empty());
    for (size_t i = 0; i < plain.size(); ++i) {
      CHECK(bit_mismatch(watched[i], plain[i]) == "");
      // What shifts all scores of a query alike has no gradient; rounding of others is all there is to see.
      if (std::max(global_norm({plain[i]}), global_norm({pinned[i]})) <= 1e-15) continue;
      CHECK(mismatch(pinned[i], Dtype::f64, plain[i], 1e-11) == "");
    }
  }
}

TEST_CASE("observer: with recomputed blocks each site is still seen once, and the gradients are the same bits") {
  const Transformer model(shape_of("rope"), 1);
  const Tensor ids = some_ids();
  for (const bool scores : {false, true}) {
    CAPTURE(scores);
    Seen kept, recomputed;
    const auto run = [&](Seen& seen, bool recompute) {
      const Observer observer = recorder(seen, scores ? all_sites() : fused_sites);
      const Gradients of =
          backward(sum(exp(model.logits(ids, {.observer = &observer, .recompute_blocks = recompute}))));
      Tensors results;
      for (const Parameter& parameter : model.parameters().all()) results.push_back(of[parameter.var]);
      return results;
    };
    const Tensors expected = run(kept, false), got = run(recomputed, true);
    CHECK(recomputed.order == kept.order);
    if (scores) CHECK(kept.order == order_with_scores);
    for (size_t i = 0; i < got.size(); ++i) CHECK(bit_mismatch(got[i], expected[i]) == "");
  }
}

TEST_CASE("observer: replacing") {
  const Transformer model(shape_of("rope"), 1);
  const Tensor ids = some_ids();
  const auto logits = [&](const Observer& observer) { return model.logits(ids, {.observer = &observer}); };
  const Tensor plain = model.logits(ids).value();

  // Without what both layers add, the head reads the embedding.
  const Observer silent{.sites = {Site::mlp_out, Site::head_out}, .read = {}, .replace = [](Place, const Var& value) {
                          return Var(Tensor::zeros(value.shape(), value.dtype()));
                        }};
  const ParameterList& p = model.parameters();
  const Var of_embedding =
      matmul(rms_norm(embedding(p["embedding.weight"], ids), p["final_norm.weight"], 1e-5), p["head.weight"]);
  CHECK(bit_mismatch(logits(silent).value(), of_embedding.value()) == "");

  // A pattern that looks at the token itself makes its own value the head's output.
  Seen seen;
  Observer identity = recorder(seen, {Site::pattern, Site::head_out, Site::v});
  const Tensor eye = Tensor::zeros({batch, 4, length, length}, Dtype::f64);
  for (int64_t i = 0; i < length; ++i) fill(eye.select(2, i).select(2, i), 1);
  identity.replace = [&](Place place, const Var& value) { return place.site == Site::pattern ? Var(eye) : value; };
  logits(identity);
  for (int64_t head = 0; head < 4; ++head)
    CHECK(bit_mismatch(seen.at(Site::head_out, 0).select(1, head).contiguous(),
                       seen.at(Site::v, 0).select(1, head / 2).contiguous()) == "");

  // What replaces may be learned; recomputing blocks does not lose it.
  const Var scale = Var::leaf(Tensor::scalar(1, Dtype::f64));
  const Observer scaled{
      .sites = {Site::residual}, .read = {}, .replace = [&](Place, const Var& value) { return value * scale; }};
  for (const bool recompute : {false, true}) {
    const Var out = model.logits(ids, {.observer = &scaled, .recompute_blocks = recompute});
    CHECK(bit_mismatch(out.value(), plain) == "");
    CHECK(backward(sum(exp(out))).has(scale));
  }

  const Observer wrong_shape{
      .sites = {Site::q}, .read = {}, .replace = [](Place, const Var& value) { return slice(value, 2, 0, 1); }};
  CHECK_THROWS_WITH_AS(logits(wrong_shape),
                       doctest::Contains("observer: site q, layer 0: returned [2, 4, 1, 8] in place of [2, 4, 11, 8]"),
                       ShapeError);
  const Observer wrong_dtype{.sites = {Site::embedded}, .read = {}, .replace = [](Place, const Var& value) {
                               return cast(value, Dtype::f32);
                             }};
  CHECK_THROWS_AS(logits(wrong_dtype), DtypeError);
}
