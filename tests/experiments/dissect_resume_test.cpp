// phasor dissect, stopped in the middle of its ablations: the next call goes on, and ends with the same bytes.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>

#include "tests/support/command.hpp"
#include "tests/support/text.hpp"

using namespace phasor;
using namespace phasor::testing;
namespace fs = std::filesystem;

namespace {

int64_t lines_of(const fs::path& file) {
  if (!fs::exists(file)) return 0;
  const std::string text = text_of(file);
  return std::count(text.begin(), text.end(), '\n');
}

// Two runs of the same weights, the first of them dissected.
struct Twins {
  TemporaryFolder folder;
  fs::path whole = folder / "whole", stopped = folder / "stopped", log = stopped / "ablations.jsonl";
  Twins() {
    std::string text;
    for (int line = 0; line < 4000; ++line)
      text += "and the light was upon the water " + std::to_string(line * line % 97) + "\n";
    write_text(folder / "text.txt", text);
    const CommandResult trained = run_phasor(
        with_settings({"train", "--out", whole.string(), "--quiet"},
                      {"corpus=file:" + (folder / "text.txt").string(), "train.steps=4", "train.batch=4",
                       "train.length=16", "train.warmup_steps=2", "model.width=16", "model.heads=2", "model.hidden=24",
                       "eval.bytes=512", "dissect.bytes=12000", "dissect.windows=4", "dissect.sequences=8"},
                      {}));
    REQUIRE_MESSAGE(trained.exit_code == 0, trained.err);
    fs::copy(whole, stopped, fs::copy_options::recursive);
    const CommandResult dissected = run_phasor({"dissect", whole.string(), "--quiet"});
    REQUIRE_MESSAGE(dissected.exit_code == 0, dissected.err);
  }

  // Dissects the second run, and sends the signal as soon as the file of its ablations has as many lines.
  CommandResult stop_at(int64_t lines, int signal, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"dissect", stopped.string(), "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    RunningPhasor running(arguments);
    while (running.is_running() && lines_of(log) < lines) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    running.send(signal);
    return running.finish();
  }

  void check_ends_alike() const {
    const CommandResult result = run_phasor({"dissect", stopped.string()});
    REQUIRE_MESSAGE(result.exit_code == 0, result.err);
    CHECK(!holds(result.err, "warning"));
    CHECK((text_of(stopped / "dissection.json") == text_of(whole / "dissection.json")));
    CHECK(!fs::exists(log));
    CHECK(!fs::exists(whole / "ablations.jsonl"));
  }
};

}  // namespace

TEST_CASE("dissect: SIGINT in the ablations exits with 130 within seconds, and the next call goes on there") {
  const Twins twins;
  const auto start = std::chrono::steady_clock::now();
  const CommandResult first = twins.stop_at(5, SIGINT);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
  REQUIRE_MESSAGE(first.exit_code == 130, first.err);
  const std::string kept = text_of(twins.log);
  const int64_t done = lines_of(twins.log) - 1;
  CHECK(holds(first.err, "rope seed 1, ablations: stopped after " + std::to_string(done) + " of "));
  CHECK(holds(first.err, "; the same command goes on there"));
  const CommandResult second = twins.stop_at(done + 6, SIGINT);
  REQUIRE_MESSAGE(second.exit_code == 130, second.err);
  CHECK(lines_of(twins.log) > done + 5);
  CHECK((text_of(twins.log).starts_with(kept)));
  // Each once: none was run again.
  CHECK(holds(second.err, "stopped after " + std::to_string(lines_of(twins.log) - 1) + " of "));
  twins.check_ends_alike();
}

TEST_CASE("dissect: killed in the ablations, the next call goes on with what was measured") {
  const Twins twins;
  REQUIRE(twins.stop_at(5, SIGKILL).exit_code == 128 + SIGKILL);
  const std::string kept = text_of(twins.log);
  REQUIRE(twins.stop_at(12, SIGKILL).exit_code == 128 + SIGKILL);
  CHECK((text_of(twins.log).starts_with(kept.substr(0, kept.rfind('\n') + 1))));
  twins.check_ends_alike();
}

TEST_CASE("dissect: what was left with other settings is dropped, and that is said") {
  const Twins twins;
  REQUIRE(twins.stop_at(5, SIGINT).exit_code == 130);
  const CommandResult other =
      run_phasor({"dissect", twins.stopped.string(), "--quiet", "--set", "dissect.lengths=[16]"});
  CHECK(other.exit_code == 0);
  CHECK(holds(other.err, "ablations.jsonl is of other weights or settings; its "));
  CHECK(!fs::exists(twins.log));
  twins.check_ends_alike();
}

TEST_CASE("dissect: stopped while it measures in another way, a whole dissection stays as it is") {
  const Twins twins;
  fs::copy_file(twins.whole / "dissection.json", twins.stopped / "dissection.json");
  REQUIRE(twins.stop_at(5, SIGINT, {"--set", "dissect.edge=0.2"}).exit_code == 130);
  CHECK((text_of(twins.stopped / "dissection.json") == text_of(twins.whole / "dissection.json")));
  const CommandResult finished =
      run_phasor({"dissect", twins.stopped.string(), "--quiet", "--set", "dissect.edge=0.2"});
  REQUIRE_MESSAGE(finished.exit_code == 0, finished.err);
  CHECK((text_of(twins.stopped / "dissection.json") != text_of(twins.whole / "dissection.json")));
}
