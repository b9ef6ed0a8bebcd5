// phasor bench step on a tiny model: what it prints and writes. No test looks at how fast it was.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "experiments/bench/step.hpp"
#include "tests/support/command.hpp"

using namespace phasor;
using namespace phasor::testing;

TEST_CASE("bench step prints rates and writes them as JSON") {
  const TemporaryFolder folder;
  const CommandResult result = run_phasor(with_settings(
      {"bench", "step", "--json", (folder / "step.json").string(), "--threads", "1"},
      {"model.width=64", "model.layers=2", "model.heads=1", "model.hidden=176", "train.length=64", "train.batch=8"},
      {}));
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  for (const char* part : {"tokens/s", "GFLOP/s", "% of 1 x sgemm(1024^3)"})
    CHECK_MESSAGE(result.out.find(part) != std::string::npos, part);
  const nlohmann::json json = nlohmann::json::parse(text_of(folder / "step.json"));
  const double tokens = 64 * 8, parameters = 2 * (2 * 64 + 4 * 64 * 64 + 3 * 64 * 176) + 64 + 64 * 257;
  CHECK(json.at("parameters").get<double>() == parameters);
  const double seconds = json.at("seconds").get<double>();
  CHECK(seconds > 0);
  CHECK(json.at("tokens_per_second").get<double>() == doctest::Approx(tokens / seconds));
  // 6 N tokens + 6 layers width length tokens
  CHECK(json.at("gflops").get<double>() ==
        doctest::Approx((6 * parameters + 6 * 2 * 64 * 64) * tokens / seconds * 1e-9));
  CHECK(json.at("repetitions").get<int>() >= 11);
  CHECK(json.at("system_allocations").get<int>() >= 0);
}

TEST_CASE("bench step refuses a loss that does not fall") {
  Settings settings = step_bench_defaults();
  settings.model = {.width = 16, .layers = 1, .heads = 1, .kv_heads = 0, .hidden = 16};
  settings.train.length = 8;
  settings.train.batch = 2;
  settings.train.learning_rate = 1e-30;  // parameters stay where they are
  CHECK_THROWS_AS(bench_step(settings, 1), NumericError);
}
