// Settings: what is written is read back, and every wrong one is refused with key, value, range and place.
#include "experiments/settings.hpp"

#include <doctest/doctest.h>

#include <clocale>

#include "core/error.hpp"
#include "tests/support/command.hpp"
#include "tests/support/refusal.hpp"

using namespace phasor;
using namespace phasor::testing;

namespace {

std::string refused_text(const std::string& text) {
  return refusal([&] {
    Settings settings;
    read_toml(settings, text, "a.toml");
  });
}

std::string refused_assignment(const std::string& assignment) {
  return refusal([&] {
    Settings settings;
    assign(settings, assignment);
  });
}

std::string refused_settings(const std::vector<std::string>& assignments) {
  return refusal([&] { apply({}, {.config = {}, .assignments = assignments}); });
}

Settings unusual() {
  Settings s;
  s.corpus = "file:/a \"b\"\\c\n\td\x7f/\xc3\xa9";
  s.model = {.width = 6, .layers = 7, .heads = 3, .kv_heads = 1, .hidden = 11};
  s.encoding = {.name = "nope", .layout = "interleaved", .base = 1e30, .fraction = 1.0 / 3, .factor = 1.5};
  s.encoding.short_factors = {1, 0.1 + 1.2};
  s.train.learning_rate = 0.1 + 0.2;
  s.train.epsilon = 5e-324;
  s.train.beta1 = 0;
  s.train.seed = std::numeric_limits<int64_t>::max();
  s.eval.lengths = {2, 1 << 20};
  s.eval.bytes = 1 << 21;
  return s;
}

}  // namespace

TEST_CASE("settings: what is written is read back exactly") {
  for (const Settings& settings : {Settings{}, unusual()}) {
    Settings read;
    read.model.width = 999;  // a key that the text lacked would stay
    read_toml(read, to_toml(settings), "a.toml");
    CHECK(read == settings);
    CHECK(to_toml(read) == to_toml(settings));
  }
}

TEST_CASE("settings: numbers are shortest and do not depend on the locale") {
  const std::string text = to_toml(unusual());
  const char* const german = std::setlocale(LC_ALL, "de_DE.UTF-8");
  const std::string german_text = to_toml(unusual());
  std::setlocale(LC_ALL, "C");
  if (!german) MESSAGE("no German locale here: checked under C only");
  CHECK(german_text == text);
  CHECK(text.find("learning_rate = 0.30000000000000004  #") != std::string::npos);
  CHECK(text.find("base = 1e+30  #") != std::string::npos);
  CHECK(text.find("beta1 = 0.0  #") != std::string::npos);
  CHECK(to_toml({}).find("\n[eval]\nlengths = []  #") != std::string::npos);
}

TEST_CASE("settings: a file changes what it names and nothing else") {
  Settings settings, expected;
  read_toml(settings, "# comment\ntrain.steps = 7\nencoding = { name = \"hope\" }\n[eval]\nlengths = [8, 16]\n",
            "a.toml");
  expected.train.steps = 7;
  expected.encoding.name = "hope";
  expected.eval.lengths = {8, 16};
  CHECK(settings == expected);
  read_toml(settings, "", "a.toml");
  CHECK(settings == expected);
  read_toml(settings, "[encoding]\nbase = 500\n", "a.toml");  // an integer where a number is needed
  CHECK(settings.encoding.base == 500.0);
}

TEST_CASE("settings: a file that is wrong is refused at its line and column") {
  const std::string steps = "needs an integer from 1 to 1099511627776 ";
  CHECK(refused_text("\n[train]\nlerning_rate = 1\n") ==
        "settings: unknown setting 'train.lerning_rate'; did you mean 'train.learning_rate'? "
        "(list: phasor list settings) (a.toml:3:1)");
  CHECK(refused_text("steps = 1\n") ==
        "settings: unknown setting 'steps'; did you mean 'train.steps'? (list: phasor list settings) (a.toml:1:1)");
  CHECK(
      refused_text("[trian]\nsteps = 1\n") ==
      "settings: unknown setting 'trian.steps'; did you mean 'train.steps'? (list: phasor list settings) (a.toml:1:2)");
  CHECK(refused_text("[xyzzy_xyzzy]\n") ==
        "settings: unknown setting 'xyzzy_xyzzy' (list: phasor list settings) (a.toml:1:2)");
  CHECK(refused_text("[train]\nsteps = \"many\"\n") == "settings: train.steps is \"many\"; " + steps + "(a.toml:2:1)");
  CHECK(refused_text("[train]\n  steps = 2.0\n") == "settings: train.steps is 2.0; " + steps + "(a.toml:2:3)");
  CHECK(refused_text("train.steps = 0\n") == "settings: train.steps is 0; " + steps + "(a.toml:1:7)");
  CHECK(refused_text("train.steps = true\n") == "settings: train.steps is true; " + steps + "(a.toml:1:7)");
  CHECK(refused_text("train.steps = 2026-01-01\n") ==
        "settings: train.steps is a date or time; " + steps + "(a.toml:1:7)");
  CHECK(refused_text("[train.steps]\nx = 1\n") == "settings: train.steps is a section; " + steps + "(a.toml:1:8)");
  CHECK(refused_text("train = 3\n") ==
        "settings: train is 3; needs to be a section: [train] and its settings below (a.toml:1:1)");
  CHECK(refused_text("[eval]\nlengths = [64, 1]\n") ==
        "settings: eval.lengths is [64, 1]; needs a list [a, b, ...]; each of them an integer from 2 to 1048576 "
        "(a.toml:2:1)");
  CHECK(
      refused_text("eval.lengths = 64\n") ==
      "settings: eval.lengths is 64; needs a list [a, b, ...]; each of them an integer from 2 to 1048576 (a.toml:1:6)");
  CHECK(refused_text("corpus = 3\n") == "settings: corpus is 3; needs text in quotes that is not empty (a.toml:1:1)");
  CHECK(refused_text("corpus = \"\"\n") ==
        "settings: corpus is \"\"; needs text in quotes that is not empty (a.toml:1:1)");
  // What is not TOML, and a key that comes twice: toml++'s words, our place.
  CHECK(refused_text("[train]\nsteps = 3\nsteps = 4\n") ==
        "settings: Error while parsing key-value pair: cannot redefine existing integer 'steps' (a.toml:3:9)");
  for (const std::string text : {"[train]\nsteps = \n", "corpus = \"\xff\"", "a\x01", "[train", "a = [[[["})
    CHECK(refused_text(text).starts_with("settings: "));
  CHECK(refused_text("a = " + std::string(30000, '[')).find("exceeded maximum nested value depth") !=
        std::string::npos);
  CHECK(refused_text(std::string(65537, '#')) == "settings: a.toml has 65537 bytes; a settings file has at most 65536");
}

TEST_CASE("settings: real ranges are open or closed, and never hold a NaN") {
  for (const char* value : {"nan", "inf", "-inf", "0", "-1", "101"})
    CHECK(refused_assignment(std::string("train.learning_rate=") + value) ==
          std::string("settings: train.learning_rate is ") + value +
              "; needs a number > 0.0 and <= 100.0 (--set train.learning_rate=" + value + ")");
  CHECK(refused_assignment("train.learning_rate=100") == "accepted");
  CHECK(refused_assignment("train.beta1=0") == "accepted");
  CHECK(refused_assignment("train.beta1=1") ==
        "settings: train.beta1 is 1; needs a number >= 0.0 and < 1.0 (--set train.beta1=1)");
}

TEST_CASE("settings: a list of numbers") {
  Settings settings;
  assign(settings, "encoding.long_factors=[1, 2.5, 1e3]");
  CHECK(settings.encoding.long_factors == std::vector<double>{1, 2.5, 1000});
  CHECK(to_toml(settings).find("long_factors = [1.0, 2.5, 1000.0]  #") != std::string::npos);
  assign(settings, "encoding.long_factors=[]");
  CHECK(settings.encoding.long_factors.empty());
  const std::string needed = "needs a list [a, b, ...]; each of them a number >= 1.0 and <= 1e+30 ";
  for (const char* value : {"2", "[1, 0.5]", "[nan]", "[[1]]", "[1, \"2\"]"}) {
    CAPTURE(value);
    const std::string message = refused_assignment(std::string("encoding.long_factors=") + value);
    CHECK(message.starts_with("settings: encoding.long_factors is "));
    CHECK(message.find(needed) != std::string::npos);
  }
  CHECK(refused_assignment("encoding.factor=0.5") ==
        "settings: encoding.factor is 0.5; needs a number >= 1.0 and <= 1e+30 (--set encoding.factor=0.5)");
}

TEST_CASE("settings: formulas are text that may be empty or of several lines, and lists of texts") {
  Settings settings;
  read_toml(settings,
            "[encoding]\nname = \"expression\"\nfrequency = \"\"\nbias = \"\"\"\n-a *\n\tdistance\"\"\"\n"
            "learned = [\"a\"]\nstarts = ['2^-head']\n",
            "a.toml");
  CHECK(settings.encoding.formulas.frequency == "");
  CHECK(settings.encoding.formulas.bias == "-a *\n\tdistance");
  CHECK(settings.encoding.formulas.learned == std::vector<std::string>{"a"});
  CHECK(settings.encoding.formulas.starts == std::vector<std::string>{"2^-head"});
  Settings read;
  read_toml(read, to_toml(settings), "b.toml");
  CHECK(read == settings);
  validate(settings);

  assign(settings, "encoding.frequency=where(component >= 3, base_frequency, 0)");
  CHECK(settings.encoding.formulas.frequency == "where(component >= 3, base_frequency, 0)");
  assign(settings, "encoding.frequency=\"0\"");
  CHECK(settings.encoding.formulas.frequency == "0");
  assign(settings, "encoding.frequency=");
  CHECK(settings.encoding.formulas.frequency == "");
  assign(settings, "encoding.starts=[\"uniform(0, 2)\", 'a\"b']");
  CHECK(settings.encoding.formulas.starts == std::vector<std::string>{"uniform(0, 2)", "a\"b"});
  const std::string needed = "needs a list [\"a\", \"b\", ...]; each of them text in quotes that is not empty ";
  assign(settings, "encoding.starts=[1, 0.5, \"2^-head\"]");  // and numbers
  CHECK(settings.encoding.formulas.starts == std::vector<std::string>{"1", "0.5", "2^-head"});
  assign(settings, "encoding.learned=[p, a_2]");  // names may go without quotes
  CHECK(settings.encoding.formulas.learned == std::vector<std::string>{"p", "a_2"});
  for (const char* value : {"[p, -a]", "p", "[1]", "[\"\"]", "[[\"p\"]]", "\"p\"", ""}) {
    CAPTURE(value);
    const std::string assignment = std::string("encoding.learned=") + value;
    CHECK(refused_assignment(assignment) == "settings: encoding.learned is " + std::string(*value ? value : "empty") +
                                                "; " + needed + "(--set " + assignment + ")");
  }
  CHECK(refused_text("encoding.bias = 3\n") == "settings: encoding.bias is 3; needs text in quotes (a.toml:1:10)");
}

TEST_CASE("settings: formulas that the encoding does not read are refused") {
  CHECK(
      refused_settings({"encoding.frequency=0"}) ==
      "settings: encoding.frequency is \"0\", which only encoding.name = \"expression\" reads, not \"rope\"; leave it "
      "at \"base_frequency\"");
  CHECK(
      refused_settings({"encoding.name=hope", "encoding.bias=-distance"}) ==
      "settings: encoding.bias is \"-distance\", which only encoding.name = \"expression\" reads, not \"hope\"; leave "
      "it at \"\"");
  for (const char* list : {"encoding.learned=[\"a\"]", "encoding.starts=[\"a\"]"})
    CHECK(refused_settings({list}).find(
              "is [\"a\"], which only encoding.name = \"expression\" reads, not \"rope\"; leave "
              "it at []") != std::string::npos);
  CHECK(refused_settings({"encoding.name=expression", "encoding.frequency=0"}) ==
        "accepted");  // no formula is read yet
}

TEST_CASE("settings: more than a settings file may hold is refused, or the run could not be read again") {
  const std::string terms = "encoding.bias=" + std::string(62000, '-') + "distance";
  const Settings settings = apply({}, {{}, {"encoding.name=expression", terms}});
  Settings read;
  read_toml(read, to_toml(settings), "settings.toml");
  CHECK(read == settings);
  const std::string message = refused_settings({"encoding.name=expression", terms + std::string(2000, ' ') + "+ 1"});
  CHECK(message.starts_with("settings: all settings take 6"));
  CHECK(message.ends_with(" bytes in settings.toml, which is read up to 65536; needs shorter formulas or lists"));
}

TEST_CASE("settings: assignments") {
  Settings settings;
  assign(settings, " train.steps = 20 ");
  assign(settings, "corpus=file:/a b=c");
  assign(settings, "encoding.layout=\"interleaved\"");
  assign(settings, "eval.lengths=[64, 128]");
  CHECK(settings.train.steps == 20);
  CHECK(settings.corpus == "file:/a b=c");
  CHECK(settings.encoding.layout == "interleaved");
  CHECK(settings.eval.lengths == std::vector<int64_t>{64, 128});

  CHECK(refused_assignment("train.steps") ==
        "settings: --set needs key=value, for example train.steps=900; got 'train.steps'");
  CHECK(refused_assignment("=3").starts_with("settings: --set needs key=value"));
  CHECK(refused_assignment("lerning_rate=1") ==
        "settings: unknown setting 'lerning_rate'; did you mean 'train.learning_rate'? (list: phasor list settings) "
        "(--set lerning_rate=1)");
  for (const char* value : {"many", "1e3", "99999999999999999999", "64,128", "[1]", "0"})
    CHECK(refused_assignment(std::string("train.steps=") + value) ==
          std::string("settings: train.steps is ") + value +
              "; needs an integer from 1 to 1099511627776 (--set train.steps=" + value + ")");
  CHECK(refused_assignment("train.steps=").starts_with("settings: train.steps is empty; needs an integer"));
  CHECK(refused_assignment("train.steps=1\nx=2").starts_with("settings: train.steps is more than one line"));
  CHECK(refused_assignment("encoding.layout=neox") ==
        "settings: encoding.layout is neox; needs one of \"half_split\", \"interleaved\" (--set encoding.layout=neox)");
  CHECK(refused_assignment("corpus=\xff").find("needs UTF-8 text (--set") != std::string::npos);
  for (const char* value : {"\"-distance", "'-distance", "\"-distance'", "\"", "\"-\" distance"})
    CHECK(refused_assignment(std::string("encoding.bias=") + value) ==
          std::string("settings: encoding.bias is ") + value +
              "; needs UTF-8 text that ends with the quote it begins with, or no quotes (--set encoding.bias=" + value +
              ")");
}

TEST_CASE("settings: a file loses against an assignment, and an assignment does not come twice") {
  const TemporaryFolder folder;
  write_text(folder / "a.toml", "[train]\nsteps = 70\nseed = 5\n");
  Settings defaults;
  defaults.train.seed = 4;
  defaults.train.batch = 2;
  const Settings settings = apply(defaults, {folder / "a.toml", {"train.steps=80"}});
  CHECK(settings.train.steps == 80);
  CHECK(settings.train.seed == 5);
  CHECK(settings.train.batch == 2);
  CHECK(refused_settings({"train.seed=1", "train.seed=2"}) ==
        "settings: train.seed is set twice on the command line; needs one value (--set train.seed=2)");
  CHECK_THROWS_WITH_AS(apply({}, {folder / "none.toml", {}}), doctest::Contains("none.toml"), FileError);
}

TEST_CASE("settings: what must hold between them") {
  CHECK(refused_settings({}) == "accepted");
  CHECK(refused_settings({"model.heads=3"}) == "settings: model.heads must divide model.width: 128 % 3 = 2");
  CHECK(refused_settings({"model.width=130"}) ==
        "settings: model.width / model.heads must be even: 130 / 2 = 65; a component is a pair of channels of a head");
  CHECK(refused_settings({"model.heads=4", "model.kv_heads=3"}) ==
        "settings: model.kv_heads must divide model.heads: 4 % 3 = 1");
  CHECK(refused_settings({"model.kv_heads=4"}) == "settings: model.kv_heads must divide model.heads: 2 % 4 = 2");
  CHECK(refused_settings({"train.accumulate=3"}) == "settings: train.accumulate must divide train.batch: 16 % 3 = 1");
  CHECK(refused_settings({"train.steps=20"}) ==
        "settings: train.warmup_steps must be at most train.steps: 50 > 20; --set train.warmup_steps=2");
  CHECK(refused_settings({"train.length=3"}) == "settings: eval.lengths = [] needs train.length / 2 >= 2: 3 / 2 = 1");
  CHECK(refused_settings({"train.length=3", "eval.lengths=[3]"}) == "accepted");
  CHECK(refused_settings({"eval.bytes=1023"}) ==
        "settings: eval.bytes must hold a window of the longest of eval.lengths: 1023 < 1024");
}

TEST_CASE("settings: evaluation lengths follow the training length unless they are named") {
  Settings settings;
  CHECK(evaluation_lengths(settings) == std::vector<int64_t>{64, 128, 256, 512, 1024});
  settings.eval.lengths = {7};
  CHECK(evaluation_lengths(settings) == std::vector<int64_t>{7});
}

TEST_CASE("settings: the help has a line of at most 80 columns for every key") {
  const std::string help = settings_help();
  size_t keys = 0, lines = 0;
  const Settings defaults;
  visit_settings(defaults, [&](std::string_view key, auto&&...) {
    ++keys;
    CHECK(help.find("  " + std::string(key) + " ") != std::string::npos);
  });
  for (size_t start = 0; start < help.size(); ++lines) {
    const size_t newline = help.find('\n', start);
    CHECK(newline - start <= 80);
    start = newline + 1;
  }
  CHECK(lines == keys);
}
