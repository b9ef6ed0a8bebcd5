// Softmax, the norms and cross-entropy on the GPU: rows of every plan (held in registers by a warp or a block, or read
// again in each pass; in packs or number by number), special values, parameters in f32 beside bf16.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/device.hpp"
#include "core/ops/binary.hpp"
#include "core/ops/cross_entropy.hpp"
#include "core/ops/layer_norm.hpp"
#include "core/ops/rms_norm.hpp"
#include "core/ops/softmax.hpp"
#include "tests/support/comparison.hpp"
#include "tests/support/op_case.hpp"

using namespace phasor;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity(),
                 not_a_number = std::numeric_limits<double>::quiet_NaN();

Tensor gpu(const Tensor& x) { return x.to(Device::cuda); }

struct Rows {
  int64_t rows, width;
};
// One of each plan for f32, or near its bounds; rows that do not fill the last block.
constexpr Rows sizes[] = {{9, 128},  {9, 129},  {3, 512},  {9, 513}, {3, 2048},
                          {3, 2050}, {2, 8192}, {2, 8196}, {2, 8199}};
constexpr Dtype narrow_dtypes[] = {Dtype::f32, Dtype::bf16};

// Against f64 on the CPU; sums of `terms`.
std::string differs(const Tensor& got, const Tensor& expected, int64_t terms) {
  const double limit = got.dtype() == Dtype::bf16 ? 0x1p-8 : 2 * tolerance::f32_gradient(terms);
  return mismatch(got, got.dtype(), expected, limit);
}

// NaN for NaN, the same infinities, else close.
std::string unlike(const Tensor& got, const Tensor& expected, double limit) {
  const std::vector<double> a = got.to(Device::cpu).to(Dtype::f64).to_vector<double>(),
                            b = expected.to(Dtype::f64).to_vector<double>();
  for (size_t i = 0; i < b.size(); ++i)
    if (!(std::isnan(a[i]) && std::isnan(b[i])) && a[i] != b[i] &&
        !(std::abs(a[i] - b[i]) <= limit * std::max(1.0, std::abs(b[i]))))
      return "element " + std::to_string(i) + ": " + std::to_string(a[i]) + " instead of " + std::to_string(b[i]);
  return "";
}

}  // namespace

TEST_CASE("cuda: softmax: rows of all widths, forward and backward") {
  Random random{.seed = 2};
  for (const Dtype dtype : narrow_dtypes)
    for (const auto [rows, width] : sizes) {
      CAPTURE(width);
      CAPTURE(dtype);
      const Tensor x = random_tensor({rows, width}, random).to(dtype),
                   dy = random_tensor({rows, width}, random).to(dtype);
      const Tensor exact = x.to(Dtype::f64), exact_dy = dy.to(Dtype::f64);
      const Tensor y = softmax(exact), log_y = log_softmax(exact);
      CHECK(differs(softmax(gpu(x)), y, width) == "");
      CHECK(differs(log_softmax(gpu(x)), log_y, width) == "");
      const Tensor stored = y.to(dtype), log_stored = log_y.to(dtype);
      CHECK(differs(softmax_backward(gpu(stored), gpu(dy)), softmax_backward(stored.to(Dtype::f64), exact_dy), width) ==
            "");
      CHECK(differs(log_softmax_backward(gpu(log_stored), gpu(dy)),
                    log_softmax_backward(log_stored.to(Dtype::f64), exact_dy), width) == "");
    }
}

TEST_CASE("cuda: softmax: more than 64k numbers along the axis, and a sum that keeps its digits") {
  Random random{.seed = 3};
  const Tensor x = random_tensor({2, 70001}, random).to(Dtype::f32);
  CHECK(mismatch(softmax(gpu(x)), Dtype::f32, softmax(x.to(Dtype::f64)), 2e-6) == "");
  CHECK(mismatch(log_softmax(gpu(x)), Dtype::f32, log_softmax(x.to(Dtype::f64)), 3e-7) == "");
  const Tensor columns = gpu(x).transpose(0, 1).contiguous();
  CHECK(mismatch(softmax(columns, 0).transpose(0, 1), Dtype::f32, softmax(x.to(Dtype::f64)), 2e-6) == "");
}

TEST_CASE("cuda: softmax: rows with NaN, infinities and large numbers, in every plan, as on the CPU") {
  for (const int64_t width : {5, 37, 128, 200, 512, 2048, 9001}) {
    CAPTURE(width);
    const Tensor x = Tensor::full({8, width}, 0, Dtype::f32);
    const auto set = [&](int64_t row, int64_t i, double value) { fill(x.select(0, row).select(0, i), value); };
    set(1, width - 1, not_a_number);
    fill(x.select(0, 2), -infinity);
    set(3, 0, infinity);
    fill(x.select(0, 4), -infinity);
    set(4, width / 2, -700);
    set(5, 0, 1e30), set(5, width - 1, 1e30);
    fill(x.select(0, 6), -infinity);
    set(6, 1, not_a_number);
    fill(x.select(0, 7), -infinity);
    set(7, width - 1, infinity);
    CHECK(unlike(softmax(gpu(x)), softmax(x), 1e-6) == "");
    CHECK(unlike(log_softmax(gpu(x)), log_softmax(x), 1e-6) == "");
    const Tensor turned = gpu(x).transpose(0, 1).contiguous();
    CHECK(unlike(softmax(turned, 0).transpose(0, 1).contiguous(), softmax(x), 1e-6) == "");
    // The same rows as logits; the last target lies on an infinity.
    const Tensor targets = Tensor::of<int64_t>({8}, {0, 1, 0, 1, width / 2, 0, 1, width - 1});
    CHECK(unlike(cross_entropy_by_row(gpu(x), gpu(targets)), cross_entropy_by_row(x, targets), 1e-6) == "");
    const Tensor dloss = Tensor::full({8}, 1, Dtype::f32);
    CHECK(unlike(cross_entropy_backward(gpu(x), gpu(targets), -1, gpu(dloss)),
                 cross_entropy_backward(x, targets, -1, dloss), 1e-6) == "");
  }
}

TEST_CASE("cuda: softmax: views whose rows begin anywhere, and the order of axes in memory") {
  Random random{.seed = 4};
  for (const Dtype dtype : narrow_dtypes)
    for (const int64_t from : {0, 1, 8}) {
      const Tensor x = random_tensor({4, 3, 300}, random).to(dtype);
      const auto view = [&](const Tensor& t) { return t.slice(2, from, from + 256).transpose(0, 1); };
      const Tensor y = softmax(view(gpu(x)));
      CHECK(differs(y, softmax(view(x).to(Dtype::f64)), 256) == "");
      CHECK(y.strides() == Tensor::empty_like(view(x)).strides());
    }
}

TEST_CASE("cuda: rms_norm and layer_norm: rows of all widths, parameters in f32 beside x in bf16") {
  Random random{.seed = 5};
  for (const Dtype dtype : narrow_dtypes)
    for (const auto [rows, width] : sizes)
      for (const Dtype of_parameters : {Dtype::f32, dtype}) {
        CAPTURE(width);
        CAPTURE(dtype);
        CAPTURE(of_parameters);
        const Shape shape{rows, width};
        const Tensor x = random_tensor(shape, random).to(dtype), dy = random_tensor(shape, random).to(dtype),
                     addend = random_tensor(shape, random).to(dtype);
        const Tensor w = random_tensor({width}, random).to(of_parameters),
                     b = random_tensor({width}, random).to(of_parameters);
        const auto exact = [](const Tensor& t) { return t.to(Dtype::f64); };
        CHECK(differs(rms_norm(gpu(x), gpu(w), 1e-5), rms_norm(exact(x), exact(w), 1e-5), width) == "");
        CHECK(differs(layer_norm(gpu(x), gpu(w), gpu(b), 1e-5), layer_norm(exact(x), exact(w), exact(b), 1e-5),
                      width) == "");
        const RmsNormGradients rms = rms_norm_backward(gpu(x), gpu(w), 1e-5, gpu(dy), gpu(addend)),
                               plain = rms_norm_backward(gpu(x), gpu(w), 1e-5, gpu(dy)),
                               of_rms = rms_norm_backward(exact(x), exact(w), 1e-5, exact(dy));
        CHECK(differs(plain.dx, of_rms.dx, width) == "");
        CHECK(bit_mismatch(rms.dx, add(plain.dx, gpu(addend))) == "");
        CHECK(bit_mismatch(rms.dweight, plain.dweight) == "");
        CHECK(rms.dweight.dtype() == of_parameters);
        CHECK(differs(rms.dweight, of_rms.dweight, rows) == "");
        const LayerNormGradients layer = layer_norm_backward(gpu(x), gpu(w), 1e-5, gpu(dy)),
                                 of_layer = layer_norm_backward(exact(x), exact(w), 1e-5, exact(dy));
        CHECK(differs(layer.dx, of_layer.dx, width) == "");
        CHECK(layer.dbias.dtype() == of_parameters);
        CHECK(differs(layer.dweight, of_layer.dweight, rows) == "");
        CHECK(differs(layer.dbias, of_layer.dbias, rows) == "");
      }
}

TEST_CASE("cuda: rms_norm and layer_norm: weights' gradients over many rows, of several blocks and teams") {
  Random random{.seed = 6};
  for (const auto [rows, width] : {Rows{3000, 12}, Rows{700, 70}, Rows{150, 260}}) {
    CAPTURE(width);
    const Tensor x = random_tensor({rows, width}, random), dy = random_tensor({rows, width}, random);
    const Tensor w = random_tensor({width}, random);
    const auto narrow = [](const Tensor& t) { return gpu(t.to(Dtype::f32)); };
    const LayerNormGradients got = layer_norm_backward(narrow(x), narrow(w), 1e-5, narrow(dy)),
                             expected = layer_norm_backward(x, w, 1e-5, dy);
    CHECK(differs(got.dweight, expected.dweight, rows) == "");
    CHECK(differs(got.dbias, expected.dbias, rows) == "");
    CHECK(differs(rms_norm_backward(narrow(x), narrow(w), 1e-5, narrow(dy)).dweight,
                  rms_norm_backward(x, w, 1e-5, dy).dweight, rows) == "");
    const LayerNormGradients in_f64 = layer_norm_backward(gpu(x), gpu(w), 1e-5, gpu(dy));
    CHECK(mismatch(in_f64.dweight, Dtype::f64, expected.dweight, tolerance::cuda_f64) == "");
  }
}

TEST_CASE("cuda: layer_norm: equal numbers give the bias, and a small spread around a large mean keeps its digits") {
  Random random{.seed = 7};
  for (const int64_t width : {37, 300, 2100, 8200}) {
    CAPTURE(width);
    const Tensor w = random_tensor({width}, random).to(Dtype::f32), b = random_tensor({width}, random).to(Dtype::f32);
    for (const double value : {0.1, -12345.678})
      CHECK(bit_mismatch(layer_norm(gpu(Tensor::full({2, width}, value, Dtype::f32)), gpu(w), gpu(b), 1e-12),
                         b.broadcast_to({2, width}).contiguous()) == "");
    const Tensor noise = mul(random_tensor({5, width}, random), Tensor::scalar(1e-2, Dtype::f64));
    const Tensor x = add(noise, Tensor::scalar(1e4, Dtype::f64)).to(Dtype::f32);
    const Tensor dy = random_tensor({5, width}, random).to(Dtype::f32);
    const auto exact = [](const Tensor& t) { return t.to(Dtype::f64); };
    CHECK(mismatch(layer_norm(gpu(x), gpu(w), gpu(b), 1e-8), Dtype::f32, layer_norm(exact(x), exact(w), exact(b), 1e-8),
                   tolerance::f32(width, 0)) == "");
    CHECK(differs(layer_norm_backward(gpu(x), gpu(w), 1e-8, gpu(dy)).dx,
                  layer_norm_backward(exact(x), exact(w), 1e-8, exact(dy)).dx, width) == "");
  }
}

TEST_CASE("cuda: cross_entropy: vocabularies of every plan; ignored rows; targets in i32 and i64") {
  Random random{.seed = 8};
  for (const Dtype dtype : narrow_dtypes)
    for (const int64_t classes : {257, 512, 2000, 2001, 8192, 50257}) {
      CAPTURE(classes);
      CAPTURE(dtype);
      const int64_t rows = classes > 10000 ? 3 : 21;
      const Tensor logits = random_tensor({rows, classes}, random).to(dtype), exact = logits.to(Dtype::f64);
      Tensor targets = random_ids({rows}, classes, random);
      targets.data<int64_t>()[1] = -100;
      targets.data<int64_t>()[2] = classes - 1;
      const Tensor dloss = random_tensor({rows}, random).to(dtype);
      CHECK(differs(cross_entropy_by_row(gpu(logits), gpu(targets), -100), cross_entropy_by_row(exact, targets, -100),
                    classes) == "");
      CHECK(differs(cross_entropy(gpu(logits), gpu(targets.to(Dtype::i32)), -100), cross_entropy(exact, targets, -100),
                    classes) == "");
      CHECK(differs(cross_entropy_backward(gpu(logits), gpu(targets), -100, gpu(dloss)),
                    cross_entropy_backward(exact, targets, -100, dloss.to(Dtype::f64)), classes) == "");
      const Tensor one = Tensor::scalar(1, dtype);
      CHECK(differs(cross_entropy_backward(gpu(logits), gpu(targets), -100, gpu(one)),
                    cross_entropy_backward(exact, targets, -100, one.to(Dtype::f64)), classes) == "");
    }
}

TEST_CASE("cuda: cross_entropy: a mean over many rows; ids are checked, but not while a graph is recorded") {
  Random random{.seed = 9};
  const Tensor logits = random_tensor({5000, 7}, random), targets = random_ids({5000}, 7, random);
  CHECK(mismatch(cross_entropy(gpu(logits), gpu(targets)), Dtype::f64, cross_entropy(logits, targets),
                 tolerance::cuda_f64) == "");
  const Tensor few = gpu(random_tensor({3, 4}, random));
  const Tensor wrong = gpu(Tensor::of<int64_t>({3}, {0, 4, 1})), none = gpu(Tensor::full({3}, -1, Dtype::i64));
  CHECK_THROWS_WITH_AS(cross_entropy(few, wrong), doctest::Contains("target 4 at index [1]"), ValueError);
  CHECK_THROWS_WITH_AS(cross_entropy(few, none), doctest::Contains("all 3 targets are ignored"), ValueError);
  CHECK_THROWS_WITH_AS(cross_entropy(few, none.to(Device::cpu)), doctest::Contains("cuda"), DeviceError);

  const Tensor given = gpu(Tensor::of<int64_t>({3}, {0, 2, 1})), loss = Tensor::zeros({}, Dtype::f64, Device::cuda),
               dlogits = Tensor::zeros({3, 4}, Dtype::f64, Device::cuda);
  const DeviceGraph graph([&] {
    copy_into(loss, cross_entropy(few, given));
    copy_into(dlogits, cross_entropy_backward(few, given, -1, Tensor::scalar(1, Dtype::f64, Device::cuda)));
  });
  const auto launched_with = [&](const Tensor& ids) {
    copy_into(given, ids);
    graph.launch();
    return loss.item<double>();
  };
  const Tensor some = gpu(Tensor::of<int64_t>({3}, {3, -1, 1}));
  CHECK(launched_with(some) == cross_entropy(few, some).item<double>());
  CHECK(bit_mismatch(dlogits, cross_entropy_backward(few, some, -1, Tensor::scalar(1, Dtype::f64, Device::cuda))) ==
        "");
  CHECK(std::isnan(launched_with(wrong)));
  CHECK(std::isnan(launched_with(none)));
  for (const double d : dlogits.to_vector<double>()) CHECK(d == 0);
}
