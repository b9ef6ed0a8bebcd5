// An encoding written as settings, through the program: trained, evaluated, resumed, and refused before any work.
#include <doctest/doctest.h>

#include <algorithm>

#include "nn/positional/expression_operations.hpp"
#include "tests/support/command.hpp"
#include "tests/support/text.hpp"

using namespace phasor;
using namespace phasor::testing;

namespace {

struct Place {
  TemporaryFolder folder;
  std::vector<std::string> train(const std::string& out, const std::vector<std::string>& changes) const {
    return with_settings({"train", "--quiet", "--out", (folder / out).string()},
                         {"train.steps=6", "train.warmup_steps=1", "train.batch=2", "train.length=16", "model.width=32",
                          "model.hidden=40", "checkpoint.every=3", "eval.bytes=1024", "eval.lengths=[16,32]",
                          "encoding.name=expression"},
                         changes);
  }
};

std::string metrics(const std::filesystem::path& run) { return text_of(run / "metrics.jsonl"); }

}  // namespace

TEST_CASE("command line: an encoding in a file of settings trains, resumes, and is evaluated") {
  const Place place;
  write_text(
      place.folder / "kerple.toml",
      "[encoding]\nname = \"expression\"\nfrequency = \"\"\nbias = \"\"\"\n  -max(p, 0.01)\n  * log(1 + max(a, 0.01) "
      "* distance)\"\"\"\nlearned = [\"p\", \"a\"]\nstarts = [\"uniform(0.1, 2)\", \"2^(-8 * (head + 1) / "
      "heads)\"]\n");
  std::vector<std::string> whole = place.train("whole", {});
  whole.insert(whole.end(), {"--config", (place.folder / "kerple.toml").string()});
  const CommandResult first = run_phasor(whole);
  REQUIRE_MESSAGE(first.exit_code == 0, first.err);
  CHECK(holds(first.out, "expression"));

  // Half of it, then the rest: as if it had been stopped after the checkpoint of step 3.
  const std::filesystem::path resumed = place.folder / "resumed";
  std::filesystem::copy(place.folder / "whole", resumed, std::filesystem::copy_options::recursive);
  for (const char* name : {"checkpoint-0000000006.safetensors", "results.csv", "results.txt", "report.html"})
    std::filesystem::remove(resumed / name);
  REQUIRE(std::filesystem::exists(resumed / "checkpoint-0000000003.safetensors"));
  const CommandResult rest = run_phasor({"train", "--quiet", "--resume", "--out", resumed.string(), "--config",
                                         (place.folder / "whole/settings.toml").string()});
  REQUIRE_MESSAGE(rest.exit_code == 0, rest.err);
  for (const char* name : {"checkpoint-0000000006.safetensors", "metrics.jsonl", "results.csv", "settings.toml"})
    CHECK((text_of(resumed / name) == text_of(place.folder / "whole" / name)));

  const CommandResult measured = run_phasor({"eval", (place.folder / "whole").string()});
  REQUIRE_MESSAGE(measured.exit_code == 0, measured.err);
  const std::string table = first.out.substr(first.out.find("Perplexity"), 200);
  CHECK(holds(measured.out, table.substr(0, table.find("\n\n"))));
  const CommandResult other = run_phasor({"eval", (place.folder / "whole").string(), "--set", "encoding.starts=[]",
                                          "--set", "encoding.learned=[]", "--set", "encoding.bias=-distance"});
  CHECK(other.exit_code == 2);
  CHECK(holds(other.err, "expression learns p, a; expression can take the place of expression only if neither learns"));
}

TEST_CASE("command line: hope as a formula trains like hope and reads what rope has trained") {
  const Place place;
  const std::string formula = "encoding.frequency=where(base_wavelength <= train_length, base_frequency, 0)";
  REQUIRE(run_phasor(place.train("hope", {"encoding.name=hope"})).exit_code == 0);
  REQUIRE(run_phasor(place.train("ours", {formula})).exit_code == 0);
  REQUIRE(run_phasor(place.train("rope", {"encoding.name=rope"})).exit_code == 0);
  CHECK((metrics(place.folder / "ours") == metrics(place.folder / "hope")));
  CHECK((metrics(place.folder / "ours") != metrics(place.folder / "rope")));

  const auto eval = [&](const std::string& run, const std::vector<std::string>& changes) {
    return run_phasor(with_settings({"eval", (place.folder / run).string()}, changes, {}));
  };
  const CommandResult compiled = eval("rope", {"encoding.name=hope"});
  CommandResult ours = eval("rope", {"encoding.name=expression", formula});
  REQUIRE_MESSAGE(ours.exit_code == 0, ours.err);
  const auto numbers = [](const std::string& out) {  // what follows the names
    std::string digits;
    for (const char c : out.substr(out.find("Perplexity")))
      if ((c >= '0' && c <= '9') || c == '.' || c == '\n') digits += c;
    return digits;
  };
  CHECK(numbers(ours.out) == numbers(compiled.out));
  CHECK(numbers(ours.out) != numbers(eval("rope", {}).out));

  // Another encoding leaves the run's formulas behind; formulas given with it are refused.
  CHECK(numbers(eval("ours", {"encoding.name=hope"}).out) == numbers(eval("hope", {}).out));
  CHECK(eval("ours", {"encoding.name=rope"}).exit_code == 0);
  const CommandResult given = eval("ours", {"encoding.name=yarn", "encoding.bias=-distance"});
  CHECK(given.exit_code == 2);
  CHECK(holds(given.err, "which only encoding.name = \"expression\" reads, not \"yarn\"; leave it at \"\""));
}

TEST_CASE("eval: what gives no number at a length is an error that names it, not a table of nan") {
  const Place place;
  REQUIRE(run_phasor(place.train("rope", {"encoding.name=rope"})).exit_code == 0);
  const auto eval = [&](const std::string& lengths) {
    return run_phasor({"eval", (place.folder / "rope").string(), "--encoding", "expression", "--set",
                       "encoding.bias=log(200 - distance)", "--set", "eval.lengths=" + lengths});
  };
  CHECK(eval("[16,200]").exit_code == 0);
  const CommandResult broken = eval("[16,256]");  // beyond 8 x 16, where formulas are tried out
  CHECK(broken.exit_code == 4);
  CHECK(broken.out == "");
  CHECK(
      holds(broken.err, "error: evaluation: expression: in windows of 256 tokens the loss is not finite at position "));
}

TEST_CASE("command line: a formula that is wrong is refused at its line and column, before a folder is made") {
  const Place place;
  const auto error = [&](const std::vector<std::string>& changes) {
    const CommandResult result = run_phasor(place.train("run", changes));
    CHECK(result.exit_code == 2);
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    return result.err;
  };
  CHECK(
      error({"encoding.bias=-log(1 + distnce)"}) ==
      "error: encoding.bias:1:10: no variable named 'distnce'; did you mean 'distance'?; known: distance, head, heads, "
      "head_dim, train_length, factor, pi\n");
  CHECK(error({"encoding.bias=1 / distance"}) ==
        "error: encoding.bias:1:3: 1 / 0 is inf at distance 0; needs a finite number\n");
  CHECK(holds(error({"encoding.frequency=\"\""}),
              "error: expression: nothing is left: encoding.frequency is 0 for every component and there is no "
              "encoding.bias; use nope for a model without an encoding"));
  CHECK(holds(error({"encoding.name=rope", "encoding.bias=-distance"}), "only encoding.name = \"expression\" reads"));
  write_text(place.folder / "wrong.toml", "[encoding]\nbias = \"\"\"\n-distance\n  + * 2\"\"\"\n");
  std::vector<std::string> from_file = place.train("run", {});
  from_file.insert(from_file.end(), {"--config", (place.folder / "wrong.toml").string()});
  CHECK(run_phasor(from_file).err == "error: encoding.bias:2:5: needs a number, a name or '('; got '*'\n");
  CHECK_FALSE(std::filesystem::exists(place.folder / "run"));
}

TEST_CASE(
    "command line: a formula that breaks where the run's own seed lets it start is refused before a folder is made") {
  // The first of two heads starts below 0 with seeds 1, 2 and 5 and above it with 4; 3 has the second one below.
  for (const auto& [seed, exit_code] : {std::pair{1, 2}, {2, 2}, {3, 2}, {4, 0}, {5, 2}}) {
    CAPTURE(seed);
    const Place place;
    const CommandResult result = run_phasor(
        place.train("run", {"encoding.bias=-sqrt(p) * distance", "encoding.learned=[p]",
                            "encoding.starts=[\"uniform(-0.25, 0.75)\"]", "train.seed=" + std::to_string(seed)}));
    CHECK_MESSAGE(result.exit_code == exit_code, result.err);
    CHECK(std::filesystem::exists(place.folder / "run") == (exit_code == 0));
    if (exit_code != 0) CHECK(holds(result.err, "encoding.bias:1:2: sqrt(-0."));
  }
}

TEST_CASE("the README's commands without compiling work, and it names all that a formula may read and call") {
  const std::string readme = text_of(PHASOR_SOURCE_DIR "/README.md");
  const size_t start = readme.find("### Without compiling");
  REQUIRE(start != std::string::npos);
  const std::string section = readme.substr(start, readme.find("\n## ", start) - start);
  const auto named = [&](const std::string& name) {  // between marks, blanks or a parenthesis
    const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || c == '_' || (c >= '0' && c <= '9'); };
    for (size_t at = section.find(name); at != std::string::npos; at = section.find(name, at + 1))
      if (!is_letter(section[at - 1]) && !is_letter(section[at + name.size()])) return true;
    return false;
  };
  for (const auto* const list : {&frequency_variables(), &bias_variables()})
    for (const NameMeaning& n : *list) CHECK_MESSAGE(named(n.name), n.name);
  for (const ExpressionFunction& f : expression_functions()) CHECK_MESSAGE(named(f.operation.name), f.operation.name);

  const Place place;
  write_text(place.folder / "text.txt", std::string(20000, 'a') + std::string(20000, 'b'));
  const size_t open = section.find("\n```\n") + 5;
  const std::string block = section.substr(open, section.find("```", open) - open);
  size_t commands = 0;
  for (size_t at = block.find("./phasor "); at != std::string::npos; ++commands) {
    const size_t next = block.find("./phasor ", at + 1);
    std::string command = block.substr(at + 8, next == std::string::npos ? next : next - at - 8);
    command.erase(command.find_last_not_of('\n') + 1);
    const std::string out = (place.folder / std::to_string(commands)).string();
    command = "'" + std::string(PHASOR_PROGRAM) + "'" + command + " --quiet --out '" + out +
              "' --set 'corpus=file:" + (place.folder / "text.txt").string() +
              "' --set train.steps=2 --set train.warmup_steps=1" +
              " --set train.batch=2 --set eval.lengths=[64] --set eval.bytes=1024 > /dev/null";
    CAPTURE(command);
    CHECK(std::system(command.c_str()) == 0);
    CHECK(holds(text_of(std::filesystem::path(out) / "results.txt"), "expression"));
    at = next;
  }
  CHECK(commands == 2);
  for (const char* wrong : {"-log(1 + distnce)", "1 / distance"}) {
    const CommandResult result = run_phasor(place.train("wrong", {"encoding.bias=" + std::string(wrong)}));
    CHECK_MESSAGE(holds(section, "\n" + result.err), result.err);
  }
}
