// Processes and temporary folders for tests.
#include "tests/support/command.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace phasor::testing {
namespace fs = std::filesystem;

fs::path tested_program = PHASOR_PROGRAM;

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_text(const fs::path& file, const std::string& text) { std::ofstream(file, std::ios::binary) << text; }

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (fs::temp_directory_path() / "phasor tést XXXXXX").string();
  if (!mkdtemp(pattern.data())) throw std::runtime_error("cannot make a temporary folder");
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

RunningPhasor::RunningPhasor(const std::vector<std::string>& arguments) {
  std::string pattern = (fs::temp_directory_path() / "phasor_output_XXXXXX").string();
  close(mkstemp(pattern.data()));
  out_ = pattern;
  err_ = pattern + ".err";
  process_ = fork();
  if (process_ == 0) {
    const auto redirect = [](const char* path, int flags, int to) { dup2(open(path, flags, 0600), to); };
    redirect("/dev/null", O_RDONLY, 0);
    redirect(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 1);
    redirect(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 2);
    std::vector<char*> argv = {const_cast<char*>(tested_program.c_str())};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execv(tested_program.c_str(), argv.data());
    _exit(127);
  }
}

std::vector<std::string> with_settings(std::vector<std::string> arguments, const std::vector<std::string>& settings,
                                       const std::vector<std::string>& changes) {
  const auto key = [](const std::string& setting) { return setting.substr(0, setting.find('=') + 1); };
  for (const std::string& setting : settings)
    if (std::none_of(changes.begin(), changes.end(),
                     [&](const std::string& change) { return change.starts_with(key(setting)); }))
      arguments.insert(arguments.end(), {"--set", setting});
  for (const std::string& change : changes) arguments.insert(arguments.end(), {"--set", change});
  return arguments;
}

bool RunningPhasor::is_running() const {
  siginfo_t info = {};  // WNOWAIT leaves the result to finish()
  waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT);
  return info.si_pid == 0;
}

void RunningPhasor::send(int signal) const { kill(process_, signal); }

std::string RunningPhasor::written() const { return text_of(out_); }

CommandResult RunningPhasor::finish() {
  int status = 0;
  waitpid(process_, &status, 0);
  CommandResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = text_of(out_);
  result.err = text_of(err_);
  fs::remove(out_);
  fs::remove(err_);
  return result;
}

CommandResult run_phasor(const std::vector<std::string>& arguments) { return RunningPhasor(arguments).finish(); }

}  // namespace phasor::testing
