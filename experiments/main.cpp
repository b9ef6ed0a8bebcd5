// The command line: reads arguments, calls a command of commands.hpp, and turns every error into one line and an exit
// code: 0 done, 2 usage or settings, 3 bad input file, 4 numeric failure, 5 input/output, resources or the GPU, 6
// another run holds the folder, 130 and 143 interrupted after a checkpoint.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <new>

#include "core/device.hpp"
#include "core/error.hpp"
#include "core/nearest_name.hpp"
#include "experiments/catalogue.hpp"
#include "experiments/commands.hpp"
#include "experiments/corpora/corpus.hpp"
#include "experiments/dissect_commands.hpp"
#include "experiments/experiment.hpp"
#include "experiments/explorer/explorer.hpp"
#include "experiments/new_encoding.hpp"
#include "experiments/signals.hpp"
#include "nn/positional/encoding.hpp"

namespace phasor {
namespace {

struct Arguments {
  std::string question, list, why, seed, encoding, new_name, device = "cpu";
  std::filesystem::path run;
  BenchArguments bench;
  GenerateArguments generate;
  DissectArguments dissect;
  std::vector<std::filesystem::path> runs;
  SettingsChanges changes;
  RunOptions options;
  bool resume = false, quick = false, markdown = false;
};

// ---- lists

std::string list_line(const std::string& name, const std::string& about) {
  return fmt::format("  {:<13}  {}\n", name, about);
}

std::string encoding_list() {
  std::string text = "Encodings (--set encoding.name=NAME):\n";
  for (const auto& [name, entry] : encodings()) text += list_line(name, entry.summary);
  return text;
}

std::string question_list() {
  std::string text = "Questions (phasor run NAME):\n";
  for (const auto& [name, experiment] : questions()) text += list_line(name, experiment.question);
  return text;
}

std::string corpus_list() {
  std::string text = "Corpora (--set corpus=NAME):\n";
  for (const auto& [name, about] : corpora()) text += list_line(name, about);
  return text;
}

std::string setting_list() { return "Settings (--set KEY=VALUE, or a TOML file with --config):\n" + settings_help(); }

int list_command(const CLI::App& program, const Arguments& arguments) {
  const std::string &list = arguments.list, &why = arguments.why;
  require<UsageError>(why.empty() || list.empty(), "list", "--why tells of one encoding; leave out '", list, "'");
  require<UsageError>(!arguments.markdown || (list == "encodings" && why.empty()), "list",
                      "--markdown is for phasor list encodings");
  if (!why.empty()) {
    print_checked(encoding_sheet(why));
  } else if (arguments.markdown) {
    print_checked(encodings_markdown());
  } else if (list == "encodings") {
    print_checked(encoding_list());
  } else if (list == "questions") {
    print_checked(question_list());
  } else if (list == "corpora") {
    print_checked(corpus_list());
  } else if (list == "settings") {
    print_checked(setting_list());
  } else if (list.empty()) {
    std::string text = "Subcommands (phasor NAME --help):\n";
    for (const CLI::App* command : program.get_subcommands(nullptr)) {
      text += list_line(command->get_name(), command->get_description());
    }
    print_checked(text + "\n" + question_list() + "\n" + encoding_list() + "\n" + corpus_list() + "\n" +
                  setting_list());
  } else {
    throw UsageError("list: " + unknown_name("list", list, {"encodings", "questions", "corpora", "settings"}));
  }
  return 0;
}

int new_encoding_command(const std::string& name) {
  std::error_code unknown;  // where the program is: in the build folder of its source tree
  const NewEncoding files = write_new_encoding(
      name, source_tree({std::filesystem::current_path(), std::filesystem::read_symlink("/proc/self/exe", unknown)}));
  print_checked(fmt::format(
      "{}\n{}\n\nChange the formula in the first and its numbers in the second, then test and compare:\n"
      "./phasor test -tc='{}*,encodings*'\n./phasor run all_encodings --quick --set run.encodings=[rope,{}]\n",
      files.encoding.string(), files.test.string(), name, name));
  return 0;
}

// ---- arguments

void add_settings(CLI::App& command, Arguments& arguments) {
  // allow_extra_args(false): each --set takes one value and leaves the next word alone.
  command
      .add_option("--set", arguments.changes.assignments, "change a setting; may be repeated (phasor list settings)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
}

void add_seed_and_config(CLI::App& command, Arguments& arguments) {
  command.add_option("--config", arguments.changes.config, "settings from a TOML file; --set wins")->type_name("FILE");
  command.add_option("--seed", arguments.seed, "short for --set train.seed=N")->type_name("N");
}

void add_threads(CLI::App& command, Arguments& arguments) {
  constexpr int most_threads = 256;
  command.add_option("--threads", arguments.options.threads, "the results do not depend on it; default: all cores")
      ->type_name("N")
      ->check(CLI::Range(1, most_threads));
}

// Also in front of the subcommand.
void add_device(CLI::App& command, Arguments& arguments) {
  command.add_option("--device", arguments.device, "cpu, or cuda: the GPU; default: cpu")->type_name("NAME");
}

Device device_named(const std::string& name) {
  require<UsageError>(name == "cpu" || name == "cuda", "--device", name, " is no device; needs cpu or cuda");
  const Device device = name == "cuda" ? Device::cuda : Device::cpu;
  require_device("phasor", device);
  return device;
}

void add_folder(CLI::App& command, Arguments& arguments) {
  command.add_option("--out", arguments.options.out, "folder of the run; default: runs/NAME-HASH")->type_name("DIR");
  command.add_flag("--resume", arguments.resume, "continue an unfinished run, or start it");
  command.add_flag("--quiet", arguments.options.quiet, "no progress line");
}

void add_page(CLI::App& command, Arguments& arguments, const std::string& default_page) {
  command.add_option("--out", arguments.options.out, "the page; default: " + default_page)->type_name("FILE");
}

void add_encoding(CLI::App& command, Arguments& arguments) {
  command.add_option("--encoding", arguments.encoding, "read with another: --set encoding.name=NAME")
      ->type_name("NAME");
  add_settings(command, arguments);
}

void add_sizes(CLI::App& command, Arguments& arguments, const std::string& defaults) {
  command.add_option("SIZE", arguments.bench.sizes, "reference, small, tiny, large, 124M; default: " + defaults)
      ->type_name("");
  add_settings(command, arguments);
}

void build_bench(CLI::App& bench, Arguments& arguments) {
  bench.require_subcommand(1);
  CLI::App* const step = bench.add_subcommand("step", "one training step, and what it is compared with");
  add_sizes(*step, arguments, "reference");
  CLI::App* const attention = bench.add_subcommand("attention", "fused attention, lengths 256 to 8192");
  for (CLI::App* const command : {step, attention})
    command->add_option("--against", arguments.bench.against, "torch: PyTorch beside it")->type_name("NAME");
  bench.add_subcommand("ops", "single ops against a copy of as many bytes");
  CLI::App* const gemm = bench.add_subcommand("gemm", "the matrix products of a step");
  add_sizes(*gemm, arguments, "reference");
  CLI::App* const memory = bench.add_subcommand("memory", "where the bytes of a step go");
  add_sizes(*memory, arguments, "all");
  CLI::App* const scaling = bench.add_subcommand("scaling", "time and memory against length, width, layers, ...");
  scaling->add_option("--out", arguments.options.out, "page with the curves; default: runs/scaling.html")
      ->type_name("FILE");
  for (CLI::App* const command : bench.get_subcommands(nullptr)) {
    command->add_option("--json", arguments.bench.json, "write the numbers to a file, too")->type_name("FILE");
    command->add_flag("--quick", arguments.bench.quick, "tiny sizes, to see what it prints; no number counts");
    add_threads(*command, arguments);
    add_device(*command, arguments);
  }
}

void build(CLI::App& program, Arguments& arguments) {
  program.get_formatter()->column_width(24);
  program.require_subcommand(0, 1);
  add_device(program, arguments);

  CLI::App* const run = program.add_subcommand("run", "answer a question: train, measure, write a report");
  run->add_option("QUESTION", arguments.question, "phasor list questions")->required()->type_name("");
  add_settings(*run, arguments);
  add_seed_and_config(*run, arguments);
  add_threads(*run, arguments);
  add_device(*run, arguments);
  add_folder(*run, arguments);
  run->add_flag("--quick", arguments.quick, "the question's small form; --config and --set win");

  CLI::App* const train = program.add_subcommand("train", "train one model (default: rope on kjv) and measure it");
  add_settings(*train, arguments);
  add_seed_and_config(*train, arguments);
  add_threads(*train, arguments);
  add_device(*train, arguments);
  add_folder(*train, arguments);

  CLI::App* const eval = program.add_subcommand("eval", "measure a trained model again, also at other lengths");
  eval->add_option("RUN", arguments.run, "folder of a run of phasor train")->required()->type_name("");
  add_encoding(*eval, arguments);
  add_threads(*eval, arguments);
  add_device(*eval, arguments);

  CLI::App* const generate = program.add_subcommand("generate", "a text goes on as a trained model would have it");
  generate->add_option("RUN", arguments.run, "folder of a run of phasor train")->required()->type_name("");
  generate->add_option("TEXT", arguments.generate.prompt, "its beginning; default: none")->type_name("");
  generate->add_option("--bytes", arguments.generate.bytes, "to write after it; default: 200")->type_name("N");
  generate->add_option("--temperature", arguments.generate.temperature, "0: always the likeliest byte; default: 0.8")
      ->type_name("T");
  generate->add_option("--top-p", arguments.generate.top_p, "only the likeliest bytes, with this share; default: 1")
      ->type_name("P");
  generate->add_option("--seed", arguments.generate.seed, "another seed, another text; default: 1")->type_name("N");
  add_encoding(*generate, arguments);
  add_threads(*generate, arguments);
  add_device(*generate, arguments);

  CLI::App* const dissect = program.add_subcommand("dissect", "take trained models apart by frequency component");
  dissect->add_option("RUN", arguments.dissect.run, "folder of a run")->required()->type_name("");
  dissect->add_flag("--export", arguments.dissect.exports, "every figure as CSV and Vega-Lite, into RUN/figures");
  dissect->add_option("--site", arguments.dissect.sites, "its values for NumPy (q_rotated, score, pattern, ...)")
      ->type_name("SITE")
      ->allow_extra_args(false);
  add_settings(*dissect, arguments);
  add_threads(*dissect, arguments);
  add_device(*dissect, arguments);
  add_page(*dissect, arguments, "RUN/dissection.html");
  dissect->add_flag("--quiet", arguments.options.quiet, "no progress line");

  CLI::App* const report = program.add_subcommand("report", "one page of a run, or of several side by side");
  report->add_option("RUN", arguments.runs, "folders of runs")->required()->type_name("");
  add_page(*report, arguments, "RUN/dissection.html, or runs/report.html");

  CLI::App* const explore = program.add_subcommand("explore", "write a page to turn encodings by hand, for teaching");
  explore->add_option("--encoding", arguments.encoding, "begin with it: --set encoding.name=NAME")->type_name("NAME");
  add_settings(*explore, arguments);
  explore->add_option("--out", arguments.options.out, "the page; default: explorer.html")->type_name("FILE");

  CLI::App* const list = program.add_subcommand("list", "list encodings, questions, corpora and settings");
  list->add_option("LIST", arguments.list, "encodings, questions, corpora or settings; default: all")->type_name("");
  list->add_option("--why", arguments.why, "all about one encoding, and how sure that is")->type_name("NAME");
  list->add_flag("--markdown", arguments.markdown, "of encodings: the README's table");

  CLI::App* const write = program.add_subcommand("new", "write the first files of a new encoding");
  write->require_subcommand(1);
  write->add_subcommand("encoding", "a file that works, and its test: both to be changed")
      ->add_option("NAME", arguments.new_name, "its name everywhere: in files, code and on the command line")
      ->required()
      ->type_name("");

  build_bench(*program.add_subcommand("bench", "time the library on this machine"), arguments);

  // After the subcommands, which would otherwise take it over.
  program.footer(question_list() + "\n" + encoding_list() + "\n" + corpus_list() + "\nSettings: phasor list settings");
}

// CLI11 would call a misspelt subcommand an unexpected argument.
void check_subcommand(const CLI::App& parent, const std::string& kind, const char* word) {
  std::vector<std::string> names;
  for (const CLI::App* command : parent.get_subcommands(nullptr)) names.push_back(command->get_name());
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  if (!word) throw UsageError(kind + " is missing; needs one of: " + known + " (phasor --help)");
  if (word[0] == '-' || std::find(names.begin(), names.end(), word) != names.end()) return;
  throw UsageError(unknown_name(kind, word, names));
}

// Where the subcommand stands: behind --device, if that comes first.
int first_word(int argc, char** argv) {
  const std::string word = argc > 1 ? argv[1] : "";
  return word == "--device" ? 3 : word.starts_with("--device=") ? 2 : 1;
}

int dispatch(int argc, char** argv) {
  CLI::App program("Phasor: what positional encodings do to small transformers.", "phasor");
  Arguments arguments;
  build(program, arguments);
  const int first = first_word(argc, argv);
  const auto word = [&](int index) { return first + index < argc ? argv[first + index] : nullptr; };
  check_subcommand(program, "subcommand", word(0));
  const std::string subcommand = word(0);
  if (subcommand == "bench") check_subcommand(*program.get_subcommand("bench"), "benchmark", word(1));
  if (subcommand == "new") check_subcommand(*program.get_subcommand("new"), "kind of file", word(1));
  try {
    program.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    print_checked(program.help());
    return 0;
  } catch (const CLI::ParseError& error) {
    const std::string command = subcommand[0] == '-' ? "" : subcommand + " ";
    throw UsageError("command line: " + std::string(error.what()) + " (phasor " + command + "--help)");
  }
  if (program.get_subcommands().empty()) check_subcommand(program, "subcommand", nullptr);

  arguments.options.device = device_named(arguments.device);
  if (arguments.resume) arguments.options.resume = Resume::yes;
  if (!arguments.encoding.empty()) arguments.changes.assignments.push_back("encoding.name=" + arguments.encoding);
  if (!arguments.seed.empty()) arguments.changes.assignments.push_back("train.seed=" + arguments.seed);
  if (program.got_subcommand("list")) return list_command(program, arguments);
  if (program.got_subcommand("run"))
    return run_command(arguments.question, arguments.changes, arguments.options, arguments.quick);
  if (program.got_subcommand("train")) return train_command(apply({}, arguments.changes), arguments.options);
  if (program.got_subcommand("eval")) return eval_command(arguments.run, arguments.changes, arguments.options);
  if (program.got_subcommand("generate"))
    return generate_command(arguments.run, arguments.generate, arguments.changes, arguments.options);
  if (program.got_subcommand("dissect"))
    return dissect_command(arguments.dissect, arguments.changes, arguments.options);
  if (program.got_subcommand("report")) return report_command(arguments.runs, arguments.options);
  if (program.got_subcommand("explore"))
    return explore_command(apply(explorer_defaults(), arguments.changes), arguments.options);
  if (program.got_subcommand("new")) return new_encoding_command(arguments.new_name);
  arguments.bench.name = program.get_subcommand("bench")->get_subcommands().front()->get_name();
  return bench_command(arguments.bench, arguments.changes, arguments.options);
}

// ---- errors

// One line whatever the message holds: a path or a name may have a newline in it, or codes that a terminal obeys.
int report(int code, const std::string& message, std::string line = "error: ") {
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      line += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      line += fmt::format("\\x{:02x}", byte);
    } else {
      line += c;
    }
  }
  std::fputs((line + "\n").c_str(), stderr);
  return code;
}

// A file opened later must not get the number of a standard stream that the caller closed, and be written into.
void keep_standard_streams_open() {
  for (int descriptor = open("/dev/null", O_RDWR); descriptor >= 0; descriptor = dup(descriptor)) {
    if (descriptor > 2) {
      close(descriptor);
      return;
    }
  }
}

// What takes less memory, for who ran out of it.
std::string memory_advice(const std::string& command) {
  if (command == "generate") return "; give a shorter prompt or lower --bytes";
  if (command == "eval") return "; lower eval.lengths";
  if (command == "dissect") return "; lower dissect.lengths, dissect.windows or dissect.sequences";
  return "; lower train.batch, train.length or the model, or raise train.accumulate";
}

int checked_main(int argc, char** argv) {
  const int first = first_word(argc, argv);
  const std::string command = first < argc ? argv[first] : "";
  try {
    return dispatch(argc, argv);
  } catch (const Interrupted& interrupted) {
    return report(128 + interrupted.signal, interrupted.what(), "interrupted: ");
  } catch (const FileError& error) {
    return report(3, error.what());
  } catch (const NumericError& error) {
    return report(4, error.what());
  } catch (const MemoryError& error) {
    return report(5, error.what() + memory_advice(command));
  } catch (const ResourceError& error) {
    return report(5, error.what());
  } catch (const DeviceError& error) {
    return report(5, error.what());
  } catch (const BusyError& error) {
    return report(6, error.what());
  } catch (const Error& error) {  // UsageError, and settings that an op or an encoding refuses
    return report(2, error.what());
  } catch (const std::bad_alloc&) {
    return report(5, "out of memory" + memory_advice(command));
  } catch (const std::exception& error) {
    return report(5, error.what());
  }
}

}  // namespace
}  // namespace phasor

int main(int argc, char** argv) {
  phasor::keep_standard_streams_open();
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away must not end a training run
  return phasor::checked_main(argc, argv);
}
