// A line to the process, a line of JSON back.
#include "experiments/bench/torch.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.hpp"
#include "experiments/corpora/corpus.hpp"

namespace phasor {
namespace {

constexpr int exit_without_torch = 3;  // torch_lm.py's
constexpr const char* script = PHASOR_SOURCE_DIR "/experiments/bench/torch_lm.py";

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

std::string settings_json(const Settings& s) {
  return nlohmann::json{{"width", s.model.width},        {"layers", s.model.layers},
                        {"heads", s.model.heads},        {"hidden", s.model.hidden},
                        {"length", s.train.length},      {"batch", s.train.batch},
                        {"vocabulary", byte_vocabulary}, {"learning_rate", s.train.learning_rate}}
      .dump();
}

void require_known_model(const Settings& s) {
  Settings plain;
  plain.model.width = s.model.width;
  plain.model.layers = s.model.layers;
  plain.model.heads = s.model.heads;
  plain.model.hidden = s.model.hidden;
  plain.model.init_deviation = s.model.init_deviation;
  require<UsageError>(s.model == plain.model && s.encoding.name == "rope" && s.train.accumulate == 1, "bench",
                      "--against torch knows Llama's block with rope; model.norm, mlp, bias, head, kv_heads, "
                      "train.accumulate and encoding.name must keep their defaults");
}

}  // namespace

struct TorchStep::Process {
  pid_t id = 0;
  FILE *to = nullptr, *from = nullptr;

  // False if there is no such program.
  bool start(const std::string& python, const Settings& settings, int threads) {
    int down[2], up[2];
    require<ResourceError>(pipe2(down, O_CLOEXEC) == 0 && pipe2(up, O_CLOEXEC) == 0, "bench",
                           "cannot make a pipe: ", std::strerror(errno));
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, down[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, up[1], STDOUT_FILENO);
    std::vector<std::string> words = {python, script, settings_json(settings), std::to_string(threads)};
    std::vector<std::string> variables = environment_for(threads);
    const int error =
        posix_spawnp(&id, python.c_str(), &files, nullptr, pointers(words).data(), pointers(variables).data());
    posix_spawn_file_actions_destroy(&files);
    close(down[0]);
    close(up[1]);
    to = fdopen(down[1], "w");
    from = fdopen(up[0], "r");
    if (error != 0) id = 0;
    return error == 0;
  }

  // The end of its input ends it.
  int finish() {
    if (to) std::fclose(to);
    if (from) std::fclose(from);
    to = from = nullptr;
    int status = 0;
    if (id != 0) waitpid(id, &status, 0);
    id = 0;
    return status;
  }

  // A line of JSON; null if it ended.
  nlohmann::json answer() {
    std::string line;
    for (int c; (c = std::fgetc(from)) != EOF && c != '\n';) line += static_cast<char>(c);
    return nlohmann::json::parse(line, nullptr, false);
  }

  nlohmann::json ask(const char* question) {
    std::fputs(question, to);
    std::fflush(to);
    const nlohmann::json json = answer();
    require<ResourceError>(json.is_object(), "bench", "PyTorch ended in the middle; its message stands above");
    return json;
  }

  ~Process() { finish(); }
};

TorchStep::TorchStep(const Settings& settings, int threads) : threads_(threads) {
  require_known_model(settings);
  // Debian's python3-torch belongs to Debian's Python, which another one may hide.
  for (const char* const python : {"python3", "/usr/bin/python3"}) {
    process_ = std::make_shared<Process>();
    if (!process_->start(python, settings, threads)) continue;
    const nlohmann::json ready = process_->answer();
    if (ready.is_object()) {
      version_ = ready.at("torch");
      parameters_ = ready.at("parameters");
      imported_bytes_ = ready.at("imported_bytes");
      return;
    }
    const int status = process_->finish();
    require<ResourceError>(WIFEXITED(status) && WEXITSTATUS(status) == exit_without_torch, "bench",
                           "PyTorch ended before it was ready; its message stands above");
  }
  fail<UsageError>("bench",
                   "no Python with PyTorch found: needs python3 with the package torch (on Debian: apt-get install "
                   "python3-torch); leave out --against torch to time Phasor alone");
}

std::string TorchStep::name() const {
  return fmt::format("PyTorch {}, {} {}", version_, threads_, threads_ == 1 ? "thread" : "threads");
}

void TorchStep::require_parameters(int64_t expected) const {
  require<NumericError>(parameters_ == expected, "bench", "PyTorch's model has ", parameters_, " parameters, Phasor's ",
                        expected, "; only the same model is compared");
}

double TorchStep::run() { return process_->ask("step\n").at("seconds"); }

TorchStep::Memory TorchStep::memory() const { return {process_->ask("memory\n").at("peak_bytes"), imported_bytes_}; }

}  // namespace phasor
