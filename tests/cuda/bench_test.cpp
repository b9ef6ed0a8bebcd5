// phasor bench --device cuda on tiny sizes: what it checks, and that each row has its numbers. No test looks at how
// fast anything was.
#include <doctest/doctest.h>

#include "core/device.hpp"
#include "core/error.hpp"
#include "core/ops/binary.hpp"
#include "experiments/bench/bench.hpp"
#include "experiments/bench/gpu.hpp"

using namespace phasor;

namespace {

const BenchOptions quick{.quick = true, .device = Device::cuda};

const BenchRow& row_named(const BenchGroup& group, const std::string& name) {
  for (const BenchRow& row : group.rows)
    if (row.name == name) return row;
  FAIL("no row named ", name);
  return group.rows.front();
}

void require_nothing_failed(const BenchGroup& group) {
  for (const std::string& remark : group.remarks) CHECK_MESSAGE(!remark.starts_with("FAILED"), remark);
}

}  // namespace

TEST_SUITE_BEGIN("full");

TEST_CASE("cuda: bench ops: every op is right in f32 and bf16, and has its part of the copy") {
  const BenchResult result = bench_ops(quick);
  REQUIRE(result.groups.size() == 2);
  for (const BenchGroup& group : result.groups) {
    CAPTURE(group.title);
    require_nothing_failed(group);
    for (const char* op : {"rotary", "rms_norm", "swiglu", "cross_entropy", "softmax", "layer_norm", "embedding"})
      for (const std::string& name : {std::string(op), std::string(op) + " backward"})
        CHECK(row_named(group, name).percents.size() == 1);
    for (const char* name : {"add", "copy", "transposed copy", "copy by the driver"})
      CHECK(row_named(group, name).rate.value_or(0) > 0);
    CHECK(group.rows.back().name == "copy by the driver");
  }
  row_named(result.groups[1], "clip + AdamW");
  const BenchRow& add = row_named(result.groups[0], "add");  // bf16
  CHECK(*add.rate == doctest::Approx(3 * 2.0 * 37 * 1024 / add.timing->seconds));
}

TEST_CASE("cuda: bench attention: forward, both passes, with a bias of distance, with a rotation") {
  const BenchResult result = bench_attention(Against::nothing, quick);
  REQUIRE(result.groups.size() == 2);
  for (const BenchGroup& group : result.groups) {
    CAPTURE(group.title);
    require_nothing_failed(group);
    CHECK(group.rows.size() == 8);
  }
  const BenchRow& turned = row_named(result.groups[0], "64 x 64 turned");
  REQUIRE(turned.numbers.size() == 1);
  CHECK(turned.numbers[0].first == "x apart");
  CHECK(turned.numbers[0].second > 0);
  row_named(result.groups[0], "64 x 32 forward");
  row_named(result.groups[1], "128 x 64 biased");
}

TEST_CASE("cuda: bench step: a row for the step, recorded, in bf16") {
  BenchSize size = bench_size_named("tiny");
  size.settings.train.length = 16;
  size.settings.train.batch = 2;
  size.settings.train.precision = "bf16";
  size.settings.device = Device::cuda;
  const BenchResult result = bench_step({size}, Against::nothing, quick);
  REQUIRE(result.groups.size() == 1);
  const BenchGroup& group = result.groups[0];
  require_nothing_failed(group);
  CHECK(group.title.ends_with(", bf16"));
  const BenchRow& step = row_named(group, "step");
  REQUIRE(step.numbers.size() == 1);
  CHECK(step.numbers[0].second == doctest::Approx(32 / step.timing->seconds));
  for (const std::string& remark : group.remarks) CHECK_MESSAGE(!remark.starts_with("Steps were"), remark);

  size.settings.train.precision = "f32";
  CHECK_THROWS_WITH_AS(bench_step({size}, Against::torch, quick), doctest::Contains("train.precision=bf16"),
                       UsageError);
}

TEST_CASE("cuda: bench: what is wrong is told and not timed, what cannot be recorded is timed all the same") {
  std::vector<std::string> remarks;
  CHECK_FALSE(holds([] { fail<NumericError>("bench", "planted"); }, "planted", remarks));
  REQUIRE(remarks.size() == 1);
  CHECK(remarks[0].starts_with("FAILED, not timed: planted: bench: planted"));

  Random random{.seed = 1};
  const Tensor x = random_on_gpu({3, 50}, Dtype::f32, random);
  int64_t runs = 0;
  const Subject reads = on_gpu(
      "reads",
      [&] {
        ++runs;
        add(x, x).to_vector<float>();
      },
      1, 0);
  CHECK(reads.seconds() > 0);
  CHECK(runs >= 4);  // once to warm up, once to try to record, twice to time
}

TEST_CASE("cuda: random_on_gpu repeats its numbers where there are many") {
  Random random{.seed = 3};
  const int64_t million = 1 << 20;
  const Tensor x = random_on_gpu({2 * million + 5}, Dtype::bf16, random);
  const auto part = [&](int64_t start) { return x.slice(0, start, start + 5).to(Dtype::f32).to_vector<float>(); };
  CHECK(part(0) == part(million));
  CHECK(part(0) == part(2 * million));
  CHECK(part(0) != part(5));
}

TEST_CASE("cuda: the driver's copy refuses what it cannot copy") {
  Random random{.seed = 3};
  const Tensor x = random_on_gpu({4, 5}, Dtype::f32, random), y = Tensor::zeros({4, 5}, Dtype::f32, Device::cuda);
  copy_by_driver(y, x);
  CHECK(y.to_vector<float>() == x.to_vector<float>());
  CHECK_THROWS_AS(copy_by_driver(y, x.to(Device::cpu)), DeviceError);
  CHECK_THROWS_AS(copy_by_driver(Tensor::zeros({4, 5}, Dtype::f32), x), DeviceError);
  CHECK_THROWS_AS(copy_by_driver(y, Tensor::zeros({5, 4}, Dtype::f32, Device::cuda)), ShapeError);
  CHECK_THROWS_AS(copy_by_driver(y, x.to(Dtype::bf16)), DtypeError);
  CHECK_THROWS_AS(copy_by_driver(y, Tensor::zeros({5, 4}, Dtype::f32, Device::cuda).transpose(0, 1)), ShapeError);
}

TEST_SUITE_END();
