// Runs the built program as a person would: arguments in, exit code and both outputs back.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace phasor::testing {

struct CommandResult {
  int exit_code = -1;  // 128 + signal if a signal ended it
  std::string out, err;
};

// The program of this build; a test for another one sets it.
extern std::filesystem::path tested_program;

// The program with these arguments, standard input closed, both outputs into files.
CommandResult run_phasor(const std::vector<std::string>& arguments);

// Starts it and returns the process; finish() waits for it.
class RunningPhasor {
 public:
  explicit RunningPhasor(const std::vector<std::string>& arguments);
  bool is_running() const;
  void send(int signal) const;
  std::string written() const;  // to standard output so far
  CommandResult finish();

 private:
  pid_t process_;
  std::filesystem::path out_, err_;
};

// arguments + {"--set", "KEY=VALUE", ...}; where two settings name one key, the later one stays.
std::vector<std::string> with_settings(std::vector<std::string> arguments, const std::vector<std::string>& settings,
                                       const std::vector<std::string>& changes);

// A fresh folder that is removed with its contents. Its name has a blank and a letter beyond ASCII: every path of a
// test is a hostile one.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::string text_of(const std::filesystem::path& file);
void write_text(const std::filesystem::path& file, const std::string& text);

}  // namespace phasor::testing
