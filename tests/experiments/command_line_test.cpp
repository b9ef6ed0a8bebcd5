// The command line: lists fit a terminal, and every wrong use ends with one line and its exit code.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

#include "tests/support/command.hpp"
#include "tests/support/text.hpp"

using namespace phasor::testing;

namespace {

// Runs the program, expects the exit code and exactly one line "error: ..." on stderr, and returns that line.
std::string error_line(const std::vector<std::string>& arguments, int exit_code) {
  const CommandResult result = run_phasor(arguments);
  CHECK(result.exit_code == exit_code);
  CHECK(result.out == "");
  CHECK(result.err.starts_with("error: "));
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  return result.err.empty() ? "" : result.err.substr(0, result.err.size() - 1);
}

void check_width(const std::string& text) {
  for (size_t start = 0; start < text.size();) {
    const size_t newline = std::min(text.find('\n', start), text.size());
    INFO(text.substr(start, newline - start));
    CHECK(newline - start <= 80);
    start = newline + 1;
  }
}

}  // namespace

TEST_CASE("command line: help and lists name everything, a line each, within 80 columns") {
  const CommandResult help = run_phasor({"--help"}), list = run_phasor({"list"});
  for (const CommandResult& result : {help, list}) {
    CHECK(result.exit_code == 0);
    CHECK(result.err == "");
    check_width(result.out);
    for (const char* name : {"run", "train", "eval", "generate", "explore", "list", "new", "bench", "hope", "rope",
                             "nope", "p_rope", "kjv", "file:PATH"})
      CHECK(holds(result.out, "\n  " + std::string(name) + " "));
  }
  CHECK(holds(list.out, "\n  train.learning_rate "));
  for (const char* command : {"run", "train", "eval", "generate", "explore", "list", "new", "bench"}) {
    const CommandResult result = run_phasor({command, "--help"});
    CHECK(result.exit_code == 0);
    check_width(result.out);
  }
  for (const char* name : {"step", "attention", "ops", "gemm", "memory", "scaling"}) {
    const CommandResult bench = run_phasor({"bench", name, "--help"});
    CHECK(bench.exit_code == 0);
    CHECK(holds(bench.out, "--json"));
    check_width(bench.out);
  }
  for (const char* which : {"encodings", "questions", "corpora", "settings"}) {
    const CommandResult result = run_phasor({"list", which});
    CHECK(result.exit_code == 0);
    CHECK(holds(list.out, result.out));
  }
}

TEST_CASE("command line: a wrong word is refused with the nearest right one") {
  CHECK(error_line({}, 2) ==
        "error: subcommand is missing; needs one of: run, train, eval, generate, dissect, report, explore, list, new, "
        "bench (phasor --help)");
  CHECK(error_line({"trian"}, 2) ==
        "error: no subcommand named 'trian'; did you mean 'train'?; known: run, train, eval, generate, dissect, "
        "report, explore, list, new, bench");
  CHECK(error_line({"bench"}, 2) ==
        "error: benchmark is missing; needs one of: step, attention, ops, gemm, memory, scaling "
        "(phasor --help)");
  CHECK(error_line({"bench", "stepp"}, 2) ==
        "error: no benchmark named 'stepp'; did you mean 'step'?; known: step, attention, ops, gemm, memory, scaling");
  CHECK(error_line({"list", "encodigns"}, 2) ==
        "error: list: no list named 'encodigns'; did you mean 'encodings'?; known: encodings, questions, corpora, "
        "settings");
  CHECK(holds(error_line({"list", "--why", "ropee"}, 2), "no encoding named 'ropee'; did you mean 'rope'?"));
  CHECK(holds(error_line({"list", "encodings", "--why", "rope"}, 2),
              "list: --why tells of one encoding; leave out 'encodings'"));
  CHECK(holds(error_line({"list", "--why"}, 2), "--why"));
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"list", "--markdown"},
                                                    {"list", "settings", "--markdown"},
                                                    {"list", "--why", "rope", "--markdown"}})
    CHECK(holds(error_line(arguments, 2), "list: --markdown is for phasor list encodings"));
  CHECK(error_line({"new"}, 2) == "error: kind of file is missing; needs one of: encoding (phasor --help)");
  CHECK(holds(error_line({"new", "encodng", "x"}, 2), "no kind of file named 'encodng'; did you mean 'encoding'?"));
  CHECK(holds(error_line({"new", "encoding"}, 2), "NAME is required"));
  CHECK(holds(error_line({"new", "encoding", "rope"}, 2), "nn/positional/encodings/rope.cpp is there already"));
  CHECK(holds(error_line({"run", "hopee"}, 2), "no question named 'hopee'; did you mean 'hope'?"));
  CHECK(holds(error_line({"train", "--set", "encoding.name=ropee"}, 2),
              "no encoding named 'ropee'; did you mean 'rope'?"));
  CHECK(holds(error_line({"train", "--set", "lerning_rate=1"}, 2),
              "unknown setting 'lerning_rate'; did you mean 'train.learning_rate'?"));
  CHECK(holds(error_line({"train", "--set", "corpus=kjb"}, 2), "no corpus named 'kjb'; did you mean 'kjv'?"));
}

TEST_CASE("command line: options that do not fit") {
  CHECK(error_line({"run"}, 2) == "error: command line: QUESTION is required (phasor run --help)");
  CHECK(error_line({"eval"}, 2) == "error: command line: RUN is required (phasor eval --help)");
  CHECK(holds(error_line({"train", "--stes", "3"}, 2), "--stes"));
  CHECK(holds(error_line({"--unknown"}, 2), "--unknown"));
  CHECK(holds(error_line({"train", "word"}, 2), "word"));
  for (const char* threads : {"0", "-1", "2000", "many", "99999999999999999999"})
    CHECK(holds(error_line({"train", "--threads", threads}, 2), "--threads"));
  CHECK(holds(error_line({"train", "--seed", "-1"}, 2), "train.seed is -1; needs an integer from 0"));
  CHECK(holds(error_line({"train", "--seed", "3", "--set", "train.seed=4"}, 2), "train.seed is set twice"));
  CHECK(holds(error_line({"train", "--set"}, 2), "--set"));
}

TEST_CASE("command line: settings that do not fit, before any work") {
  CHECK(holds(error_line({"train", "--set", "train.steps=many"}, 2), "train.steps is many; needs an integer"));
  CHECK(holds(error_line({"run", "hope", "--set", "train.steps=0"}, 2), "train.steps is 0; needs an integer from 1"));
  CHECK(holds(error_line({"train", "--set", "model.heads=3"}, 2), "model.heads must divide model.width: 128 % 3 = 2"));
  CHECK(holds(error_line({"bench", "step", "--set", "model.heads=3"}, 2), "256 % 3 = 1"));
  const TemporaryFolder folder;
  write_text(folder / "a.toml", "[train]\nsteps = \"x\"\n");
  CHECK(holds(error_line({"train", "--config", folder / "a.toml"}, 2), "a.toml:2:1)"));
  for (const char* broken : {"[", "[=", "[[[", "[#", "a = [}", "= 1"}) {
    CAPTURE(broken);
    write_text(folder / "broken.toml", broken);
    CHECK(holds(error_line({"train", "--config", folder / "broken.toml"}, 2), "broken.toml"));
  }
  CHECK(holds(error_line({"train", "--set", "train.steps=[}"}, 2), "train.steps"));
  CHECK(holds(error_line({"train", "list"}, 2), "list"));  // one subcommand at a time
}

TEST_CASE("command line: input that cannot be used") {
  const TemporaryFolder folder;
  const std::string out = folder / "run";
  const auto corpus = [&](const std::string& name) {
    return std::vector<std::string>{"train", "--out", out, "--set", "corpus=file:" + (folder / name).string()};
  };
  CHECK(holds(error_line(corpus("none"), 3), "none': No such file or directory"));
  CHECK(holds(error_line(corpus("new\nline"), 3), "new\\nline'"));  // one line all the same
  write_text(folder / "empty", "");
  CHECK(holds(error_line(corpus("empty"), 3), "empty' is empty"));
  write_text(folder / "short", std::string(2000, 'a'));
  CHECK(holds(error_line(corpus("short"), 3), "short has 2000 bytes; needs at least 20480"));
  CHECK(holds(error_line({"train", "--config", folder / "none.toml"}, 3), "none.toml"));
  CHECK(holds(error_line({"eval", folder / "none"}, 3), "none"));
  CHECK_FALSE(std::filesystem::exists(out));  // nothing half-written
}

TEST_CASE("command line: a model that cannot fit is refused before anything is taken or written") {
  const TemporaryFolder folder;
  const std::string out = folder / "run";
  const std::string error =
      error_line({"train", "--out", out, "--set", "model.width=1048576", "--set", "model.heads=1024"}, 5);
  CHECK(holds(error, "lower model.width (1048576)"));
  CHECK(holds(error_line({"train", "--out", out, "--set", "train.batch=1048576"}, 5), "train.batch (1048576)"));
  CHECK_FALSE(std::filesystem::exists(out));
}

TEST_CASE("command line: a GPT-2-shaped model trains and is evaluated; it refuses lengths without positions") {
  const TemporaryFolder folder;
  const std::vector<std::string> gpt2 =
      with_settings({"train", "--quiet", "--out", folder / "run"},
                    {"model.norm=layer", "model.mlp=gelu_tanh", "model.bias=true", "model.head=tied",
                     "model.init=depth_scaled", "encoding.name=learned", "train.steps=3", "train.warmup_steps=1",
                     "train.length=16", "train.batch=4", "train.recompute_blocks=true", "eval.bytes=1024"},
                    {});
  const std::string refusal = error_line(gpt2, 2);
  CHECK(holds(refusal, "learned knows positions below 16 (train.length); eval.lengths asks for 128 tokens"));
  const auto xpos = [](const std::string& setting) {
    return error_line({"train", "--set", "encoding.name=xpos", "--set", setting, "--set", "eval.bytes=1000000"}, 2);
  };
  CHECK(holds(xpos("eval.lengths=[30000]"), "xpos knows positions below 27195; eval.lengths asks for 30000 tokens"));
  CHECK(holds(xpos("train.length=30000"), "xpos knows positions below 27195; train.length is 30000"));
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
  const CommandResult result = run_phasor(with_settings(gpt2, {}, {"eval.lengths=[8,16]"}));
  CHECK(result.exit_code == 0);
  CHECK(holds(result.out, "learned"));
  CHECK(holds(text_of(folder / "run/settings.toml"), "bias = true"));
}

TEST_CASE("command line: output that cannot be written") {
  const std::string program = PHASOR_PROGRAM;
  CHECK(std::system(("'" + program + "' list > /dev/full 2> /dev/null").c_str()) == 5 << 8);
  CHECK(std::system(("'" + program + "' list >&- 2>&-").c_str()) == 0);
}
