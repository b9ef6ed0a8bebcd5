// The program with --device cuda: what it trains, reads, writes and dissects on the GPU is what the CPU does; a run
// that changes devices is marked; a GPU that is not there, too old or too small is refused in one line.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "core/device.hpp"
#include "tests/support/command.hpp"
#include "tests/support/text.hpp"

using namespace phasor;
using namespace phasor::testing;
namespace fs = std::filesystem;

namespace {

// A variable of the environment, for as long as it lives.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) { setenv(name, value.c_str(), 1); }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

struct Place {
  TemporaryFolder folder;
  Place() {
#ifdef PHASOR_EMULATED_PROGRAM
    tested_program = PHASOR_EMULATED_PROGRAM;
#endif
    std::string text;
    for (int line = 0; line < 900; ++line)
      text += "and the light was upon the water " + std::to_string(line * line % 97) + "\n";
    write_text(folder / "text.txt", text);
  }

  fs::path at(const std::string& name) const { return folder / name; }

  std::vector<std::string> words(const std::string& command, const std::vector<std::string>& changes) const {
    std::vector<std::string> all;
    std::istringstream in(command);
    for (std::string word; in >> word;) all.push_back(word);
    return with_settings(all,
                         {"corpus=file:" + at("text.txt").string(), "train.steps=12", "train.batch=4",
                          "train.length=16", "train.warmup_steps=2", "model.width=16", "model.heads=2",
                          "model.hidden=24", "eval.bytes=512", "eval.lengths=[16,32]"},
                         changes);
  }
  CommandResult train(const std::string& name, const std::string& device, const std::vector<std::string>& changes = {},
                      const std::string& command = "train --quiet") const {
    std::vector<std::string> all = words(command, changes);
    all.insert(all.end(), {"--device", device, "--out", at(name).string()});
    return run_phasor(all);
  }
};

CommandResult succeeded(const CommandResult& result) {
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  return result;
}

std::vector<double> losses(const fs::path& run) {
  std::vector<double> found;
  std::istringstream lines(text_of(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) found.push_back(nlohmann::json::parse(line)["loss"]);
  return found;
}

using Table = std::vector<std::vector<std::string>>;
Table table_of(const fs::path& csv) {
  Table table;
  std::istringstream lines(text_of(csv));
  for (std::string line; std::getline(lines, line);) {
    table.emplace_back();
    std::istringstream cells(line);
    for (std::string cell; std::getline(cells, cell, ',');) table.back().push_back(cell);
  }
  return table;
}

double number(const std::string& cell) {
  char* end = nullptr;
  const double value = std::strtod(cell.c_str(), &end);
  return !cell.empty() && *end == 0 ? value : std::nan("");
}

// The same words, and numbers that differ by at most `limit` of the largest in their column.
void check_same_table(const Table& a, const Table& b, double limit) {
  REQUIRE(a.size() == b.size());
  REQUIRE(a.size() > 1);
  std::vector<double> largest(a[0].size(), 0);
  for (const auto& row : a)
    for (size_t column = 0; column < row.size(); ++column)
      if (const double value = number(row[column]); std::isfinite(value))
        largest[column] = std::max(largest[column], std::abs(value));
  for (size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    REQUIRE(a[i].size() == b[i].size());
    for (size_t column = 0; column < a[i].size(); ++column) {
      CAPTURE(a[0][column]);
      CAPTURE(a[i][column]);
      CAPTURE(b[i][column]);
      const double x = number(a[i][column]), y = number(b[i][column]);
      if (std::isfinite(x) && std::isfinite(y))
        CHECK(std::abs(x - y) <= limit * largest[column]);
      else
        CHECK(a[i][column] == b[i][column]);
    }
  }
}

std::string refusal(const CommandResult& result, int exit_code = 5) {
  CHECK(result.exit_code == exit_code);
  CHECK(result.out == "");
  CHECK(result.err.starts_with("error: "));
  CHECK(result.err.find('\n') == result.err.size() - 1);
  return result.err;
}

}  // namespace

TEST_CASE("cuda: program: trains, evaluates, generates and dissects as on the CPU") {
  const Place place;
  for (const std::string device : {"cpu", "cuda"}) succeeded(place.train(device, device));
  const std::vector<double> on_cpu = losses(place.at("cpu")), on_gpu = losses(place.at("cuda"));
  REQUIRE(on_gpu.size() == 12);
  REQUIRE(on_cpu.size() == 12);
  for (size_t step = 0; step < 12; ++step) CHECK(std::abs(on_gpu[step] - on_cpu[step]) <= 1e-4);
  CHECK(nlohmann::json::parse(text_of(place.at("cuda") / "machine.json"))["devices"][0]["device"] ==
        gpu_properties().name);
  check_same_table(table_of(place.at("cpu") / "results.csv"), table_of(place.at("cuda") / "results.csv"), 1e-4);

  const std::string run = place.at("cuda").string();
  const auto on = [&](const std::string& device, std::vector<std::string> words) {
    words.insert(words.end(), {"--device", device});
    return succeeded(run_phasor(words)).out;
  };
  const std::vector<std::string> eval = {"eval", run},
                                 generate = {"generate", run, "the ", "--temperature", "0", "--bytes", "20"};
  CHECK(on("cuda", eval) == on("cpu", eval));
  CHECK(on("cuda", generate) == on("cpu", generate));

  for (const std::string device : {"cpu", "cuda"}) {
    on(device, {"dissect", run, "--quiet", "--export", "--set", "dissect.bytes=128", "--set", "dissect.windows=2",
                "--set", "dissect.sequences=4"});
    fs::rename(place.at("cuda") / "figures", place.at("figures of " + device));
  }
  size_t figures = 0;
  for (const fs::directory_entry& file : fs::directory_iterator(place.at("figures of cpu"))) {
    if (file.path().extension() != ".csv") continue;
    CAPTURE(file.path().filename().string());
    ++figures;
    check_same_table(table_of(file.path()), table_of(place.at("figures of cuda") / file.path().filename().string()),
                     1e-3);
  }
  CHECK(figures > 20);
}

TEST_CASE("cuda: program: a question trains all its encodings" * doctest::test_suite("slow kernels")) {
  const Place place;
  CommandResult asked =
      succeeded(place.train("hope", "cuda", {"train.steps=3", "eval.lengths=[16,32,64]"}, "run hope --quiet"));
  CHECK(holds(asked.out, "rope"));
  CHECK(holds(asked.out, "hope"));
}

TEST_CASE("cuda: program: an encoding that draws its positions says why its steps are not recorded") {
  const Place place;
  const CommandResult trained =
      succeeded(place.train("run", "cuda", {"encoding.name=randomized", "train.steps=3"}, "train"));
  CHECK(holds(trained.err, "the GPU was asked for each step anew"));
  CHECK(holds(trained.err, "the encoding draws other positions for every step"));
}

TEST_CASE("cuda: program: a run goes on where another device stopped, and is marked") {
  const Place place;
  const std::vector<std::string> longer = {"train.steps=200", "checkpoint.every=10"};
  std::vector<std::string> words = place.words("train --quiet --device cuda", longer);
  words.insert(words.end(), {"--out", place.at("run").string()});
  RunningPhasor running(words);
  while (running.is_running() && losses(place.at("run")).size() < 12)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  running.send(SIGINT);
  const CommandResult stopped = running.finish();
  CHECK(stopped.exit_code == 130);
  CHECK(holds(stopped.err, "continue with --resume"));
  const size_t taken = losses(place.at("run")).size();
  REQUIRE(taken < 200);

  succeeded(place.train("run", "cpu", longer, "train --quiet --resume"));
  CHECK(losses(place.at("run")).size() == 200);
  const auto devices = nlohmann::json::parse(text_of(place.at("run") / "machine.json"))["devices"];
  REQUIRE(devices.size() == 2);
  CHECK(devices[0]["device"] == gpu_properties().name);
  CHECK(devices[1]["device"] == "cpu");
  CHECK(devices[1]["from_step"] == taken);
  const std::string results = text_of(place.at("run") / "results.txt");
  CHECK(holds(results, "Trained on more than one device"));
  CHECK(holds(text_of(place.at("run") / "report.html"), "Trained on more than one device"));
}

// What only the emulator can be: another GPU, or none.
#ifdef PHASOR_EMULATED_PROGRAM
TEST_CASE("cuda: program: no GPU, a driver too old and too little memory are refused in one line" *
          doctest::test_suite("slow kernels")) {
  const Place place;
  {
    const Variable none("PHASOR_EMULATED_DEVICES", "0");
    CHECK(holds(refusal(place.train("none", "cuda")), "no GPU is there"));
    CHECK(!fs::exists(place.at("none")));
  }
  {
    const Variable old("PHASOR_EMULATED_DRIVER", "11080");
    CHECK(holds(refusal(place.train("old", "cuda")), "the driver knows CUDA 11.8; needs a driver for CUDA 12.0"));
    CHECK(!fs::exists(place.at("old")));
  }
  {
    const Variable small("PHASOR_EMULATED_MEMORY", "20000");
    const std::string said = refusal(place.train("small", "cuda"));
    CHECK(holds(said, "of the GPU are available; lower model.width"));
    CHECK(!fs::exists(place.at("small")));
  }
  // Enough for the weights, not for a step: known only once it runs.
  {
    const Variable small("PHASOR_EMULATED_MEMORY", "40000000");
    const std::string said = refusal(place.train("later", "cuda", {"train.batch=32", "train.length=64"}));
    CHECK(holds(said, "no memory on the GPU for "));
    CHECK(holds(said, "; free: "));
    CHECK(holds(said, "; lower train.batch, train.length or the model"));
  }
  succeeded(
      place.train("later", "cuda", {"train.batch=32", "train.length=64", "train.steps=2"}, "train --quiet --resume"));
}
#endif
