// phasor generate, as a person runs it on a trained model: what is written, what repeats, what is refused.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "experiments/report/text.hpp"
#include "experiments/trainer.hpp"
#include "nn/generation.hpp"
#include "tests/support/command.hpp"
#include "tests/support/text.hpp"

using namespace phasor;
using namespace phasor::testing;
namespace fs = std::filesystem;

namespace {

// Ten steps of a small model on a text of words: enough for letters to come more often than other bytes.
struct TrainedRun {
  TemporaryFolder folder;
  std::string run = folder / "run";

  explicit TrainedRun(const std::vector<std::string>& changes = {}) {
    std::string text;
    Random random{.seed = 3};
    const char* const words[] = {"and ", "light ", "was ", "upon ", "water\n", "l\u00efght "};
    while (text.size() < 20000) text += words[random.below(6)];
    const std::string corpus = folder / "text";
    write_text(corpus, text);
    const CommandResult trained = run_phasor(with_settings(
        {"train", "--out", run, "--quiet"},
        {"corpus=file:" + corpus, "train.steps=10", "train.batch=4", "train.length=16", "train.warmup_steps=2",
         "train.learning_rate=1e-2", "model.width=32", "model.hidden=48", "eval.lengths=[16]", "eval.bytes=512"},
        changes));
    REQUIRE_MESSAGE(trained.exit_code == 0, trained.err);
  }

  std::vector<std::string> arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> all = {"generate", run};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  std::string text(const std::vector<std::string>& more) const {
    const CommandResult result = run_phasor(arguments(more));
    CHECK_MESSAGE(result.exit_code == 0, result.err);
    CHECK(result.err == "");
    CHECK(result.out.ends_with("\n"));
    return result.out;
  }

  // The one line of a refusal, which writes nothing else.
  std::string refusal(const std::vector<std::string>& more, int exit_code = 2) const {
    const CommandResult result = run_phasor(arguments(more));
    CHECK(result.exit_code == exit_code);
    CHECK(result.out == "");
    CHECK(result.err.starts_with("error: "));
    CHECK(result.err.find('\n') == result.err.size() - 1);
    return result.err;
  }
};

}  // namespace

TEST_CASE("generate: the prompt, then as many bytes as asked for; seed, temperature and top-p choose them") {
  const TrainedRun trained;
  const std::string text = trained.text({"and light", "--bytes", "100"});
  CHECK(text.starts_with("and light"));
  CHECK(text.size() >= 110);  // more where a byte is shown by four characters
  CHECK(trained.text({"and light", "--bytes", "100"}) == text);
  CHECK(trained.text({"and light", "--bytes", "100", "--seed", "1", "--threads", "1"}) == text);
  CHECK(trained.text({"--threads", "2", "--temperature", "0.8", "--top-p", "1", "--bytes", "100", "and light"}) ==
        text);
  CHECK(trained.text({"and light"}).size() > trained.text({"and light", "--bytes", "20"}).size());
  CHECK(trained.text({"and light", "--bytes", "100", "--seed", "2"}) != text);
  CHECK(trained.text({"and light", "--bytes", "100", "--seed", "9223372036854775807"}) !=
        trained.text({"and light", "--bytes", "100", "--seed", "9223372036854775806"}));
  CHECK(trained.text({"and light", "--bytes", "100", "--temperature", "0.5"}) != text);
  CHECK(trained.text({"and light", "--bytes", "100", "--top-p", "0.5"}) != text);
  // Both leave the likeliest byte alone; then there is nothing for a seed to choose.
  const std::string greedy = trained.text({"and light", "--bytes", "100", "--temperature", "0"});
  CHECK(greedy.size() == 110);
  CHECK(trained.text({"and light", "--bytes", "100", "--temperature", "0", "--seed", "2"}) == greedy);
  CHECK(trained.text({"and light", "--bytes", "100", "--top-p", "1e-9"}) == greedy);
  CHECK(trained.text({"and light", "--bytes", "60", "--temperature", "0"}) == greedy.substr(0, 69) + "\n");
}

TEST_CASE("generate: what is written is what the model says after the beginning of a window and the prompt's bytes") {
  const TrainedRun trained;
  const Settings settings = settings_of_run(trained.run);
  const Transformer model = load_model(trained.run, settings, settings.encoding).model;
  const auto expected = [&](const std::string& prompt, const Sampling& sampling) {
    std::vector<int32_t> tokens = {bos_token};
    for (const char byte : prompt) tokens.push_back(static_cast<uint8_t>(byte));
    Generator generator(model, tokens);
    Random random{.seed = 4, .stream = 0x74657874};
    for (int i = 0; i < 300; ++i) generator.next(sampling, random);
    PrintableText text;
    std::string shown;
    for (size_t i = 1; i < generator.text().size(); ++i) shown += text.add(static_cast<uint8_t>(generator.text()[i]));
    return shown + text.rest() + "\n";
  };
  const auto got = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--bytes", "300", "--seed", "4"});
    return trained.text(more);
  };
  CHECK(got({"and l\xc3", "--temperature", "0"}) == expected("and l\xc3", {.temperature = 0}));
  CHECK(got({"--top-p", "0.9"}) == expected("", {.temperature = 0.8, .top_p = 0.9, .never = {bos_token}}));
  // All bytes alike, none of them the beginning of a window.
  CHECK(got({"and", "--temperature", "1e9"}) == expected("and", {.temperature = 1e9, .never = {bos_token}}));
}

TEST_CASE("generate: any prompt; what a terminal would obey is shown and not sent") {
  const TrainedRun trained;
  const auto shown = [&](const std::string& prompt) { return trained.text({prompt, "--bytes", "0"}); };
  CHECK(shown("") == "\n");
  CHECK(shown("list") == "list\n");  // a subcommand's name
  CHECK(shown("a\tb\nc") == "a\tb\nc\n");
  CHECK(shown("gr\u00fc\u00df \u4e2d \U0001F600") == "gr\u00fc\u00df \u4e2d \U0001F600\n");
  CHECK(shown("\x1b[31m\r\x7f") == "\\x1b[31m\\x0d\\x7f\n");
  CHECK(shown("a\xff\xc3") == "a\\xff\\xc3\n");
  CHECK(trained.text({"--bytes", "0", "--", "--bytes"}) == "--bytes\n");
  // The model reads the bytes: two prompts that look alike go on in different ways.
  const auto after = [&](const std::string& prompt) {
    return trained.text({prompt, "--bytes", "100"}).substr(shown(prompt).size() - 1);
  };
  CHECK(after("\xff") != after("\\xff"));
  CHECK(trained.text({"", "--bytes", "100"}) == trained.text({"--bytes", "100"}));
  CHECK(trained.text({"--bytes", "100"}).size() > 100);
}

TEST_CASE("generate: reads with another encoding that learns nothing, as eval does") {
  const TrainedRun trained;
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"and light", "--bytes", "60"});
    return trained.text(more);
  };
  const std::string own = with({});
  CHECK(with({"--encoding", "interpolation", "--set", "encoding.factor=1"}) == own);
  CHECK(with({"--set", "encoding.name=rope"}) == own);
  for (const char* name : {"yarn", "dynamic_ntk", "longrope", "nope"}) {
    const std::string text = with({"--encoding", name});
    CHECK(text.starts_with("and light"));
    CHECK(with({"--encoding", name, "--threads", "1"}) == text);
  }
  CHECK(holds(trained.refusal({"x", "--encoding", "yarm"}), "did you mean 'yarn'?"));
  CHECK(holds(trained.refusal({"x", "--encoding", "lerope"}),
              "generate: lerope learns log_frequency_shift; lerope can take the place of rope only if neither"));
  CHECK(holds(trained.refusal({"x", "--set", "encoding.layout=interleaved"}),
              "(\"half_split\" there, \"interleaved\" here); only encoding.* but its layout may change"));
  CHECK(holds(trained.refusal({"x", "--set", "eval.bytes=1024"}), "eval.bytes (512 there, 1024 here); only"));
  CHECK(holds(trained.refusal({"x", "--encoding", "longrope", "--set", "encoding.long_factors=[2,2]"}),
              "longrope: encoding.long_factors has 2 numbers"));
}

TEST_CASE("generate: what cannot be is refused before any work") {
  const TrainedRun trained;
  for (const char* bytes : {"-1", "1048577", "99999999999999999999", "many", "1.5", "", " 1"})
    CHECK(holds(trained.refusal({"x", "--bytes", bytes}),
                "--bytes is " + std::string(bytes) + "; needs an integer from 0 to 1048576"));
  for (const char* seed : {"-1", "9223372036854775808", "1e3"})
    CHECK(holds(trained.refusal({"x", "--seed", seed}),
                "--seed is " + std::string(seed) + "; needs an integer from 0 to 9223372036854775807"));
  for (const char* temperature : {"-0.5", "nan", "inf"})
    CHECK(holds(trained.refusal({"x", "--temperature", temperature}),
                "--temperature is " + std::string(temperature) + "; needs a finite number of at least 0"));
  for (const char* top_p : {"0", "-1", "1.0000001", "nan"})
    CHECK(holds(trained.refusal({"x", "--top-p", top_p}),
                "--top-p is " + std::string(top_p) + "; needs a number above 0, up to 1"));
  for (const char* option : {"--temperature", "--top-p", "--threads"})
    CHECK(holds(trained.refusal({"x", option, "many"}), std::string(option)));
  CHECK(holds(trained.refusal({"x", "y"}), "not expected: y"));

  const auto refusal = [](const std::string& run, int exit_code) {
    const CommandResult result = run_phasor({"generate", run, "x"});
    CHECK(result.exit_code == exit_code);
    CHECK(result.out == "");
    return result.err;
  };
  CHECK(holds(refusal(trained.folder / "none", 3), "none\" is not a folder"));
  CHECK(holds(refusal(trained.folder.path(), 3), "has no settings.toml; it is not a run folder"));
  CHECK(holds(run_phasor({"generate"}).err, "RUN is required"));
  std::string settings = text_of(trained.run + "/settings.toml");
  fs::create_directory(trained.folder / "untrained");
  write_text(trained.folder / "untrained/settings.toml", settings);
  CHECK(holds(refusal(trained.folder / "untrained", 3), "holds no checkpoint; train first"));
  const std::string question = "question = \"none\"";
  REQUIRE(holds(settings, question));
  settings.replace(settings.find(question), question.size(), "question = \"hope\"");
  write_text(trained.folder / "untrained/settings.toml", settings);
  CHECK(holds(refusal(trained.folder / "untrained", 2), "answers hope with several models; name one of them, such as"));
}

TEST_CASE("generate: a text longer than an encoding's table, or than the memory, is refused with the numbers") {
  const TrainedRun learned({"encoding.name=learned", "eval.lengths=[8,16]"});
  CHECK(learned.text({"light ", "--bytes", "10"}).starts_with("light "));  // the last byte is not read
  CHECK(holds(learned.refusal({"light ", "--bytes", "11"}),
              "learned knows positions below 16 (train.length); the prompt and --bytes take 6 + 11 = 17"));
  const TrainedRun rope({"model.heads=8"});
  CHECK(holds(rope.refusal({"x", "--encoding", "xpos", "--bytes", "30000"}),
              "xpos knows positions below 27195; the prompt and --bytes take 1 + 30000 = 30001"));
  // More weights than there is memory.
  std::string settings = text_of(rope.run + "/settings.toml");
  settings.replace(settings.find("width = 32"), 10, "width = 1048576");
  write_text(rope.run + "/settings.toml", settings);
  CHECK(holds(rope.refusal({"xy"}, 5), "memory: a prompt and --bytes of 2 + 200 bytes need at least "));
}

TEST_CASE("generate: scores and biases that are stored do not take the square of a long prompt") {
  const TrainedRun fire({"encoding.name=fire"});
  // For all pairs of 4000 bytes the 32 numbers inside fire's network would take 2 GB.
  const std::string prompt(4000, 'x'), out = fire.folder / "out";
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const std::string limit;  // a sanitizer's own memory takes terabytes of addresses
#else
  const std::string limit = "ulimit -v 1500000; ";
#endif
  const std::string command = limit + "'" + std::string(PHASOR_PROGRAM) + "' generate '" + fire.run + "' " + prompt +
                              " --bytes 1 --threads 1 > '" + out + "'";
  CHECK(std::system(("bash -c \"" + command + "\"").c_str()) == 0);
  CHECK(text_of(out).starts_with(prompt));
}

TEST_CASE("generate: an error after the prompt has a line of its own") {
  const TrainedRun rope;
  // No number from a distance of 300 on.
  const CommandResult broken =
      run_phasor(rope.arguments({"light ", "--bytes", "400", "--temperature", "0", "--encoding", "expression", "--set",
                                 "encoding.bias=log(300 - distance)"}));
  CHECK(broken.exit_code == 4);
  CHECK(broken.out.starts_with("light "));
  CHECK(broken.out.ends_with("\n"));
  CHECK(holds(broken.err, "error: sample: the logit of token 0 is "));
}

TEST_CASE("generate: text comes as it is written; SIGINT ends it with 130, a reader that goes away with 5") {
  const TrainedRun trained;
  RunningPhasor running(trained.arguments({"and light", "--bytes", "1048576"}));
  while (running.is_running() && running.written().size() < 100)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  running.send(SIGINT);
  const CommandResult stopped = running.finish();
  CHECK(stopped.exit_code == 130);
  CHECK(stopped.out.starts_with("and light"));
  CHECK(stopped.out.ends_with("\n"));
  CHECK(stopped.err.starts_with("interrupted: stopped after "));
  CHECK(holds(stopped.err, " of 1048576 bytes"));

  const std::string command = "'" + std::string(PHASOR_PROGRAM) + "' generate '" + trained.run + "' x --bytes 1048576";
  CHECK(std::system(
            ("bash -c \"" + command + " 2> /dev/null | head -c 5 > /dev/null; exit \\${PIPESTATUS[0]}\"").c_str()) ==
        5 << 8);
  CHECK(std::system((command + " > /dev/full 2> /dev/null").c_str()) == 5 << 8);
}
