// The commands of the program, apart from the reading of the command line. Each returns the exit code; errors are
// exceptions, which main() turns into one line and a code.
#pragma once

#include <filesystem>
#include <string>

#include "experiments/run_folder.hpp"
#include "experiments/settings.hpp"

namespace phasor {

// How a command runs, without influence on what it computes.
struct RunOptions {
  int threads = 0;            // 0: as many as there are cores
  Device device = Device::cpu;  // where models run
  std::filesystem::path out;  // empty: default_run_path()
  Resume resume = Resume::no;
  bool quiet = false;
};

// To standard output, all of it; ResourceError if it cannot be written: a full disk behind `phasor list > FILE`.
void print_checked(const std::string& text);

// phasor run QUESTION: the question's defaults, `quick` its quick form, then the changes. A finished run is shown, not
// repeated.
int run_command(const std::string& question, const SettingsChanges& changes, const RunOptions& options, bool quick);

// phasor train: one model.
int train_command(const Settings& settings, const RunOptions& options);

// phasor eval RUN: the held-out loss of a trained run; the changes apply to the settings it was made with.
int eval_command(const std::filesystem::path& run, const SettingsChanges& changes, const RunOptions& options);

// phasor generate RUN TEXT: the text goes on as a trained run would have it, on standard output, byte by byte as it
// comes. The model reads what it was trained on: the beginning of a window, then bytes. That beginning is never drawn.
struct GenerateArguments {
  std::string prompt;         // any bytes
  std::string bytes = "200";  // to write after it: an integer, as text came
  double temperature = 0.8;   // 0: always the likeliest byte, lowest first among equals
  double top_p = 1;           // in (0, 1]: draw among the likeliest bytes that together have this probability
  std::string seed = "1";     // of what is drawn: an integer too
};
int generate_command(const std::filesystem::path& run, const GenerateArguments& arguments,
                     const SettingsChanges& changes, const RunOptions& options);

// phasor bench NAME: prints what it found, and writes it to `json` unless that is empty.
struct BenchArguments {
  std::string name;
  std::vector<std::string> sizes;  // of step, gemm and memory
  std::string against;             // of step and attention: torch, or empty
  std::filesystem::path json;
  bool quick = false;
};
int bench_command(const BenchArguments& arguments, const SettingsChanges& changes, const RunOptions& options);

// phasor explore: writes the explorer with these settings (explorer.hpp), by default to explorer.html, and prints
// where.
int explore_command(const Settings& settings, const RunOptions& options);

}  // namespace phasor
