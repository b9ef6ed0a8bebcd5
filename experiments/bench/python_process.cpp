#include "experiments/bench/python_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/error.hpp"

namespace phasor {
namespace {

constexpr int exit_without_torch = 3;  // the scripts'

// The environment, with as many threads as asked for and none that spins while Phasor is timed.
std::vector<std::string> environment_for(int threads) {
  std::vector<std::string> variables = {fmt::format("OMP_NUM_THREADS={}", threads),
                                        fmt::format("OPENBLAS_NUM_THREADS={}", threads), "OMP_WAIT_POLICY=passive",
                                        "GOMP_SPINCOUNT=0",
                                        "OPENBLAS_THREAD_TIMEOUT=20"};  // 2^20 cycles: less than a millisecond
  const size_t own = variables.size();
  for (char** at = environ; *at; ++at) {
    const std::string variable = *at, key = variable.substr(0, variable.find('=') + 1);
    bool is_ours = false;
    for (size_t i = 0; i < own; ++i) is_ours = is_ours || variables[i].starts_with(key);
    if (!is_ours) variables.push_back(variable);
  }
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> list;
  for (std::string& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  return list;
}

bool is_object(const std::string& line) { return line.starts_with("{") && line.ends_with("}"); }

}  // namespace

PythonProcess::PythonProcess(const std::string& script, const std::vector<std::string>& arguments, int threads,
                             const std::string& needs) {
  // Debian's python3-torch belongs to Debian's Python, which another one may hide.
  for (const char* const python : {"python3", "/usr/bin/python3"}) {
    std::vector<std::string> words = {python, PHASOR_SOURCE_DIR "/experiments/bench/" + script};
    words.insert(words.end(), arguments.begin(), arguments.end());
    if (start(python, words, threads)) {
      first_line_ = line();
      if (is_object(first_line_)) return;
      const int status = finish();
      require<ResourceError>(WIFEXITED(status) && WEXITSTATUS(status) == exit_without_torch, "bench",
                             "PyTorch ended before it was ready; its message stands above");
    }
    finish();
  }
  fail<UsageError>("bench", needs);
}

PythonProcess::~PythonProcess() { finish(); }

// False if there is no such program.
bool PythonProcess::start(const std::string& python, const std::vector<std::string>& words, int threads) {
  int down[2], up[2];
  require<ResourceError>(pipe2(down, O_CLOEXEC) == 0 && pipe2(up, O_CLOEXEC) == 0, "bench",
                         "cannot make a pipe: ", std::strerror(errno));
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, down[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, up[1], STDOUT_FILENO);
  std::vector<std::string> command = words, variables = environment_for(threads);
  const int error =
      posix_spawnp(&id_, python.c_str(), &files, nullptr, pointers(command).data(), pointers(variables).data());
  posix_spawn_file_actions_destroy(&files);
  close(down[0]);
  close(up[1]);
  to_ = fdopen(down[1], "w");
  from_ = fdopen(up[0], "r");
  if (error != 0) id_ = 0;
  return error == 0;
}

// The end of its input ends it.
int PythonProcess::finish() {
  if (to_) std::fclose(to_);
  if (from_) std::fclose(from_);
  to_ = from_ = nullptr;
  int status = 0;
  if (id_ != 0) waitpid(id_, &status, 0);
  id_ = 0;
  return status;
}

// Empty if the process has ended.
std::string PythonProcess::line() {
  std::string line;
  for (int c; (c = std::fgetc(from_)) != EOF && c != '\n';) line += static_cast<char>(c);
  return line;
}

std::string PythonProcess::ask(const std::string& question) {
  std::fputs((question + "\n").c_str(), to_);
  std::fflush(to_);
  const std::string answer = line();
  require<ResourceError>(is_object(answer), "bench", "PyTorch ended in the middle; its message stands above");
  return answer;
}

}  // namespace phasor
