// Every encoding on the GPU: the logits and gradients of the CPU, in f32 and near them in bf16, and text read on with a
// cache.
#include <doctest/doctest.h>

#include "autograd/ops.hpp"
#include "core/device.hpp"
#include "nn/model.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

ModelShape shape_of(const std::string& encoding) {
  return {.vocabulary = 40,
          .width = 32,
          .layers = 2,
          .heads = 4,
          .kv_heads = 2,
          .hidden = 24,
          .train_length = 24,
          .encoding = encoding,
          .factor = 2};
}

struct Pass {
  Tensor logits;
  std::vector<Tensor> gradients;
};

Pass pass(const Transformer& model, const Tensor& ids) {
  const Var logits = model.logits(ids);
  Random random{.seed = 6};
  const Tensor cotangent = normal(logits.shape(), 0, 1, Dtype::f32, random).to(logits.device());
  const Gradients gradients = backward(logits, cotangent);
  Pass result{logits.value(), {}};
  for (const Parameter& p : model.parameters().all())
    result.gradients.push_back(gradients.has(p.var) ? gradients[p.var] : Tensor::zeros(p.var.shape(), p.var.dtype()));
  return result;
}

// The encoding's own numbers leave their starting values, where some of them do nothing.
void stir(const Transformer& model) {
  Random random{.seed = 9};
  for (const Parameter& p : model.parameters().all())
    if (p.name.starts_with("encoding.")) {
      const Tensor value = p.var.value(), noise = normal(value.shape(), 0, 0.02, value.dtype(), random);
      p.var.assign(add(Var(value), Var(noise)).value());
    }
}

}  // namespace

TEST_CASE("cuda: logits and gradients of every encoding are those of the CPU" * doctest::test_suite("slow kernels")) {
  Random random{.seed = 5};
  const Tensor ids = random_ids({2, 20}, 40, random);
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const Transformer on_cpu(shape_of(name), 1), on_gpu(shape_of(name), 1);
    stir(on_cpu);
    stir(on_gpu);
    on_gpu.move_to(Device::cuda);
    const Pass cpu = pass(on_cpu, ids), gpu = pass(on_gpu, ids);
    CHECK(gpu.logits.is_on(Device::cuda));
    CHECK(mismatch(gpu.logits, Dtype::f32, cpu.logits.to(Dtype::f64), 1e-5) == "");
    for (size_t i = 0; i < cpu.gradients.size(); ++i) {
      CAPTURE(on_cpu.parameters().all()[i].name);
      CHECK(mismatch(gpu.gradients[i], Dtype::f32, cpu.gradients[i].to(Dtype::f64), 1e-4) == "");
    }
  }
}

TEST_CASE("cuda: every encoding reads with activations in bf16" * doctest::test_suite("slow kernels")) {
  Random random{.seed = 5};
  const Tensor ids = random_ids({2, 20}, 40, random);
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    ModelShape in_bf16 = shape_of(name);
    in_bf16.activations = Dtype::bf16;
    const Transformer f32(shape_of(name), 1), bf16(in_bf16, 1);
    bf16.move_to(Device::cuda);
    const Pass plain = pass(f32, ids), stored = pass(bf16, ids);
    CHECK(stored.logits.dtype() == Dtype::f32);
    CHECK(mismatch(stored.logits, Dtype::f32, plain.logits.to(Dtype::f64), 0.05) == "");
    for (const Tensor& gradient : stored.gradients) CHECK(gradient.dtype() == Dtype::f32);
  }
}

TEST_CASE("cuda: a text read on with a cache has the logits of the whole text") {
  Random random{.seed = 5};
  const Tensor ids = random_ids({1, 12}, 40, random);
  const NoGradient scope;
  for (const auto& [name, entry] : encodings()) {
    CAPTURE(name);
    const Transformer model(shape_of(name), 1);
    model.move_to(Device::cuda);
    if (!model.encoding().same_tables(8, 12)) continue;
    const Tensor whole = model.logits(ids).value();
    KeyValueCache cache;
    model.logits(ids.slice(1, 0, 8), {.cache = &cache});
    const Tensor rest = model.logits(ids.slice(1, 8, 12), {.cache = &cache}).value();
    CHECK(mismatch(rest, Dtype::f32, whole.slice(1, 8, 12).to(Device::cpu).to(Dtype::f64), 1e-4) == "");
  }
}

TEST_CASE("cuda: activations in bf16 need a GPU") {
  ModelShape shape = shape_of("rope");
  shape.activations = Dtype::bf16;
  const Transformer model(shape, 1);
  CHECK_THROWS_WITH_AS(model.logits(Tensor::zeros({1, 4}, Dtype::i32)), doctest::Contains("cuda"), UsageError);
}

TEST_CASE("cuda: an observer sees on the CPU what passes on the GPU, and may replace it") {
  const Transformer model(shape_of("rope"), 1);
  const Tensor ids = Tensor::of<int32_t>({1, 5}, {1, 2, 3, 4, 5});
  const NoGradient scope;
  const auto read = [&](Site site) {
    std::vector<Tensor> seen;
    const Observer observer{.sites = {site}, .read = [&](Place, const Tensor& x) { seen.push_back(x); }};
    model.logits(ids, {.observer = &observer});
    return seen;
  };
  std::vector<std::vector<Tensor>> on_cpu;
  for (int site = 0; site <= static_cast<int>(Site::logits); ++site) on_cpu.push_back(read(static_cast<Site>(site)));
  model.move_to(Device::cuda);
  for (int site = 0; site <= static_cast<int>(Site::logits); ++site) {
    CAPTURE(name_of(static_cast<Site>(site)));
    const std::vector<Tensor> seen = read(static_cast<Site>(site)), &expected = on_cpu[static_cast<size_t>(site)];
    REQUIRE(seen.size() == expected.size());
    for (size_t i = 0; i < seen.size(); ++i) {
      CHECK(seen[i].is_on(Device::cpu));
      CHECK(mismatch(seen[i], Dtype::f32, expected[i].to(Dtype::f64), 1e-5) == "");
    }
  }
  const Observer zero{.sites = {Site::mlp_out},
                      .replace = [](Place, const Var& x) -> Var { return Tensor::zeros(x.shape(), x.dtype()); }};
  CHECK(model.logits(ids, {.observer = &zero}).device() == Device::cuda);
}
