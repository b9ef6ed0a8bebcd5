// A Python script of this folder that imports PyTorch, in a process of its own: a line of JSON to it, a line of JSON
// back. It works only while it is asked to.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace phasor {

class PythonProcess {
 public:
  // Starts it and waits for its first line. UsageError if no Python has what the script needs (its exit code 3), with
  // `needs` as the advice.
  PythonProcess(const std::string& script, const std::vector<std::string>& arguments, int threads,
                const std::string& needs);
  ~PythonProcess();
  PythonProcess(const PythonProcess&) = delete;
  PythonProcess& operator=(const PythonProcess&) = delete;

  const std::string& first_line() const { return first_line_; }  // a JSON object
  // A JSON object. ResourceError if the process has ended.
  std::string ask(const std::string& question);

 private:
  bool start(const std::string& python, const std::vector<std::string>& words, int threads);
  int finish();
  std::string line();

  int id_ = 0;
  FILE *to_ = nullptr, *from_ = nullptr;
  std::string first_line_;
};

}  // namespace phasor
