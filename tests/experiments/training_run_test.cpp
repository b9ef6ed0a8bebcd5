// A training run as a whole, through the program: reproduced, resumed, interrupted, damaged, refused.
#include <doctest/doctest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "core/random.hpp"
#include "tests/support/command.hpp"

using namespace phasor;
using namespace phasor::testing;
namespace fs = std::filesystem;

namespace {

// A text with something to learn, long enough to hold out a few windows.
std::string some_text() {
  std::string text;
  Random random{.seed = 3};
  const char* const words[] = {"and ", "the ", "light ", "was ", "upon ", "water ", "he ", "said ", "let\n", "there "};
  while (text.size() < 40000) text += words[random.below(10)];
  return text;
}

struct Place {
  TemporaryFolder folder;
  fs::path corpus = folder / "text.txt";
  Place() { write_text(corpus, some_text()); }

  // A run of a second or so: 60 steps, a checkpoint every 20.
  std::vector<std::string> train(const std::string& out, const std::vector<std::string>& changes = {},
                                 const std::vector<std::string>& flags = {}) const {
    std::vector<std::string> arguments = {"train", "--out", (folder / out).string(), "--quiet"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return with_settings(
        arguments,
        {"corpus=file:" + corpus.string(), "train.steps=60", "train.batch=4", "train.length=32", "train.warmup_steps=5",
         "model.width=32", "model.heads=2", "model.hidden=48", "checkpoint.every=20", "eval.bytes=1024"},
        changes);
  }
};

// Everything in a run folder that must repeat byte for byte.
std::map<std::string, std::string> repeating_files(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && name != "timing.jsonl" && name != "machine.json" && name != "run.lock")
      files[fs::relative(entry.path(), folder).string()] = text_of(entry.path());
  }
  return files;
}

void check_same_run(const fs::path& a, const fs::path& b) {
  const auto files_a = repeating_files(a), files_b = repeating_files(b);
  REQUIRE(files_a.size() >= 7);  // settings, metrics, two checkpoints, results, loss by position, report
  for (const auto& [name, bytes] : files_a) {
    CAPTURE(name);
    REQUIRE(files_b.contains(name));
    CHECK((bytes == files_b.at(name)));
  }
  CHECK(files_a.size() == files_b.size());
}

size_t lines_of(const fs::path& file) {
  const std::string text = text_of(file);
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("a run repeats byte for byte, with any number of threads, and from its own settings.toml") {
  const Place place;
  const CommandResult first = run_phasor(place.train("a", {}, {"--threads", "1"}));
  REQUIRE_MESSAGE(first.exit_code == 0, first.err);
  CHECK(lines_of(place.folder / "a/metrics.jsonl") == 60);
  const CommandResult again = run_phasor(place.train("b", {}, {"--threads", "8"}));
  REQUIRE_MESSAGE(again.exit_code == 0, again.err);
  check_same_run(place.folder / "a", place.folder / "b");
  const CommandResult copied = run_phasor({"train", "--quiet", "--config", (place.folder / "a/settings.toml").string(),
                                           "--threads", "2", "--out", (place.folder / "c").string()});
  REQUIRE_MESSAGE(copied.exit_code == 0, copied.err);
  check_same_run(place.folder / "a", place.folder / "c");
}

TEST_CASE("a finished run is shown, not repeated; --resume on a missing folder starts it") {
  const Place place;
  REQUIRE(run_phasor(place.train("a", {}, {"--resume"})).exit_code == 0);
  const auto before = fs::last_write_time(place.folder / "a/results.csv");
  const CommandResult shown = run_phasor(place.train("a"));
  CHECK(shown.exit_code == 0);
  CHECK(shown.out.find("rope") != std::string::npos);
  CHECK(fs::last_write_time(place.folder / "a/results.csv") == before);
}

TEST_CASE("killed at any moment and resumed, a run ends with the bytes of the run that was not" *
          doctest::test_suite("full")) {
  const Place place;
  const std::vector<std::string> longer = {"train.steps=900", "checkpoint.every=50"};
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(run_phasor(place.train("whole", longer)).exit_code == 0);
  // Moments from the start of the process to shortly before its end, however fast the machine is.
  const auto whole =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count();
  Random random{.seed = 11};
  int kills = 0;
  for (int trial = 0; trial < 12; ++trial) {
    const std::string name = "killed" + std::to_string(trial);
    for (int attempt = 0;; ++attempt) {
      REQUIRE(attempt < 100);
      RunningPhasor running(place.train(name, longer, {"--resume"}));
      std::this_thread::sleep_for(std::chrono::milliseconds(random.below(whole * 4 / 5 + 1)));
      running.send(SIGKILL);
      const CommandResult result = running.finish();
      if (result.exit_code == 0) break;
      CHECK_MESSAGE(result.exit_code == 128 + SIGKILL, result.err);
      ++kills;
    }
    check_same_run(place.folder / "whole", place.folder / name);
  }
  CHECK(kills >= 12);
}

TEST_CASE("killed after the last checkpoint, before the oldest one was removed: resumed, the same files") {
  const Place place;
  REQUIRE(run_phasor(place.train("whole")).exit_code == 0);
  REQUIRE(run_phasor(place.train("killed")).exit_code == 0);
  const fs::path killed = place.folder / "killed";
  fs::copy_file(killed / "checkpoint-0000000040.safetensors", killed / "checkpoint-0000000020.safetensors");
  for (const char* name : {"results.csv", "results.txt", "report.html"}) fs::remove(killed / name);
  REQUIRE(run_phasor(place.train("killed", {}, {"--resume"})).exit_code == 0);
  check_same_run(place.folder / "whole", killed);
}

TEST_CASE("SIGINT and SIGTERM: a checkpoint, exit 130 and 143, and the same end") {
  const Place place;
  const std::vector<std::string> longer = {"train.steps=400", "checkpoint.every=250"};
  REQUIRE(run_phasor(place.train("whole", longer)).exit_code == 0);
  for (const int signal : {SIGINT, SIGTERM}) {
    CAPTURE(signal);
    const std::string name = "signal" + std::to_string(signal);
    RunningPhasor running(place.train(name, longer));
    while (!fs::exists(place.folder / (name + "/metrics.jsonl")) ||
           lines_of(place.folder / (name + "/metrics.jsonl")) < 3)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    running.send(signal);
    const CommandResult stopped = running.finish();
    CHECK(stopped.exit_code == 128 + signal);
    CHECK(stopped.err.find("--resume") != std::string::npos);
    const CommandResult refused = run_phasor(place.train(name, longer));
    CHECK(refused.exit_code == 2);
    CHECK(refused.err.find("continue it with --resume") != std::string::npos);
    REQUIRE(run_phasor(place.train(name, longer, {"--resume"})).exit_code == 0);
    check_same_run(place.folder / "whole", place.folder / name);
  }
}

TEST_CASE("two runs in one folder: the second leaves at once with 6") {
  const Place place;
  RunningPhasor first(place.train("a", {"train.steps=100000"}));
  while (first.is_running() && !fs::exists(place.folder / "a/metrics.jsonl"))
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const CommandResult second = run_phasor(place.train("a", {"train.steps=100000"}, {"--resume"}));
  CHECK(second.exit_code == 6);
  CHECK(second.err.find("another run holds") != std::string::npos);
  first.send(SIGKILL);
  first.finish();
}

TEST_CASE("other settings in the same folder are refused with the keys that differ") {
  const Place place;
  REQUIRE(run_phasor(place.train("a")).exit_code == 0);
  const CommandResult other = run_phasor(place.train("a", {"train.learning_rate=0.5"}));
  CHECK(other.exit_code == 2);
  CHECK(other.err.find("train.learning_rate (0.003 there, 0.5 here)") != std::string::npos);
}

TEST_CASE("a damaged newest checkpoint: a warning and the one before; all damaged: exit 3") {
  const Place place;
  REQUIRE(run_phasor(place.train("whole")).exit_code == 0);
  const auto unfinished = [&](const std::string& name) {
    fs::copy(place.folder / "whole", place.folder / name, fs::copy_options::recursive);
    fs::remove(place.folder / (name + "/results.csv"));
    fs::remove(place.folder / (name + "/run.lock"));
    return place.folder / name;
  };
  const fs::path newest = "checkpoint-0000000060.safetensors", older = "checkpoint-0000000040.safetensors";

  const fs::path truncated = unfinished("truncated");
  fs::resize_file(truncated / newest, fs::file_size(truncated / newest) / 2);
  const CommandResult fallen_back = run_phasor(place.train("truncated", {}, {"--resume"}));
  CHECK_MESSAGE(fallen_back.exit_code == 0, fallen_back.err);
  CHECK(fallen_back.err.find("warning: ") != std::string::npos);
  CHECK(fallen_back.err.find("falling back") != std::string::npos);
  check_same_run(place.folder / "whole", truncated);

  const fs::path flipped = unfinished("flipped");
  for (const fs::path& name : {newest, older}) {
    std::string bytes = text_of(flipped / name);
    bytes[bytes.size() - 100] ^= 1;
    write_text(flipped / name, bytes);
  }
  const CommandResult refused = run_phasor(place.train("flipped", {}, {"--resume"}));
  CHECK(refused.exit_code == 3);
  CHECK(refused.err.find("checkpoint-0000000040") != std::string::npos);
}

TEST_CASE("a checkpoint of another model is refused") {
  const Place place;
  REQUIRE(run_phasor(place.train("narrow")).exit_code == 0);
  REQUIRE(run_phasor(place.train("wide", {"model.width=64"})).exit_code == 0);
  fs::remove(place.folder / "narrow/results.csv");
  for (const char* name : {"checkpoint-0000000040.safetensors", "checkpoint-0000000060.safetensors"})
    fs::copy_file(place.folder / "wide" / name, place.folder / "narrow" / name, fs::copy_options::overwrite_existing);
  const CommandResult refused = run_phasor(place.train("narrow", {}, {"--resume"}));
  CHECK(refused.exit_code == 2);
  CHECK(refused.err.find("is of a run with other settings: model.width (64 there, 32 here)") != std::string::npos);
  CHECK(refused.err.find("falling back") == std::string::npos);
}

TEST_CASE("a checkpoint of a run with other settings is refused, also if its shapes fit") {
  const Place place;
  REQUIRE(run_phasor(place.train("mine")).exit_code == 0);
  REQUIRE(run_phasor(place.train("other", {"encoding.name=hope", "train.seed=9"})).exit_code == 0);
  fs::remove(place.folder / "mine/results.csv");
  const fs::path newest = "checkpoint-0000000060.safetensors";
  fs::copy_file(place.folder / "other" / newest, place.folder / "mine" / newest, fs::copy_options::overwrite_existing);
  const CommandResult refused = run_phasor(place.train("mine", {}, {"--resume"}));
  CHECK(refused.exit_code == 2);
  CHECK(refused.err.find("encoding.name (\"hope\" there, \"rope\" here), train.seed (9 there, 1 here)") !=
        std::string::npos);
}

TEST_CASE("a run that stopped before it had anything to lose makes room for another try") {
  const Place place;
  const CommandResult diverged =
      run_phasor(place.train("a", {"train.learning_rate=100", "train.clip_norm=1e30", "train.weight_decay=100",
                                   "train.warmup_steps=0", "train.steps=64"}));
  REQUIRE(diverged.exit_code == 4);
  const CommandResult again = run_phasor(place.train("a"));
  CHECK_MESSAGE(again.exit_code == 0, again.err);
  CHECK(lines_of(place.folder / "a/metrics.jsonl") == 60);
  std::vector<std::string> snapshots;  // of 60 steps, none of the 64 before
  for (const fs::directory_entry& entry : fs::directory_iterator(place.folder / "a"))
    if (entry.path().filename().string().starts_with("weights-")) snapshots.push_back(entry.path().filename());
  std::sort(snapshots.begin(), snapshots.end());
  CHECK(snapshots.size() == 5);
  CHECK(snapshots.front() == "weights-0000000001.safetensors");
  CHECK(snapshots.back() == "weights-0000000030.safetensors");
}

TEST_CASE("the corpus of a run may not change behind it") {
  const Place place;
  REQUIRE(run_phasor(place.train("a")).exit_code == 0);
  std::string text = text_of(place.corpus);
  text[text.size() - 5] ^= 1;
  write_text(place.corpus, text);
  const CommandResult evaluated = run_phasor({"eval", (place.folder / "a").string()});
  CHECK(evaluated.exit_code == 3);
  CHECK(evaluated.err.find("is not the text the model was trained on any more") != std::string::npos);
  fs::remove(place.folder / "a/results.csv");
  const CommandResult resumed = run_phasor(place.train("a", {}, {"--resume"}));
  CHECK(resumed.exit_code == 3);
  CHECK(resumed.err.find("is not the text this run began with") != std::string::npos);
}

TEST_CASE("a loss that is not finite stops the run with 4 and keeps the last checkpoint") {
  const Place place;
  const CommandResult diverged =
      run_phasor(place.train("a", {"train.learning_rate=100", "train.clip_norm=1e30", "train.weight_decay=100",
                                   "checkpoint.every=1", "train.warmup_steps=0"}));
  CHECK(diverged.exit_code == 4);
  CHECK(diverged.err.find("at step") != std::string::npos);
  CHECK(diverged.err.find("train.learning_rate") != std::string::npos);
  CHECK(!fs::exists(place.folder / "a/results.csv"));
}

TEST_CASE("gradient accumulation: the same data, the same loss to rounding") {
  const Place place;
  REQUIRE(run_phasor(place.train("one", {"train.steps=20"})).exit_code == 0);
  REQUIRE(run_phasor(place.train("two", {"train.steps=20", "train.accumulate=2"})).exit_code == 0);
  const auto last_loss = [&](const std::string& name) {
    const std::string metrics = text_of(place.folder / (name + "/metrics.jsonl"));
    return std::stod(metrics.substr(metrics.rfind("\"loss\":") + 7));
  };
  CHECK(last_loss("one") == doctest::Approx(last_loss("two")).epsilon(1e-4));
}
