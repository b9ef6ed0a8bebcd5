// The main job, made small: what it prints, what it leaves, and that it is the sum of its training runs.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

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
  for (const char* request : {"https://", "src=", "<link", "@import", "url("})
    CHECK_MESSAGE(report.find(request) == std::string::npos, request);
  CHECK(report.find("default-src 'none'") != std::string::npos);
  CHECK(report.find("Does the model learn a U-shape?") != std::string::npos);
  CHECK(result.out.find("Does the model learn a U-shape?") != std::string::npos);

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

namespace {

// The sweep on the same text: rope and a reader of its models, one that knows no longer text, and one more.
std::vector<std::string> small_sweep(const TemporaryFolder& folder, std::vector<std::string> changes = {}) {
  const auto set_unless_changed = [&](const std::string& key, const std::string& value) {
    if (std::none_of(changes.begin(), changes.end(), [&](const auto& change) { return change.starts_with(key); }))
      changes.push_back(key + value);
  };
  set_unless_changed("run.seeds=", "2");
  set_unless_changed("run.encodings=", "[yarn, rope, learned, nope]");
  std::vector<std::string> arguments = small_hope(folder, changes);
  arguments[1] = "all_encodings";
  return arguments;
}

}  // namespace

TEST_CASE("run all_encodings: a table of what is trained, one of what reads rope's models, and rows for both") {
  const TemporaryFolder folder;
  const CommandResult result = run_phasor(small_sweep(folder));
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  const std::string results = text_of(folder / "out/results.csv");
  CHECK(lines_of(results) == 1 + 2 * (3 * 5 + 2));  // learned: L/2 and L only
  CHECK(results.find("\nlearned,2,16,") != std::string::npos);
  CHECK(results.find("\nlearned,2,32,") == std::string::npos);
  CHECK(results.find("\nyarn,1,128,") != std::string::npos);
  CHECK(!fs::exists(folder / "out/yarn-seed1"));  // it is not trained

  std::istringstream lines(result.out);
  std::vector<std::string> encodings;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name, at_length, at_2, at_4, at_8, difference;
    words >> name >> at_length >> at_2 >> at_4 >> at_8 >> difference;
    if (name == "learned") CHECK((at_2 == "-" && at_4 == "-" && at_8 == "-"));
    if (name == "learned" || name == "nope") CHECK(difference.find('.') != std::string::npos);
    if (name == "rope" || name == "nope" || name == "learned" || name == "yarn") encodings.push_back(name);
    const auto columns = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; });
    if (line.find('/') == std::string::npos) CHECK_MESSAGE(columns <= 80, line);
  }
  REQUIRE(encodings.size() == 4);
  CHECK(encodings[2] == "learned");  // after those that know longer texts
  CHECK(encodings[3] == "yarn");     // in the table below
  CHECK(result.out.find("±") != std::string::npos);
  const std::string report = text_of(folder / "out/report.html");
  CHECK(report.find("tokens/s") == std::string::npos);
  CHECK(report.find("<svg") != std::string::npos);

  // What is finished is not done again: the numbers of a finished training are read, not measured.
  for (const char* file : {"out/results.csv", "out/results.txt", "out/report.html"}) fs::remove(folder / file);
  CHECK(run_phasor(small_sweep(folder)).exit_code == 2);
  std::vector<std::string> resumed = small_sweep(folder);
  resumed.push_back("--resume");
  REQUIRE(run_phasor(resumed).exit_code == 0);
  CHECK(text_of(folder / "out/results.csv") == results);
  CHECK(text_of(folder / "out/report.html") == report);
  const fs::path nope = folder / "out/nope-seed1/results.csv";
  const std::string row = text_of(nope);
  write_text(nope, row.substr(0, row.rfind(',')) + "\n");
  for (const char* file : {"out/results.csv", "out/report.html"}) fs::remove(folder / file);
  const CommandResult mended = run_phasor(resumed);
  CHECK(mended.exit_code == 0);
  CHECK_MESSAGE(mended.err.find("is damaged: row 5 has 6 fields; needs 7") != std::string::npos, mended.err);
  CHECK(text_of(folder / "out/results.csv") == results);
}

TEST_CASE("run all_encodings with one seed has no interval; it needs rope, each name once, and names that there are") {
  const TemporaryFolder folder;
  const CommandResult result =
      run_phasor(small_sweep(folder, {"run.seeds=1", "run.encodings=[rope,nope]", "eval.lengths=[16]"}));
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  CHECK(result.out.find("±") == std::string::npos);
  CHECK(result.out.find("(one seed: no interval)") != std::string::npos);

  // Formulas are those of one of the encodings; here they are hope's.
  const TemporaryFolder other;
  const CommandResult compared =
      run_phasor(small_sweep(other, {"run.seeds=1", "run.encodings=[rope, hope, expression]", "eval.lengths=[16]",
                                     "encoding.frequency=where(base_wavelength <= train_length, base_frequency, 0)"}));
  REQUIRE_MESSAGE(compared.exit_code == 0, compared.err);
  const std::string rows = text_of(other / "out/results.csv");
  const auto row = [&](const std::string& name) {
    const size_t start = rows.find("\n" + name + ",1,16,") + name.size() + 1;
    return rows.substr(start, rows.find('\n', start) - start);
  };
  CHECK(row("expression") == row("hope"));
  CHECK(row("expression") != row("rope"));

  const auto refused = [&](const std::vector<std::string>& arguments, const std::string& says) {
    const CommandResult refusal = run_phasor(arguments);
    CHECK(refusal.exit_code == 2);
    CHECK_MESSAGE(refusal.err.find(says) != std::string::npos, refusal.err);
  };
  refused(small_sweep(folder, {"run.encodings=[hope, nope]"}), "run.encodings must name it, too: [rope, hope, nope]");
  refused(small_sweep(folder, {"run.encodings=[rope, hope, rope]"}), "run.encodings names rope twice");
  refused(small_sweep(folder, {"run.encodings=[rope, hop]"}), "did you mean 'hope'?");
  refused(small_sweep(folder, {"run.encodings=rope"}), "needs a list [\"a\", \"b\", ...]");
  refused(small_sweep(folder, {"eval.lengths=[8,32]"}), "1 x train.length = 16");
  refused(small_hope(folder, {"run.encodings=[rope, nope]"}), "hope trains rope, hope; run.encodings must be []");
  std::vector<std::string> short_windows = small_hope(folder, {"train.length=4", "eval.lengths=[4]"});
  short_windows[1] = "all_encodings";
  refused(short_windows, "; leave fope out with run.encodings");
  std::vector<std::string> quick = small_hope(folder);
  quick.push_back("--quick");
  refused(quick, "hope has no quick form");
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
  refused({"eval", (folder / "out").string()}, "name one of them, such as");
  // A question's folder and a training's folder are not taken for each other.
  refused({"train", "--config", (folder / "out/settings.toml").string(), "--out", (folder / "out").string()},
          "these settings are of phasor run hope");
  refused({"run", "hope", "--config", rope + "/settings.toml", "--out", rope},
          "run.question (\"none\" there, \"hope\" here)");
}

namespace {

// Of results.csv: the loss in the row that begins so.
double loss_in(const std::string& rows, const std::string& start) {
  const size_t at = rows.find("\n" + start + ",");
  REQUIRE(at != std::string::npos);
  const size_t windows = rows.find(',', at + start.size() + 2);
  return std::stod(rows.substr(windows + 1));
}

// The lines of a table that begin with a name, by name; of two the later one.
std::map<std::string, std::vector<std::string>> rows_of(const std::string& text) {
  std::map<std::string, std::vector<std::string>> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    rows[name] = {};
    for (std::string word; words >> word;) rows[name].push_back(word);
  }
  return rows;
}

}  // namespace

TEST_CASE("run all_encodings: the difference to rope is that of the losses at L in results.csv, paired by seed") {
  const TemporaryFolder folder;
  const CommandResult result = run_phasor(small_sweep(folder, {"train.learning_rate=0.02"}));
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  const std::string rows = text_of(folder / "out/results.csv");
  const double first = loss_in(rows, "nope,1,16") - loss_in(rows, "rope,1,16"),
               second = loss_in(rows, "nope,2,16") - loss_in(rows, "rope,2,16");
  // Two values: the deviation is |first - second| / sqrt(2), t = 12.7062.
  const std::string expected =
      fmt::format("{:+.3f} \u00b1{:.3f}", (first + second) / 2, 12.7062 * std::abs(first - second) / 2);
  CHECK_MESSAGE(result.out.find(expected) != std::string::npos, expected, "\n", result.out);
}

TEST_CASE("run all_encodings: a reader reads rope's model of its own seed, and the verdict is the table's") {
  const TemporaryFolder folder;
  const CommandResult result =
      run_phasor(small_sweep(folder, {"train.learning_rate=0.02", "run.encodings=[rope, nope, alibi, yarn]"}));
  REQUIRE_MESSAGE(result.exit_code == 0, result.err);
  const std::string rows = text_of(folder / "out/results.csv");
  for (const char* seed : {"1", "2"}) {
    const CommandResult eval = run_phasor({"eval", (folder / "out/rope-seed").string() + seed, "--encoding", "yarn"});
    const double perplexity = std::stod(rows_of(eval.out.substr(0, eval.out.find("Bits")))["yarn"][4]);
    CHECK(std::exp(loss_in(rows, std::string("yarn,") + seed + ",128")) == doctest::Approx(perplexity).epsilon(2e-4));
  }
  std::string best, keep;
  double lowest = 1e9;
  const std::string verdict = result.out.substr(result.out.find("Lowest perplexity"));
  for (const std::string name : {"rope", "nope", "alibi"}) {
    const auto perplexity = [&](const std::string& length) {
      return (std::exp(loss_in(rows, name + ",1," + length)) + std::exp(loss_in(rows, name + ",2," + length))) / 2;
    };
    if (perplexity("16") < lowest) lowest = perplexity("16"), best = name;
    const bool keeps = perplexity("128") <= 1.1 * perplexity("16");
    const std::string above = verdict.substr(verdict.find("their own"));
    CHECK((above.find(name) != std::string::npos) == (keeps != (above.find("all but") != std::string::npos)));
  }
  CHECK(verdict.starts_with("Lowest perplexity at L: " + best + "."));
}

TEST_CASE("run all_encodings: tokens/s is the median of timing.jsonl, and a line that is none keeps nothing back") {
  const TemporaryFolder folder;
  REQUIRE(run_phasor(small_sweep(folder)).exit_code == 0);
  const auto again = [&] {
    fs::remove(folder / "out/results.csv");
    std::vector<std::string> resumed = small_sweep(folder);
    resumed.push_back("--resume");
    const CommandResult result = run_phasor(resumed);
    REQUIRE_MESSAGE(result.exit_code == 0, result.err);
    return result.out;
  };
  write_text(folder / "out/rope-seed1/timing.jsonl", "{\"tokens_per_second\":300}\n{\"tokens_per_second\":\"x\"}\n");
  write_text(folder / "out/rope-seed2/timing.jsonl", "{\"tokens_per_second\":100}\nno\n{\"tokens_per_second\":250}\n");
  fs::remove(folder / "out/nope-seed1/timing.jsonl");
  fs::remove(folder / "out/nope-seed2/timing.jsonl");
  const std::string text = again();
  CHECK(rows_of(text)["rope"].back() == "250");
  CHECK(rows_of(text)["nope"].back() == "-");
  for (const char* run : {"rope-seed1", "rope-seed2", "learned-seed1", "learned-seed2"})
    fs::remove(folder / "out" / run / "timing.jsonl");
  CHECK(again().find("tokens/s") == std::string::npos);  // no column of nothing

  // Results of another run, or edited ones, are not believed.
  const std::string rows = text_of(folder / "out/results.csv"), rope = text_of(folder / "out/rope-seed1/results.csv");
  fs::copy_file(folder / "out/nope-seed1/results.csv", folder / "out/rope-seed1/results.csv",
                fs::copy_options::overwrite_existing);
  again();
  CHECK(text_of(folder / "out/results.csv") == rows);
  std::string edited = rope;
  edited.replace(edited.find(",16,64,4") + 7, 1, "9");  // the loss
  write_text(folder / "out/rope-seed1/results.csv", edited);
  again();
  CHECK(text_of(folder / "out/results.csv") == rows);
}

TEST_CASE("train refuses run.encodings, which it would not read") {
  const TemporaryFolder folder;
  std::vector<std::string> train = small_hope(folder, {"run.encodings=[hope]"});
  train[0] = "train";
  train.erase(train.begin() + 1);
  CHECK(run_phasor(train).exit_code == 2);
}

TEST_CASE("run all_encodings: a training that breaks does not take the others' results with it") {
  const TemporaryFolder folder;
  const CommandResult result = run_phasor(small_sweep(
      folder, {"run.encodings=[rope, nope, expression]", "run.seeds=1", "train.steps=20", "train.learning_rate=0.05",
               "encoding.bias=sqrt(p - 0.4) * distance", "encoding.learned=[p]", "encoding.starts=[\"0.5\"]"}));
  CHECK_MESSAGE(fs::exists(folder / "out/results.csv"), result.err);
  CHECK_MESSAGE(result.err.find("expression") != std::string::npos, result.err);  // which one it was
}
