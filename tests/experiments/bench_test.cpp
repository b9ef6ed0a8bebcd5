// phasor bench on tiny sizes: what it checks, prints and writes. No test looks at how fast anything was.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "experiments/bench/bench.hpp"
#include "experiments/bench/ceilings.hpp"
#include "tests/support/command.hpp"
#include "tests/support/text.hpp"

using namespace phasor;
using namespace phasor::testing;

namespace {

// The JSON of `phasor bench ARGUMENTS`, after the checks that hold for each benchmark.
nlohmann::json bench(std::vector<std::string> arguments, const std::vector<std::string>& parts) {
  const TemporaryFolder folder;
  arguments.insert(arguments.begin(), "bench");
  arguments.insert(arguments.end(), {"--quick", "--json", folder / "bench.json"});
  const CommandResult result = run_phasor(arguments);
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  CHECK(result.err == "");
  for (const std::string& part : parts) CHECK_MESSAGE(holds(result.out, part), part);
  for (size_t start = 0; start < result.out.size();) {
    const size_t newline = std::min(result.out.find('\n', start), result.out.size());
    const std::string line = result.out.substr(start, newline - start);
    if (!line.starts_with("─")) CHECK_MESSAGE(line.size() <= 80, line);
    start = newline + 1;
  }
  nlohmann::json json = nlohmann::json::parse(text_of(folder / "bench.json"));
  CHECK(json.at("bench") == arguments[1]);
  CHECK(json.at("machine").at("blas_core") != "");
  CHECK(holds(result.out, "OpenBLAS takes its kernels for"));
  for (const auto& group : json.at("groups"))
    for (const auto& row : group.at("rows"))
      if (row.contains("seconds")) {
        CHECK(row.at("seconds").get<double>() > 0);
        CHECK(row.at("repetitions") == 3);
      }
  return json;
}

nlohmann::json row_named(const nlohmann::json& group, const std::string& name) {
  for (const auto& row : group.at("rows"))
    if (row.at("name") == name) return row;
  FAIL("no row named ", name);
  return {};
}

Settings settings_that_learn_nothing() {
  Settings settings = bench_size_named("tiny").settings;
  settings.model = {.width = 16, .layers = 1, .heads = 1, .kv_heads = 0, .hidden = 16};
  settings.train.length = 8;
  settings.train.batch = 2;
  settings.train.learning_rate = 1e-30;  // parameters stay where they are
  return settings;
}

}  // namespace

TEST_CASE("bench step: rates follow from the formula, memory and allocations are told") {
  const nlohmann::json json = bench({"step", "tiny", "--threads", "2"}, {"tiny: width 64, 2 layers, 1 head, hidden 176",
                                                                         "tokens/s", "GFLOP/s", "% sgemm", "system"});
  const nlohmann::json group = json.at("groups").at(0);
  const double tokens = 64 * 8, products = 2 * (2 * 64 + 4 * 64 * 64 + 3 * 64 * 176) + 64 + 64 * 257;
  CHECK(group.at("parameters").get<double>() == products + 257 * 64);
  const double gemm = row_named(group, "sgemm(1024^3), 1 core").at("GFLOP/s");
  for (const char* name : {"step, 2 threads", "step, 1 thread"}) {
    const nlohmann::json row = row_named(group, name);
    const double seconds = row.at("seconds"), rate = row.at("GFLOP/s");
    CHECK(row.at("tokens/s").get<double>() == doctest::Approx(tokens / seconds));
    // 6 N tokens + 6 layers width length tokens
    CHECK(rate == doctest::Approx((6 * products + 6 * 2 * 64 * 64) * tokens / seconds * 1e-9));
    CHECK(row.at("% sgemm").get<double>() == doctest::Approx(100 * rate / (2 * gemm)));
  }
  const nlohmann::json forward = row_named(group, "evaluation at length 1024");
  CHECK(forward.at("GFLOP/s").get<double>() ==
        doctest::Approx((2 * products + 2 * 2 * 64 * 1024) * 1024 / forward.at("seconds").get<double>() * 1e-9));
  CHECK(group.at("tensor bytes at the peak").get<double>() > 4 * 3 * products);
  CHECK(group.at("process bytes at the peak").get<double>() > group.at("tensor bytes at the peak").get<double>());
  CHECK(group.at("system allocations").get<double>() >= 0);
}

TEST_CASE("bench step: sizes in turn, with changed settings") {
  const std::vector<std::string> arguments = with_settings(
      {"step", "tiny", "small", "--threads", "1"},
      {"model.width=16", "model.layers=1", "model.heads=1", "model.hidden=16", "train.length=8", "train.batch=2"}, {});
  const nlohmann::json json = bench(arguments, {"tiny with --set: width 16", "small with --set: width 16"});
  CHECK(json.at("groups").size() == 2);
  const CommandResult unknown = run_phasor({"bench", "step", "smal"});
  CHECK(unknown.exit_code == 2);
  CHECK(holds(unknown.err, "no size named 'smal'; did you mean 'small'?"));
}

TEST_CASE("bench attention, ops, gemm, memory: each row has its time and its part of the ceiling") {
  const nlohmann::json attention = bench({"attention"}, {"length 64, biased", "B/token"}).at("groups").at(0);
  CHECK(row_named(attention, "length 64").contains("% sgemm"));
  CHECK(row_named(attention, "length 64, biased").contains("x plain"));

  const nlohmann::json ops = bench({"ops"}, {"GB/s", "% of a copy", "Bytes: what an op must"}).at("groups").at(0);
  for (const char* op : {"rotary", "rms_norm", "swiglu", "cross_entropy", "softmax", "layer_norm", "silu", "gelu"})
    for (const std::string& name : {std::string(op), std::string(op) + " backward"})
      CHECK(row_named(ops, name).contains("% of a copy"));
  const double count = 37 * 512, bytes_of_add = 3 * 4 * count, bytes_of_adamw = 7 * 4 * count;
  for (const auto& [name, bytes] : {std::pair("add", bytes_of_add), std::pair("AdamW", bytes_of_adamw)}) {
    const nlohmann::json row = row_named(ops, name);
    CHECK(row.at("GB/s").get<double>() == doctest::Approx(bytes / row.at("seconds").get<double>() * 1e-9));
  }

  const nlohmann::json gemm = bench({"gemm"}, {"% FMA", "64 -> 176, weight gradient"}).at("groups").at(0);
  const nlohmann::json product = row_named(gemm, "64 -> 176, forward");
  CHECK(product.at("GFLOP/s").get<double>() ==
        doctest::Approx(2.0 * 512 * 64 * 176 / product.at("seconds").get<double>() * 1e-9));

  const nlohmann::json memory = bench({"memory"}, {"activations MB", "recompute_blocks"}).at("groups").at(0);
  const nlohmann::json kept = row_named(memory, "step"), recomputed = row_named(memory, "recompute_blocks");
  CHECK(kept.at("activations MB").get<double>() > recomputed.at("activations MB").get<double>());
  CHECK(kept.at("model MB") == recomputed.at("model MB"));
  CHECK(kept.at("peak MB").get<double>() > kept.at("model MB").get<double>() + kept.at("activations MB").get<double>());
}

TEST_CASE("bench scaling: exponents in the table, curves on the page") {
  const TemporaryFolder folder;
  const std::filesystem::path page = folder / "new folder/scaling.html";
  const nlohmann::json json = bench({"scaling", "--threads", "2", "--out", page},
                                    {"time grows as length^", "memory as width^", "scaling.html"});
  CHECK(json.at("groups").size() == 6);  // five things that vary, and the ceilings
  CHECK(json.at("groups").at(0).contains("exponent of time"));
  // A layer more is as many bytes more; the rest stays: less than proportional.
  const double of_layers = json.at("groups").at(2).at("exponent of memory");
  CHECK(of_layers > 0);
  CHECK(of_layers < 1);
  const std::string html = text_of(page);
  for (const char* part : {"Time of a training step", "Memory of a training step", "<svg", "threads", "base: width"})
    CHECK_MESSAGE(holds(html, part), part);
}

TEST_CASE("bench step --against torch: the same model beside Phasor's, or a note how to get PyTorch") {
  const std::vector<std::string> arguments = {"bench", "step", "--quick", "--threads", "1", "--against", "torch"};
  const CommandResult found = run_phasor(arguments);
  if (found.exit_code == 0) {  // this machine has PyTorch
    CHECK(holds(found.out, "\nPyTorch "));
    CHECK(holds(found.out, "after its imports"));
    CHECK(holds(found.out, "times as fast as the better PyTorch."));
  } else {
    CHECK(found.exit_code == 2);
  }

  // A Python that cannot import torch, whether the machine has it or not.
  const TemporaryFolder folder;
  write_text(folder / "torch.py", "raise ImportError('planted')\n");
  setenv("PYTHONPATH", folder.path().c_str(), 1);
  const CommandResult missing = run_phasor(arguments);
  unsetenv("PYTHONPATH");
  CHECK(missing.exit_code == 2);
  CHECK(missing.out == "");
  CHECK(missing.err.starts_with("error: bench: no Python with PyTorch found"));
  CHECK(holds(missing.err, "apt-get install python3-torch"));

  const auto refused = [&](std::vector<std::string> more) {
    more.insert(more.begin(), arguments.begin(), arguments.end());
    const CommandResult result = run_phasor(more);
    CHECK(result.exit_code == 2);
    return result.err;
  };
  CHECK(holds(refused({"--set", "encoding.name=nope"}), "encoding.name must keep"));
  CHECK(holds(refused({"--set", "model.bias=true"}), "model.norm"));
  CHECK(holds(run_phasor({"bench", "step", "--against", "numpy"}).err, "the only one known is torch"));
}

TEST_CASE("bench: a wrong number is not timed") {
  CHECK_THROWS_AS(bench_step({{"planted", settings_that_learn_nothing()}}, Against::nothing, {.quick = true}),
                  NumericError);
  CHECK_THROWS_AS(bench_memory({{"planted", settings_that_learn_nothing()}}, {.quick = true}), NumericError);

  int runs = 0;
  const Subject right{.name = "right", .run = [&] { ++runs; }};
  Subject wrong = right;
  wrong.check = [] { require_close("planted", Tensor::full({2}, 1.5, Dtype::f32), Tensor::full({2}, 1, Dtype::f32)); };
  CHECK_THROWS_AS(time_interleaved("bench", {right, wrong}, {.repetitions = 2, .seconds = 0}), NumericError);
  CHECK(runs == 0);

  const double nan = std::nan("");
  const Tensor one = Tensor::full({2}, 1, Dtype::f32);
  CHECK_THROWS_AS(require_close("planted", Tensor::full({2}, nan, Dtype::f32), one), NumericError);
  CHECK_THROWS_AS(require_close("planted", one, Tensor::full({2}, nan, Dtype::f32)), NumericError);
  CHECK_THROWS_AS(require_close("planted", Tensor::full({3}, 1, Dtype::f32), one), NumericError);
  CHECK_NOTHROW(require_close("same", Tensor::full({2}, 1.00001, Dtype::f32), one));
}

TEST_CASE("bench: subjects are timed as often as asked for, and their errors come through") {
  int runs = 0;
  const std::vector<Subject> subjects = {{.name = "counted", .run = [&] { ++runs; }},
                                         {.name = "elsewhere", .seconds = [] { return 0.25; }}};
  const std::vector<Timing> timings = time_interleaved("bench", subjects, {.repetitions = 4, .seconds = 0});
  REQUIRE(timings.size() == 2);
  CHECK(runs >= 4);
  CHECK(timings[0].repetitions == 4);
  CHECK(timings[1].seconds == 0.25);
  CHECK(timings[1].spread == 0);
  CHECK_FALSE(timings[1].is_noisy());

  const Subject failing{.name = "failing", .run = [] { throw ResourceError("planted"); }};
  CHECK_THROWS_AS(time_interleaved("bench", {failing}, {.repetitions = 2, .seconds = 0}), ResourceError);
  CHECK(time_interleaved("bench", {subjects[0]}, {.repetitions = 2, .seconds = 0})[0].repetitions == 2);
}

TEST_CASE("bench: a number whose spread is over 10 % is marked, in words and in JSON") {
  const BenchRow calm{.name = "calm", .timing = Timing{0.001, 0.02, 11}, .rate = 1e9, .percents = {{"% sgemm", 50.0}}};
  BenchRow noisy = calm;
  noisy.name = "restless";
  noisy.timing->spread = 0.2;
  BenchResult result{.name = "step", .groups = {{.title = "planted", .rows = {calm}}}};
  CHECK_FALSE(holds(to_text(result), "noisy"));
  result.groups[0].rows.push_back(noisy);
  const std::string text = to_text(result);
  CHECK(holds(text, "noisy 20.0"));
  CHECK(holds(text, "do not quote the number"));
  const nlohmann::json rows = nlohmann::json::parse(to_json(result)).at("groups").at(0).at("rows");
  CHECK(rows.at(0).at("noisy") == false);
  CHECK(rows.at(1).at("noisy") == true);
  CHECK(rows.at(1).at("GFLOP/s") == 1.0);
}
