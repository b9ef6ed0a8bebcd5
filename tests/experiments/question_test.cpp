// The main job, made small: what it prints, what it leaves, and that it is the sum of its training runs.
#include <doctest/doctest.h>

#include <sstream>

#include <algorithm>

#include "tests/support/command.hpp"

using namespace phasor;
using namespace phasor::testing;
namespace fs = std::filesystem;

namespace {

std::vector<std::string> small_hope(const TemporaryFolder& folder, const std::vector<std::string>& changes = {}) {
  std::string text;
  for (int line = 0; line < 900; ++line)
    text += "and the light was upon the water " + std::to_string(line * line % 97) + "\n";
  write_text(folder / "text.txt", text);
  return with_settings(
      {"run", "hope", "--out", (folder / "out").string(), "--quiet"},
      {"corpus=file:" + (folder / "text.txt").string(), "train.steps=12", "train.batch=4", "train.length=16",
       "train.warmup_steps=2", "model.width=32", "model.hidden=48", "eval.bytes=1024"},
      changes);
}

int64_t lines_of(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

}  // namespace

TEST_CASE("run hope: table, verdict, and a folder with results, curves and a report") {
  const TemporaryFolder folder;
  const CommandResult result = run_phasor(small_hope(folder));
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  for (const char* part :
       {"Perplexity per byte", "Bits per byte", "8 = L/2", "16 = L", "128 = 8L", "rope", "hope", "times its own"})
    CHECK_MESSAGE(result.out.find(part) != std::string::npos, part);
  for (size_t start = 0; start < result.out.size();) {
    const size_t end = std::min(result.out.find('\n', start), result.out.size());
    // Box-drawing characters are three bytes and one column.
    const std::string line = result.out.substr(start, end - start);
    const auto columns = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
    if (line.find('/') == std::string::npos) CHECK(columns <= 80);
    start = end + 1;
  }

  const std::string results = text_of(folder / "out/results.csv");
  CHECK(results.rfind("encoding,seed,length,windows,loss,perplexity,bits_per_byte\n", 0) == 0);
  CHECK(lines_of(results) == 1 + 2 * 5);
  CHECK(lines_of(text_of(folder / "out/loss_by_position.csv")) == 1 + 2 * (8 + 16 + 32 + 64 + 128));

  const std::string report = text_of(folder / "out/report.html");
  CHECK(report.find("<svg") != report.rfind("<svg"));  // both curves
  for (const char* request : {"http://", "https://", "src=", "<link", "@import", "url("})
    CHECK_MESSAGE(report.find(request) == std::string::npos, request);

  // Each training is a run of its own: its row stands in the question's rows, and its settings repeat it.
  const std::string rope = text_of(folder / "out/rope-seed1/results.csv");
  CHECK(results.find(rope.substr(rope.find('\n') + 1)) != std::string::npos);
  const CommandResult repeated =
      run_phasor({"train", "--quiet", "--config", (folder / "out/hope-seed1/settings.toml").string(), "--out",
                  (folder / "repeated").string()});
  REQUIRE_MESSAGE(repeated.exit_code == 0, repeated.err);
  CHECK(text_of(folder / "repeated/results.csv") == text_of(folder / "out/hope-seed1/results.csv"));

  const CommandResult shown = run_phasor(small_hope(folder));
  CHECK(shown.exit_code == 0);
  CHECK(shown.out == result.out);
}

TEST_CASE("run hope with two seeds: means in the table, both seeds in the rows") {
  const TemporaryFolder folder;
  const CommandResult result = run_phasor(small_hope(folder, {"run.seeds=2", "train.seed=5"}));
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  CHECK(result.out.find("means over 2 seeds") != std::string::npos);
  const std::string results = text_of(folder / "out/results.csv");
  CHECK(lines_of(results) == 1 + 4 * 5);
  CHECK(results.find("\nhope,6,128,") != std::string::npos);
}

TEST_CASE("run hope refuses what it could not answer, before any work") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::vector<std::string>& more) {
    const CommandResult result = run_phasor(small_hope(folder, more));
    CHECK(result.exit_code == 2);
    CHECK(!fs::exists(folder / "out"));
    CHECK(lines_of(result.err) == 1);
    return result.err;
  };
  CHECK(refused({"eval.lengths=[16,32]"}).find("4 x train.length = 64") != std::string::npos);
  CHECK(refused({"train.length=6", "eval.lengths=[6,24]"}).find("nothing is left to rotate") != std::string::npos);
  CHECK(refused({"model.heads=5"}).find("heads") != std::string::npos);
  CHECK(refused({"encoding.name=nope"}).find("trains encodings of its own (rope, hope)") != std::string::npos);
  CHECK(refused({"train.seed=9223372036854775807"}).find("train.seed + run.seeds") != std::string::npos);
}

TEST_CASE("train: one model, so run.seeds is refused; eval.lengths are taken in ascending order, each once") {
  const TemporaryFolder folder;
  std::vector<std::string> train = small_hope(folder, {"eval.lengths=[64,16,64]"});
  train.erase(train.begin(), train.begin() + 2);
  train.insert(train.begin(), "train");
  REQUIRE(run_phasor(train).exit_code == 0);
  const std::string results = text_of(folder / "out/results.csv");
  CHECK(lines_of(results) == 3);
  CHECK(results.find("rope,1,16,") < results.find("rope,1,64,"));
  train.insert(train.end(), {"--set", "run.seeds=2"});
  const CommandResult refused = run_phasor(train);
  CHECK(refused.exit_code == 2);
  CHECK(refused.err.find("trains one model") != std::string::npos);
}

TEST_CASE("eval: the same numbers as the run, and other lengths") {
  const TemporaryFolder folder;
  REQUIRE(run_phasor(small_hope(folder)).exit_code == 0);
  const CommandResult again = run_phasor({"eval", (folder / "out/rope-seed1").string()});
  REQUIRE_MESSAGE(again.exit_code == 0, again.err);
  const std::string shown = text_of(folder / "out/rope-seed1/results.txt");
  CHECK(again.out.substr(again.out.find("Perplexity")) == shown.substr(shown.find("Perplexity")));
  const CommandResult longer =
      run_phasor({"eval", (folder / "out/rope-seed1").string(), "--set", "eval.lengths=[256]"});
  REQUIRE_MESSAGE(longer.exit_code == 0, longer.err);
  CHECK(longer.out.find("256 = 16L") != std::string::npos);
  CHECK(longer.out.find("after 12 of 12 steps") != std::string::npos);
  CHECK(run_phasor({"eval", (folder / "nowhere").string()}).exit_code == 3);

  // A model that was trained with rope, read with tables that are made for longer texts; without a factor they are its
  // own.
  const auto perplexities = [&](std::vector<std::string> changes) {
    changes.insert(changes.begin(), {"eval", (folder / "out/rope-seed1").string()});
    const CommandResult result = run_phasor(changes);
    REQUIRE_MESSAGE(result.exit_code == 0, result.err);
    std::istringstream lines(result.out.substr(result.out.find("Perplexity")));
    std::string line, name;
    for (int i = 0; i < 4; ++i) std::getline(lines, line);  // title, head, rule, row
    std::istringstream words(line);
    words >> name;
    std::vector<double> numbers;
    for (double number; words >> number;) numbers.push_back(number);
    CHECK(numbers.size() >= 2);
    return numbers;
  };
  const std::vector<double> own = perplexities({});
  CHECK(perplexities({"--encoding", "interpolation", "--set", "encoding.factor=1"}) == own);
  CHECK(perplexities({"--encoding", "interpolation", "--set", "encoding.factor=4"}) != own);
  const CommandResult extended = run_phasor({"eval", (folder / "out/rope-seed1").string(), "--encoding", "yarn"});
  CHECK(extended.out.find("trained with rope, read with yarn") != std::string::npos);

  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& says) {
    const CommandResult result = run_phasor(arguments);
    CHECK(result.exit_code == 2);
    CHECK_MESSAGE(result.err.find(says) != std::string::npos, result.err);
  };
  const std::string rope = (folder / "out/rope-seed1").string();
  refused({"eval", rope, "--set", "encoding.layout=interleaved"},
          "encoding.layout (\"half_split\" there, \"interleaved\" here); only corpus, encoding.* but its layout, and "
          "eval.* may change");
  refused({"eval", rope, "--encoding", "lerope"}, "lerope learns log_frequency_shift");
  refused({"eval", rope, "--encoding", "yarm"}, "did you mean 'yarn'?");
  refused({"eval", (folder / "out").string()}, "evaluate one of them, such as");
  // A question's folder and a training's folder are not taken for each other.
  refused({"train", "--config", (folder / "out/settings.toml").string(), "--out", (folder / "out").string()},
          "these settings are of phasor run hope");
  refused({"run", "hope", "--config", rope + "/settings.toml", "--out", rope},
          "run.question (\"none\" there, \"hope\" here)");
}
